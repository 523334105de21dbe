"""Prices that are left out come from the table, when it is installed."""

from __future__ import annotations

import sys

import pytest

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.prices import TABLE_NAMES, price_of
from asyncrouter.providers.presets import PRESETS
from asyncrouter.types.deployments import Price


@pytest.fixture
def table(monkeypatch):
    """Let the real table in."""
    monkeypatch.delitem(sys.modules, "genai_prices")
    pytest.importorskip("genai_prices")


def test_without_the_table():
    assert price_of("openai", "gpt-4o-mini") is None


@pytest.mark.usefixtures("table")
class TestTable:
    def test_a_known_model(self):
        assert price_of("openai", "gpt-4o-mini") == Price(input=0.15, output=0.6, cached_input=0.075)

    def test_a_model_whose_price_rises_with_the_prompt(self):
        price = price_of("gemini", "gemini-2.5-pro")
        assert (price.input, price.output) == (1.25, 10)

    def test_a_model_whose_reasoning_has_a_price_of_its_own(self):
        assert price_of("perplexity", "sonar-deep-research").reasoning == 3.0
        assert price_of("openai", "o3-mini").reasoning is None

    @pytest.mark.parametrize(("kind", "model"), [("openai", "nix"), ("ollama", "llama3"), ("local", "gpt-4o-mini")])
    def test_unknown(self, kind, model):
        assert price_of(kind, model) is None

    @pytest.mark.parametrize("kind", TABLE_NAMES)
    def test_the_table_knows_our_names(self, kind):
        from genai_prices.data import providers

        assert TABLE_NAMES[kind] in {provider.id for provider in providers}
        assert kind in PRESETS

    def test_the_catalogue_asks_for_what_is_left_out(self):
        openai = {"provider": "openai", "model": "gpt-4o-mini"}
        catalogue = build_catalogue(
            load_config(
                {
                    "providers": {
                        "work": {"kind": "openai"},
                        "house": {"kind": "openai", "base_url": "http://127.0.0.1"},
                        "azure": {"base_url": "https://house.openai.azure.com"},
                    },
                    "deployments": {
                        "listed": openai,
                        "named": {**openai, "provider": "work"},
                        "azure-mini": {**openai, "provider": "azure"},
                        "said": {**openai, "price": {"input": 1, "output": 2}},
                        "elsewhere": {**openai, "provider": "house"},
                    },
                }
            )
        )
        prices = {
            name: deployment.price and deployment.price.input for name, deployment in catalogue.deployments.items()
        }
        assert prices == {"listed": 0.15, "named": 0.15, "azure-mini": 0.15, "said": 1, "elsewhere": None}
        assert catalogue.resolve("gpt-4o").group.deployments[0].price.output == 10
