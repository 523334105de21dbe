"""Selectors that look at how the deployments fare: ``least_busy`` and ``latency``."""

from __future__ import annotations

import math

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.standings import ByNumber
from asyncrouter.types.decisions import Selection, new_selection
from asyncrouter.types.deployments import Deployment, DeploymentView, FleetView
from asyncrouter.types.ranking import Ranking


@attrs.frozen(kw_only=True, eq=False)
class LeastBusySelector:
    """The fewest calls under way first; ties in the configured order."""

    _order: ByNumber = attrs.field(init=False, repr=False, factory=lambda: ByNumber(_in_flight))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by their calls under way."""
        order = self._order(candidates, state)
        return new_selection(deployments=order, reason=f"{state[order.first.name].in_flight} calls in flight")


@attrs.frozen(kw_only=True, eq=False)
class LatencySelector:
    """The lowest smoothed latency first; ties in the configured order.

    One whose calls have been waiting for longer than that, while nobody gets an answer, counts as so slow.
    ``explore``: the probability, from 0 to 1, of trying another one first, so that a deployment which has recovered is
    seen again.  One that was never measured comes first, one call at a time: while that is under way it comes last.
    """

    explore: float = attrs.field(default=0.05, validator=options.number(0, 1))
    _order: ByNumber = attrs.field(init=False, repr=False, factory=lambda: ByNumber(_expected_latency))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by latency, now and then with one of the others in front; the propensity tells."""
        order, others = self._order(candidates, state), len(candidates) - 1
        best = order.first
        if not others or not self.explore:
            return new_selection(deployments=order, reason=_latency_reason(best, state))
        if state.random.random() >= self.explore:
            return new_selection(deployments=order, reason=_latency_reason(best, state), propensity=1.0 - self.explore)
        place = state.random.randrange(others)
        if candidates[place] is best:
            place = others
        other = candidates[place]
        return new_selection(
            deployments=Ranking(candidates, place, order.made),
            reason="explored, " + _latency_reason(other, state),
            propensity=self.explore / others,
        )


def _in_flight(view: DeploymentView) -> float:
    return view.in_flight


def _expected_latency(view: DeploymentView) -> float:
    latency_s = view.latency_s
    if latency_s is None:
        return math.inf if view.in_flight else -math.inf
    silent_s = view.silent_s
    return silent_s if silent_s > latency_s else latency_s  # noqa: FURB136 - a third of the cost of max()


def _latency_reason(deployment: Deployment, state: FleetView) -> str:
    view = state[deployment.name]
    latency_s, silent_s = view.latency_s, view.silent_s
    if latency_s is None:
        return "latency not yet known"
    told = f"latency {latency_s:.3g} s"
    return f"{told}, silent for {silent_s:.3g} s" if silent_s > latency_s else told
