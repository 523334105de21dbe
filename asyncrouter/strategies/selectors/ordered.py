"""Selectors that look at the candidates alone: ``priority``, ``weighted`` and ``round_robin``."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies import options
from asyncrouter.strategies.candidates import OncePerCandidates
from asyncrouter.types.decisions import Selection
from asyncrouter.types.deployments import Deployment, FleetView
from asyncrouter.types.request import EMPTY


@attrs.frozen(kw_only=True, eq=False)
class PrioritySelector:
    """The configured order, always."""

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates* as they are."""
        return Selection(deployments=candidates, reason="configured order")


@attrs.frozen(kw_only=True, eq=False)
class WeightedSelector:
    """A random order by weights, drawn without replacement.

    ``weights``: deployment names to numbers of 0 or more; they replace the deployments' own.  A deployment of weight 0
    is a last resort, tried after all others.

    Each weight w draws an exponential variate of rate w, and the smallest come first: then every place is drawn in
    proportion to the weights of those still left (Efraimidis and Spirakis, 2006).
    """

    weights: Mapping[str, float] = attrs.field(default=EMPTY, validator=options.weights)

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* shuffled; the propensity is the first one's share of all weights."""
        weights = [self.weights.get(one.name, one.weight) for one in candidates]
        total = sum(weights)
        if total <= 0:
            return Selection(deployments=candidates, reason="no weights: configured order")
        draw = state.random.expovariate
        keyed = [(weight <= 0, draw(weight) if weight > 0 else 0.0, place) for place, weight in enumerate(weights)]
        places = [place for _, _, place in sorted(keyed)]
        share = weights[places[0]] / total
        return Selection(
            deployments=tuple(candidates[place] for place in places),
            reason=f"drawn with probability {share:.2f}",
            propensity=share,
        )


@attrs.frozen(kw_only=True, eq=False)
class RoundRobinSelector:
    """Every deployment in turn: the candidate that has not been first for the longest time.

    A turn belongs to the deployment, not to a place in the list, so that the rotation stays fair while candidates come
    and go; one that was away gets one turn when it is back, not all that it missed.  While the candidates are the same,
    the order is the last one with its first at the end: nothing is sorted.
    """

    _turns: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)
    _last_turn: dict[str, int] = attrs.field(factory=dict, init=False, repr=False)
    _order: OncePerCandidates[deque[Deployment]] = attrs.field(init=False, repr=False)

    @_order.default
    def _by_last_turn(self) -> OncePerCandidates[deque[Deployment]]:
        last_turn = self._last_turn
        return OncePerCandidates(
            lambda candidates: deque(sorted(candidates, key=lambda one: last_turn.get(one.name, 0)))
        )

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates* with the longest waiting first."""
        order = self._order(candidates)
        selected = tuple(order)
        order.rotate(-1)
        first = selected[0].name
        self._last_turn[first] = next(self._turns)
        return Selection(deployments=selected, reason=f"turn of {first}")
