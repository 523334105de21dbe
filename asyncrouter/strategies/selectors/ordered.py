"""Selectors that look at the candidates alone: ``priority``, ``weighted`` and ``round_robin``."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator, Mapping
from functools import partial

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.strategies.standings import Standings
from asyncrouter.types.decisions import Selection, new_selection
from asyncrouter.types.deployments import Deployment, FleetView
from asyncrouter.types.ranking import Ranking
from asyncrouter.types.request import EMPTY


@attrs.frozen(kw_only=True, eq=False)
class PrioritySelector:
    """The configured order, always."""

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates* as they are."""
        return new_selection(deployments=candidates, reason="configured order")


@attrs.frozen(kw_only=True, eq=False)
class WeightedSelector:
    """A random order by weights, drawn without replacement.

    ``weights``: deployment names to numbers of 0 or more; they replace the deployments' own.  A deployment of weight 0
    is a last resort, tried after all others.

    One number is drawn for each selection; from it the order of the rest is drawn too, where somebody reads it, so that
    a seed repeats a run whoever reads.  There each weight w draws an exponential variate of rate w, and the smallest
    come first: then every place is drawn in proportion to the weights of those still left (Efraimidis and Spirakis,
    2006).
    """

    weights: Mapping[str, float] = attrs.field(default=EMPTY, validator=options.weights)
    _odds: OncePerCandidates[_Odds] = attrs.field(init=False, repr=False)

    @_odds.default
    def _by_weights(self) -> OncePerCandidates[_Odds]:
        return OncePerCandidates(lambda candidates: _Odds(candidates, self.weights))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* shuffled; the propensity is the first one's share of all weights."""
        odds = self._odds.of(candidates)
        if odds.total <= 0:
            return new_selection(deployments=candidates, reason="no weights: configured order")
        drawn = state.random.random()
        place = odds.place(drawn)
        share = odds.weights[place] / odds.total
        return new_selection(
            deployments=Ranking(candidates, place, partial(odds.order, drawn)),
            reason=f"drawn with probability {share:.2f}",
            propensity=share,
        )


class _Odds:
    """The weights of *candidates*, and their sums up to each place."""

    __slots__ = ("_candidates", "_last", "_sums", "total", "weights")

    def __init__(self, candidates: Candidates, weights: Mapping[str, float]) -> None:
        self._candidates = candidates
        self.weights = [weights.get(one.name, one.weight) for one in candidates]
        self._sums = list(itertools.accumulate(self.weights))
        self.total = self._sums[-1]
        self._last = bisect.bisect_left(self._sums, self.total)  # what comes after it weighs nothing

    def place(self, drawn: float) -> int:
        """Return the place that *drawn*, from 0 to 1, falls on."""
        return bisect.bisect_right(self._sums, drawn * self.total, 0, self._last)

    def order(self, drawn: float) -> Candidates:
        """Return all in the order that goes with *drawn*, without regard to the place that it falls on."""
        draw = random.Random(drawn).expovariate  # noqa: S311 - no secret
        keyed = [(weight <= 0, draw(weight) if weight > 0 else 0.0, place) for place, weight in enumerate(self.weights)]
        return tuple(self._candidates[place] for _, _, place in sorted(keyed))


@attrs.frozen(kw_only=True, eq=False)
class RoundRobinSelector:
    """Every deployment in turn: the candidate that has not been first for the longest time.

    A turn belongs to the deployment, not to a place in the list, so that the rotation stays fair while candidates come
    and go; one that was away gets one turn when it is back, not all that it missed.
    """

    _turns: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False, repr=False)
    _last_turn: dict[str, int] = attrs.field(factory=dict, init=False, repr=False)
    _order: OncePerCandidates[Standings[str]] = attrs.field(init=False, repr=False)

    @_order.default
    def _by_last_turn(self) -> OncePerCandidates[Standings[str]]:
        last_turn = self._last_turn
        return OncePerCandidates(
            lambda candidates: Standings(
                candidates, [one.name for one in candidates], lambda name: last_turn.get(name, 0)
            )
        )

    @hookimpl(trylast=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates* with the longest waiting first."""
        ranking = self._order.of(candidates).ranking()
        first = ranking.first.name
        self._last_turn[first] = next(self._turns)
        return new_selection(deployments=ranking, reason=f"turn of {first}")
