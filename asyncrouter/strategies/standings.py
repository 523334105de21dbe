"""Candidates in the order of a number that changes with every call, such as their calls under way."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.deployments import DeploymentView, FleetView
from asyncrouter.types.ranking import Ranking

FEW = 8
"""Up to so many are put in order at every decision: that is as fast, and needs no memory (``benchmarks/scale.py``)."""

V = TypeVar("V")
Number = Callable[[DeploymentView], float]


class ByNumber:
    """Puts candidates in order by what *number* says of their views, the least first, ties in the given order.

    The number may grow at any time; where it falls, the view has become less busy or faster.
    """

    __slots__ = ("_number", "_standings", "_state")

    def __init__(self, number: Number) -> None:
        self._number = number
        self._state: FleetView | None = None
        self._standings: OncePerCandidates[Standings[DeploymentView]] | None = None

    def __call__(self, candidates: Candidates, state: FleetView) -> Ranking:
        """Return *candidates* in order; of many only the first, the rest when it is asked for."""
        watch: Any = None if len(candidates) <= FEW else getattr(state, "watch", None)
        if watch is None:
            number = self._number
            numbers = [number(state[one.name]) for one in candidates]
            return Ranking(candidates, numbers.index(min(numbers)), partial(in_order, candidates, numbers))
        if self._standings is None or self._state is not state:
            self._state = state
            self._standings = OncePerCandidates(partial(_watched, state=state, watch=watch, number=self._number))
        return self._standings.of(candidates).ranking()


def _watched(
    candidates: Candidates, state: FleetView, watch: Callable[..., set[str]], number: Number
) -> Standings[DeploymentView]:
    names = [one.name for one in candidates]
    return Standings(candidates, [state[name] for name in names], number, watch(names))


class Standings(Generic[V]):
    """Candidates by the *number* of their *views*, as :class:`ByNumber` has it, kept from one decision to the next.

    *fallen* gets the names of those whose number may have fallen; without any, numbers only grow.

    It is a heap of numbers and places.  For every place there is an entry with the number that was last found, which is
    at most the present one: those that may have fallen are looked at before.  So when the entry at the top is up to
    date, no other is less.  The older entries of numbers that have fallen stay until they come to the top.
    """

    __slots__ = ("_candidates", "_fallen", "_found", "_heap", "_number", "_order", "_places", "_views")

    def __init__(
        self, candidates: Candidates, views: list[V], number: Callable[[V], float], fallen: set[str] | None = None
    ) -> None:
        self._candidates = candidates
        self._views = views
        self._number = number
        self._fallen: set[str] = set() if fallen is None else fallen
        self._places = {one.name: place for place, one in enumerate(candidates)}
        self._found = [number(view) for view in views]
        self._heap = self._anew()
        self._order = partial(_ordered, candidates, views, number)  # a trace that is kept keeps no heap

    def ranking(self) -> Ranking:
        """Return the candidates, the one with the least number first."""
        return Ranking(self._candidates, self._first(), self._order)

    def _first(self) -> int:
        if self._fallen:
            self._look_again()
        heap, found = self._heap, self._found
        while True:
            entry = heap[0]
            place = entry[1]
            if entry[0] != found[place]:
                heapq.heappop(heap)
                continue
            number = self._number(self._views[place])
            if not number > entry[0]:
                return place
            found[place] = number
            heapq.heapreplace(heap, (number, place))

    def _look_again(self) -> None:
        found = self._found
        while self._fallen:
            place = self._places[self._fallen.pop()]
            number = self._number(self._views[place])
            if number < found[place]:
                found[place] = number
                heapq.heappush(self._heap, (number, place))
        if len(self._heap) > 2 * len(found):
            self._heap = self._anew()

    def _anew(self) -> list[tuple[float, int]]:
        return sorted(zip(self._found, range(len(self._found)), strict=True))


def _ordered(candidates: Candidates, views: list[V], number: Callable[[V], float]) -> Candidates:
    return in_order(candidates, [number(view) for view in views])


def in_order(candidates: Candidates, numbers: list[float]) -> Candidates:
    """Return *candidates* by their *numbers*, the least first."""
    return tuple(candidates[place] for place in sorted(range(len(numbers)), key=numbers.__getitem__))
