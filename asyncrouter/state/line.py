"""A line: first come, first served, by when the *request* came.

A request that comes to a line a second time, after a failure or after looking elsewhere, has its old place again.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable

_BY_PLACE = operator.attrgetter("place")


class Turn:
    """A place in a line.  *wake* is called when it is time to look; ``granted``: what was waited for is its own now."""

    __slots__ = ("granted", "place", "wake")

    def __init__(self, place: tuple[float, int], wake: Callable[[], None]) -> None:
        self.place = place
        self.wake = wake
        self.granted = False


class Line:
    """Those who wait, in order; whoever waits brings a function that wakes it, so that no event loop is known here."""

    __slots__ = ("_numbers", "_turns")

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many stand in line."""
        return len(self._turns)

    @property
    def first(self) -> Turn | None:
        """Who is next; ``None`` when nobody waits."""
        return self._turns[0] if self._turns else None

    def join(self, came_at: float, wake: Callable[[], None]) -> Turn:
        """Return the place of a request that came at *came_at*."""
        turn = Turn((came_at, next(self._numbers)), wake)
        bisect.insort(self._turns, turn, key=_BY_PLACE)
        return turn

    def pop(self) -> Turn:
        """Let the first go."""
        return self._turns.pop(0)

    def leave(self, turn: Turn) -> None:
        """Give a place up."""
        del self._turns[bisect.bisect_left(self._turns, turn.place, key=_BY_PLACE)]
