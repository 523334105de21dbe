"""The built-in strategies by name: a plugin module like any stranger's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.estimators.constant import ConstantEstimator
from asyncrouter.strategies.estimators.heuristic import HeuristicEstimator
from asyncrouter.strategies.fallbacks.onward import GroupChainFallback, NextFallback
from asyncrouter.strategies.fallbacks.special import ContentFilterFallback, LargerContextFallback
from asyncrouter.strategies.filters.capability import CapabilityFilter
from asyncrouter.strategies.filters.context_window import ContextWindowFilter
from asyncrouter.strategies.filters.cooldown import CooldownFilter
from asyncrouter.strategies.retries.exponential import ExponentialRetry, NoRetry
from asyncrouter.strategies.selectors.complexity import ComplexitySelector
from asyncrouter.strategies.selectors.cost import CostSelector
from asyncrouter.strategies.selectors.measured import LatencySelector, LeastBusySelector
from asyncrouter.strategies.selectors.ordered import PrioritySelector, RoundRobinSelector, WeightedSelector

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Register every built-in strategy."""
    registry.estimator("heuristic", HeuristicEstimator)
    registry.estimator("constant", ConstantEstimator)
    registry.selector("priority", PrioritySelector)
    registry.selector("weighted", WeightedSelector)
    registry.selector("round_robin", RoundRobinSelector)
    registry.selector("least_busy", LeastBusySelector)
    registry.selector("latency", LatencySelector)
    registry.selector("cost", CostSelector, extended_by="asyncrouter-cost")
    registry.selector("complexity", ComplexitySelector)
    registry.retry("exponential", ExponentialRetry)
    registry.retry("none", NoRetry)
    registry.fallback("next", NextFallback)
    registry.fallback("group_chain", GroupChainFallback)
    registry.fallback("larger_context", LargerContextFallback)
    registry.fallback("content_filter", ContentFilterFallback)
    registry.filter("capability", CapabilityFilter)
    registry.filter("context_window", ContextWindowFilter)
    registry.filter("cooldown", CooldownFilter)
