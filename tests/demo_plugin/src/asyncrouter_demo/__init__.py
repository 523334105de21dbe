"""The plugin ``demo``: one strategy of each kind, registered by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter_demo import strategies
from asyncrouter_demo.provider import DemoProvider

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Make the name ``demo`` known, for every kind."""
    registry.estimator("demo", strategies.make_estimator)
    registry.selector("demo", strategies.DemoSelector)
    registry.retry("demo", strategies.DemoRetry)
    registry.fallback("demo", strategies.DemoFallback)
    registry.filter("demo", strategies.DemoFilter)
    registry.judge("demo", strategies.DemoJudge)
    registry.plugin("demo", strategies.DemoCounter)
    registry.provider("demo", DemoProvider)
    registry.trainer("demo", strategies.DemoTrainer)
