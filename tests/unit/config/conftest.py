"""What the tests of the configuration share."""

from __future__ import annotations

from typing import Any

import pytest

from asyncrouter.config.loading import load_config
from asyncrouter.types.errors import ConfigError


@pytest.fixture
def base() -> dict[str, Any]:
    """Return a small valid configuration; tests spoil their copy."""
    return {
        "providers": {"openai": {"api_key_env": "OPENAI_API_KEY"}},
        "deployments": {
            "mini": {"provider": "openai", "model": "gpt-4o-mini"},
            "big": {"provider": "openai", "model": "gpt-4o"},
        },
        "groups": {"chat": {"deployments": ["mini", "big"]}, "spare": {"deployments": ["big"]}},
        "agents": {"recon": {"group": "chat"}},
    }


@pytest.fixture
def faults_of():
    """Return a function from a source to the texts of all its faults; [] when it is valid."""

    def faults(source: Any) -> list[str]:
        try:
            load_config(source)
        except ConfigError as error:
            return [str(fault) for fault in error.faults]
        return []

    return faults


@pytest.fixture(autouse=True)
def no_price_table(monkeypatch):
    """Keep the price table out: importing it takes long, and only its own tests want it."""
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
