"""Judges of answers: ``judge``, cheap checks that ask nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_judge.checks import ChecksJudge

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["ChecksJudge", "asyncrouter_register"]


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make the name ``judge`` known."""
    registry.judge("judge", ChecksJudge)
