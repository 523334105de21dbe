"""The presets as data, their registration, and the models that they are known to serve."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from asyncrouter.hooks.registry import Registry
from asyncrouter.providers import builtin
from asyncrouter.providers.loopback import LOOPBACK_ONLY, forbidden_host, is_loopback
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS, provider_for_model
from asyncrouter.types.errors import ConfigError

WANTED = {
    "openai", "azure", "openrouter", "groq", "together", "mistral", "deepseek", "xai", "fireworks", "cerebras",
    "perplexity", "nvidia", "ollama", "vllm", "lmstudio", "llamacpp", "anthropic", "gemini",
}  # fmt: skip


def test_every_wanted_preset_is_there():
    assert set(PRESETS) == WANTED
    assert all(name == preset.name for name, preset in PRESETS.items())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_safe_and_complete(preset):
    if preset.base_url is None:
        assert preset.note
        return
    parts = urlsplit(preset.base_url)
    assert parts.scheme == ("https" if preset.key_required else "http")
    assert preset.key_required or is_loopback(parts.hostname)
    assert bool(preset.key_env) is preset.key_required
    assert not preset.base_url.endswith("/")


def test_variables_and_prefixes_are_told_apart():
    variables = [preset.key_env for preset in PRESETS.values() if preset.key_env]
    assert len(variables) == len(set(variables))
    prefixes = [prefix for preset in PRESETS.values() for prefix in preset.model_prefixes]
    assert not [a for a in prefixes for b in prefixes if a != b and a.startswith(b)]


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("gpt-4", "openai"),
        ("gpt-3.5-turbo", "openai"),
        ("gpt-5.1-mini", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("o1", "openai"),
        ("o3-mini", "openai"),
        ("o4-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "gemini"),
        ("mistral-large-latest", "mistral"),
        ("codestral-2508", "mistral"),
        ("deepseek-chat", "deepseek"),
        ("grok-4", "xai"),
        ("sonar-pro", "perplexity"),
        ("gpt-oss-20b", None),
        ("llama-3.3-70b", None),
        ("mistral:7b", None),
        ("openai/gpt-4o", None),
        ("", None),
        ("chat", None),
    ],
)
def test_bare_names(model, provider):
    preset = provider_for_model(model)
    assert (preset and preset.name) == provider


@pytest.fixture
def registry():
    registry = Registry()
    registry.register_from(builtin, "asyncrouter", "0")
    return registry


def test_every_preset_is_a_provider_kind(registry):
    assert set(registry.names("provider")) == WANTED
    assert all(entry.summary.startswith(f"{entry.name}: ") for entry in registry.entries())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_kind_makes_a_provider(registry, monkeypatch, preset):
    monkeypatch.setattr("os.environ", {preset.key_env: "k-123456"} if preset.key_env else {})
    options = {} if preset.base_url else {"base_url": "https://acme.openai.azure.com"}
    provider = registry.make("provider", preset.name, options, "providers.mine", name="mine")
    assert isinstance(provider, OpenAICompatible)
    assert "name='mine'" in repr(provider)
    assert provider._settings.preset is preset
    assert bool(provider._settings.keys) is bool(preset.key_env)


def test_unknown_options_and_faults_have_their_place(registry):
    options = {"base_url": "http://localhost/v1", "api_key_evn": "X"}
    with pytest.raises(ConfigError, match=r'providers\.mine\.api_key_evn: unknown key; did you mean "api_key_env"'):
        registry.make("provider", "openai", options, "providers.mine", name="mine")
    with pytest.raises(ConfigError, match="unknown key"):
        registry.make("provider", "openai", {"preset": "x"}, "providers.mine", name="mine")
    with pytest.raises(ConfigError, match=r"providers\.mine\.base_url: "):
        registry.make("provider", "openai", {"base_url": "x"}, "providers.mine", name="mine")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("127.0.0.1.evil.example", False),
     ("localhost.evil.example", False), ("10.0.0.1", False), ("0.0.0.1", False), ("::", False), ("2130706433", False),
     ("0x7f.1", False), ("", False), ("169.254.169.254", False), ("api.openai.com", False)],
)  # fmt: skip
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_the_switch_names_the_forbidden_host(monkeypatch):
    monkeypatch.setenv(LOOPBACK_ONLY, "1")
    assert forbidden_host("https://api.openai.com/v1", None) == "api.openai.com"
    assert forbidden_host("http://localhost/v1", "http://proxy.example:3128") == "proxy.example"
    assert forbidden_host("http://[::1]:5/v1", "http://127.0.0.1") is None
    monkeypatch.setenv(LOOPBACK_ONLY, "0")
    assert forbidden_host("https://api.openai.com/v1") is None
    monkeypatch.delenv(LOOPBACK_ONLY)
    assert forbidden_host("https://api.openai.com/v1") is None
