"""The estimator ``semantic``, and the trainer that ``lab train`` asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncrouter import hookimpl

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["asyncrouter_register"]


def make_estimator(*, model: str = "default", qualities: Mapping[str, str | float] | None = None) -> Any:
    """Complexity learned from outcomes: how much better a strong model's answer is expected to be."""
    from asyncrouter_semantic.estimator import SemanticEstimator  # numpy, and the model: loaded when it is asked for

    return SemanticEstimator(model=model, qualities=qualities)


def make_trainer(*, prior: str = "default") -> Any:
    """Learn the semantic estimator from outcomes, starting from a prior model."""
    from asyncrouter_semantic.training.trainer import SemanticTrainer  # numpy and scipy: loaded when it is asked for

    return SemanticTrainer(prior=prior)


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make ``estimate = "semantic"`` and ``lab train --trainer semantic`` known."""
    registry.estimator("semantic", make_estimator)
    registry.trainer("semantic", make_trainer)
