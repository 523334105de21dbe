"""Every preset as a provider kind, registered through the same door as a plugin's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import Registry
from asyncrouter.providers.openai_compatible import MAX_RESPONSE_BYTES, OpenAICompatible
from asyncrouter.providers.presets import PRESETS, Preset


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Register one provider kind a preset; ``openai`` with a ``base_url`` is any compatible server."""
    for preset in PRESETS.values():
        registry.provider(preset.name, _factory(preset))


def _factory(preset: Preset) -> Callable[..., OpenAICompatible]:
    """Return the preset's factory.  Its signature is explicit: unknown options are found by it."""

    def make(
        *,
        name: str = preset.name,
        base_url: str | None = None,
        api_key_env: str | Sequence[str] | None = None,
        api_key: Callable[[], str] | Sequence[Callable[[], str]] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        ca_file: str | os.PathLike[str] | None = None,
        organization: str | None = None,
        project: str | None = None,
        api_version: str | None = None,
        finish_grace_s: float = 1.0,
    ) -> OpenAICompatible:
        return OpenAICompatible(
            name=name,
            base_url=base_url,
            api_key_env=api_key_env,
            api_key=api_key,
            headers=headers,
            params=params,
            proxy=proxy,
            trust_env=trust_env,
            max_response_bytes=max_response_bytes,
            ca_file=ca_file,
            organization=organization,
            project=project,
            api_version=api_version,
            finish_grace_s=finish_grace_s,
            preset=preset,
        )

    make.__doc__ = f"{preset.name}: {preset.base_url or preset.note}"
    return make
