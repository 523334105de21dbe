"""Judges of answers: ``judge`` (cheap checks), ``judge_model`` (a model grades), ``judge_samples`` (samples agree)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_judge.checks import ChecksJudge
from asyncrouter_judge.consistency import SamplesJudge
from asyncrouter_judge.model import ModelJudge

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["ChecksJudge", "ModelJudge", "SamplesJudge", "asyncrouter_register"]


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make the three names known."""
    registry.judge("judge", ChecksJudge)
    registry.judge("judge_model", ModelJudge)
    registry.judge("judge_samples", SamplesJudge)
