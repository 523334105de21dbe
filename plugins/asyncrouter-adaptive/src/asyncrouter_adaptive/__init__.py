"""The selector ``adaptive``: it learns from outcomes which deployment serves which kind of prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_adaptive.selector import AdaptiveSelector
from asyncrouter_adaptive.sharing import AdaptiveFactory

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["AdaptiveSelector", "asyncrouter_register"]


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make the name ``adaptive`` known."""
    registry.selector("adaptive", AdaptiveFactory())
