"""The built-ins keep the contracts that any plugin must keep."""

from __future__ import annotations

from asyncrouter.strategies.estimators.constant import ConstantEstimator
from asyncrouter.strategies.estimators.heuristic import HeuristicEstimator
from asyncrouter.strategies.fallbacks.onward import GroupChainFallback, NextFallback
from asyncrouter.strategies.fallbacks.special import ContentFilterFallback, LargerContextFallback
from asyncrouter.strategies.retries.exponential import ExponentialRetry, NoRetry
from asyncrouter.strategies.selectors.complexity import ComplexitySelector
from asyncrouter.strategies.selectors.cost import CostSelector
from asyncrouter.strategies.selectors.measured import LatencySelector, LeastBusySelector
from asyncrouter.strategies.selectors.ordered import PrioritySelector, RoundRobinSelector, WeightedSelector
from asyncrouter.testing.contracts import (
    EstimatorContract,
    FallbackContract,
    RetryContract,
    SelectorContract,
)


class TestHeuristic(EstimatorContract):
    make = staticmethod(HeuristicEstimator)


class TestConstant(EstimatorContract):
    make = staticmethod(ConstantEstimator)


class TestPriority(SelectorContract):
    make = staticmethod(PrioritySelector)


class TestWeighted(SelectorContract):
    make = staticmethod(WeightedSelector)


class TestRoundRobin(SelectorContract):
    stateless = False
    make = staticmethod(RoundRobinSelector)


class TestLeastBusy(SelectorContract):
    make = staticmethod(LeastBusySelector)


class TestLatency(SelectorContract):
    make = staticmethod(LatencySelector)


class TestCost(SelectorContract):
    make = staticmethod(CostSelector)


class TestComplexity(SelectorContract):
    make = staticmethod(ComplexitySelector)


class TestExponential(RetryContract):
    make = staticmethod(ExponentialRetry)


class TestNoRetry(RetryContract):
    make = staticmethod(NoRetry)


class TestNext(FallbackContract):
    make = staticmethod(NextFallback)


class TestGroupChain(FallbackContract):
    def make(self):
        return GroupChainFallback(groups=["other"])


class TestLargerContext(FallbackContract):
    make = staticmethod(LargerContextFallback)


class TestContentFilter(FallbackContract):
    make = staticmethod(ContentFilterFallback)
