"""What is known of the usual OpenAI-compatible servers: address, key variable, models and peculiarities, as data.

Everything here is a default: ``base_url``, ``api_key_env`` and the rest of a provider's table override it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs


@attrs.frozen
class Rename:
    """A parameter that the server calls by another name: ``old`` is sent as ``new`` for the models that match.

    Nothing is renamed when the caller gives ``new`` as well.
    """

    old: str
    new: str
    models: re.Pattern[str] | None = None


@attrs.frozen(kw_only=True)
class Preset:
    """One server or kind of server.

    ``base_url`` is ``None`` where every customer has their own.  ``key_env`` names the environment variable of the key;
    with ``key_required`` its absence is a fault.  ``model_prefixes`` begin the bare model names that it is known to
    serve.  ``key_header`` carries the key: "authorization" as a bearer token, any other name as it is.  ``path``
    follows ``base_url``; with ``api_version`` given it is ``versioned_path``, where ``{model}`` stands for the model.
    ``stream_options`` tells whether the server takes that parameter, ``keep_alive`` whether a connection can serve a
    second call; ``note`` is for people.
    """

    name: str
    base_url: str | None
    key_env: str | None = None
    key_required: bool = True
    model_prefixes: tuple[str, ...] = ()
    key_header: str = "authorization"
    path: str = "/chat/completions"
    versioned_path: str | None = None
    stream_options: bool = True
    keep_alive: bool = True
    renames: tuple[Rename, ...] = ()
    note: str = ""


_ALL = (
    Preset(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        model_prefixes=("gpt-3.5", "gpt-4", "gpt-5", "chatgpt-", "o1", "o3", "o4"),
        # API reference, chat completions: max_tokens is deprecated and "not compatible with o-series models"; GPT-5
        # refuses it too ("Unsupported parameter: 'max_tokens' is not supported with this model").
        renames=(Rename("max_tokens", "max_completion_tokens", re.compile(r"(?:o[1-9]|gpt-[5-9])(?![0-9])")),),
        note="any compatible server, with base_url",
    ),
    Preset(
        name="azure",
        base_url=None,
        key_env="AZURE_OPENAI_API_KEY",
        key_header="api-key",  # Azure OpenAI REST reference, authentication; a bearer token there is an Entra ID token
        path="/openai/v1/chat/completions",  # the v1 API, general since August 2025: no api-version, model in the body
        versioned_path="/openai/deployments/{model}/chat/completions",
        note="base_url is the resource, https://NAME.openai.azure.com; api_version asks for the dated API; "
        'with an Entra ID token use kind = "openai", base_url = "https://NAME.openai.azure.com/openai/v1"',
    ),
    Preset(
        name="anthropic",
        base_url="https://api.anthropic.com/v1",
        key_env="ANTHROPIC_API_KEY",
        model_prefixes=("claude-",),
        note="the compatibility layer, which Anthropic means for comparing models; the native API can do more",
    ),
    Preset(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_env="GEMINI_API_KEY",
        model_prefixes=("gemini-",),
    ),
    Preset(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        model_prefixes=(
            "mistral-",
            "ministral-",
            "magistral-",
            "codestral-",
            "devstral-",
            "pixtral-",
            "voxtral-",
            "open-mistral-",
            "open-mixtral-",
        ),
        # The API refuses what it does not know (422, "Extra inputs are not permitted"), max_completion_tokens and
        # stream_options.include_usage among it; usage comes with the last chunk unasked.  Its seed is random_seed.
        stream_options=False,
        renames=(Rename("max_completion_tokens", "max_tokens"), Rename("seed", "random_seed")),
    ),
    Preset(
        name="deepseek",
        base_url="https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        model_prefixes=("deepseek-chat", "deepseek-reasoner", "deepseek-flash", "deepseek-v4-"),
    ),
    Preset(name="xai", base_url="https://api.x.ai/v1", key_env="XAI_API_KEY", model_prefixes=("grok-",)),
    Preset(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        key_env="PERPLEXITY_API_KEY",
        model_prefixes=("sonar",),
        note="Perplexity has announced the end of its chat completions for September 2026",
    ),
    Preset(name="openrouter", base_url="https://openrouter.ai/api/v1", key_env="OPENROUTER_API_KEY"),
    Preset(name="groq", base_url="https://api.groq.com/openai/v1", key_env="GROQ_API_KEY"),
    Preset(name="together", base_url="https://api.together.ai/v1", key_env="TOGETHER_API_KEY"),
    Preset(name="fireworks", base_url="https://api.fireworks.ai/inference/v1", key_env="FIREWORKS_API_KEY"),
    Preset(name="cerebras", base_url="https://api.cerebras.ai/v1", key_env="CEREBRAS_API_KEY"),
    Preset(name="nvidia", base_url="https://integrate.api.nvidia.com/v1", key_env="NVIDIA_API_KEY"),
    # Local servers, on the ports that they listen on unless told otherwise; vLLM and llama.cpp ask for a key only when
    # they are started with one, and then api_key_env names it here.
    Preset(name="ollama", base_url="http://localhost:11434/v1", key_required=False),
    Preset(name="vllm", base_url="http://localhost:8000/v1", key_required=False),
    Preset(name="lmstudio", base_url="http://localhost:1234/v1", key_required=False),
    # Its server closes a connection after a streamed answer without announcing it, so that a call sent at once on the
    # same connection is lost each time (measured with xllamacpp 2026.10).
    Preset(name="llamacpp", base_url="http://localhost:8080/v1", key_required=False, keep_alive=False),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}
"""Every preset by its name, which is also its provider kind in a configuration."""
_PREFIXES = tuple((prefix, preset) for preset in _ALL for prefix in preset.model_prefixes)


def provider_for_model(name: str) -> Preset | None:
    """Return the preset known to serve the bare model *name* ("gpt-4o", "claude-sonnet-4-5"), or ``None``.

    "gpt-oss…" and other open weights are served by many, hence known to be served by none.
    """
    return next((preset for prefix, preset in _PREFIXES if name.startswith(prefix)), None)
