"""Quality for money: the selector ``cost`` with options, which extends the built-in one of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_cost.factory import CostFactory, cost, estimator, trainer

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

__all__ = ["asyncrouter_register", "cost"]


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make the name ``cost`` known: of the selector with more options, of an estimator, and of its trainer."""
    registry.selector("cost", CostFactory())
    registry.estimator("cost", estimator)
    registry.trainer("cost", trainer)
