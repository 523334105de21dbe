"""Selectors that look at how the deployments fare: ``least_busy``, ``latency`` and ``cost``."""

from __future__ import annotations

import math

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies import options
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment, FleetView


@attrs.frozen(kw_only=True, eq=False)
class LeastBusySelector:
    """The fewest calls under way first; ties in the configured order."""

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by their calls under way."""
        ordered = tuple(sorted(candidates, key=lambda one: state[one.name].in_flight))
        return Selection(deployments=ordered, reason=f"{state[ordered[0].name].in_flight} calls in flight")


@attrs.frozen(kw_only=True, eq=False)
class LatencySelector:
    """The lowest smoothed latency first; ties in the configured order.

    ``explore``: the probability, from 0 to 1, of trying another one first, so that a deployment which has recovered is
    seen again.  One that was never measured comes first, one call at a time: while that is under way it comes last.
    """

    explore: float = attrs.field(default=0.05, validator=options.number(0, 1))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by latency, now and then with one of the others in front; the propensity tells."""
        ordered = sorted(candidates, key=lambda one: _expected_latency(one, state))
        others = len(ordered) - 1
        if not others or not self.explore:
            return Selection(deployments=tuple(ordered), reason=_latency_reason(ordered[0], state))
        if state.random.random() >= self.explore:
            reason, propensity = _latency_reason(ordered[0], state), 1.0 - self.explore
        else:
            ordered.insert(0, ordered.pop(1 + state.random.randrange(others)))
            reason, propensity = "explored, " + _latency_reason(ordered[0], state), self.explore / others
        return Selection(deployments=tuple(ordered), reason=reason, propensity=propensity)


@attrs.frozen(kw_only=True, eq=False)
class CostSelector:
    """The cheapest first, by price and expected tokens; those of unknown price last, ties in the configured order.

    The expected output is the smaller of the estimate's forecast (often a mere bound, the caller's ``max_tokens``) and
    of what the deployment's answers take on average, where known; otherwise ``output_tokens`` (a whole number of 0 or
    more), by default 256.
    """

    output_tokens: int = attrs.field(default=256, validator=options.whole(0))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by expected cost."""
        costs = {one.name: self._cost(one, estimate, state) for one in candidates}
        ordered = tuple(sorted(candidates, key=lambda one: costs[one.name]))
        cost = costs[ordered[0].name]
        reason = f"expected cost {cost:.3g} USD" if cost < math.inf else "no price known: configured order"
        return Selection(deployments=ordered, reason=reason)

    def _cost(self, deployment: Deployment, estimate: Estimate, state: FleetView) -> float:
        if deployment.price is None:
            return math.inf
        forecasts = (estimate.output_tokens, state[deployment.name].output_tokens)
        expected = min((tokens for tokens in forecasts if tokens is not None), default=self.output_tokens)
        return deployment.price.cost_usd(estimate.input_tokens, expected)


def _expected_latency(deployment: Deployment, state: FleetView) -> float:
    view = state[deployment.name]
    if view.latency_s is not None:
        return view.latency_s
    return math.inf if view.in_flight else -math.inf


def _latency_reason(deployment: Deployment, state: FleetView) -> str:
    latency = state[deployment.name].latency_s
    return "latency not yet known" if latency is None else f"latency {latency:.3g} s"
