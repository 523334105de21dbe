"""Candidates in the order of a number that changes with every call, such as their calls under way."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.deployments import DeploymentView, FleetView
from asyncrouter.types.ranking import Ranking

FEW = 8
"""Up to so many are put in order at every decision: that is as fast, and needs no memory (``benchmarks/scale.py``)."""

Number = Callable[[DeploymentView], float]


class ByNumber:
    """Puts candidates in order by what *number* says of their views, the least first, ties in the given order.

    The number may grow at any time; where it falls, the view has become less busy or faster.
    """

    __slots__ = ("_number", "_standings", "_state")

    def __init__(self, number: Number) -> None:
        self._number = number
        self._state: FleetView | None = None
        self._standings: OncePerCandidates[_Standings] | None = None

    def __call__(self, candidates: Candidates, state: FleetView) -> Candidates | Ranking:
        """Return *candidates* in order; of many only the first, the rest when it is asked for."""
        watch: Any = getattr(state, "watch", None)
        if len(candidates) <= FEW or watch is None:
            number = self._number
            return tuple(sorted(candidates, key=lambda one: number(state[one.name])))
        if self._standings is None or self._state is not state:
            self._state = state
            self._standings = OncePerCandidates(partial(_Standings, state=state, watch=watch, number=self._number))
        standings = self._standings(candidates)
        return Ranking(candidates[standings.first()], candidates, standings.ordered)


class _Standings:
    """A heap of numbers and places, kept from one decision to the next.

    For every place there is an entry with the number that was last found, which is at most the present one: those whose
    number may have fallen are looked at before.  So when the entry at the top is up to date, no other is less.  The
    older entries of numbers that have fallen stay where they are until they come to the top.
    """

    __slots__ = ("_changed", "_found", "_heap", "_number", "_places", "_views", "ordered")

    def __init__(
        self, candidates: Candidates, state: FleetView, watch: Callable[..., set[str]], number: Number
    ) -> None:
        self._number = number
        self._views = [state[one.name] for one in candidates]
        self._places = {one.name: place for place, one in enumerate(candidates)}
        self._changed = watch(self._places)
        self._found = [number(view) for view in self._views]
        self._heap = self._anew()
        self.ordered = partial(_ordered, candidates, self._views, number)  # a trace that is kept keeps no heap

    def first(self) -> int:
        """Return the place of the one with the least number."""
        if self._changed:
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
        while self._changed:
            place = self._places[self._changed.pop()]
            number = self._number(self._views[place])
            if number < found[place]:
                found[place] = number
                heapq.heappush(self._heap, (number, place))
        if len(self._heap) > 2 * len(found):
            self._heap = self._anew()

    def _anew(self) -> list[tuple[float, int]]:
        return sorted(zip(self._found, range(len(self._found)), strict=True))


def _ordered(candidates: Candidates, views: list[DeploymentView], number: Number) -> Candidates:
    numbers = [number(view) for view in views]
    return tuple(candidates[place] for place in sorted(range(len(candidates)), key=numbers.__getitem__))
