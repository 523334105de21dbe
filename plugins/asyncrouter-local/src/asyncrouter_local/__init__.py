"""The provider kind ``local``: a GGUF model served by llama.cpp on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_local.provider import LocalProvider

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["LocalProvider", "asyncrouter_register"]


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make ``kind = "local"`` known."""
    registry.provider("local", LocalProvider)
