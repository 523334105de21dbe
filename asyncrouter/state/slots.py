"""The slots of one deployment: how many calls run at once, and who waits for a slot.

Pure accounting: whoever waits brings a function that wakes it.  Nothing here belongs to an event loop.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections.abc import Callable

from asyncrouter.state.gradient import Gradient

_BY_PLACE = operator.attrgetter("place")


class Turn:
    """A place in the line.  ``granted``: a slot belongs to it now, and must be handed back."""

    __slots__ = ("granted", "place", "wake")

    def __init__(self, place: tuple[float, int], wake: Callable[[], None]) -> None:
        self.place = place
        self.wake = wake
        self.granted = False


class Slots:
    """``limit`` slots and a line of at most ``queue`` calls.  First come, first served: by when the *request* came.

    A request that comes to the line a second time, after a failure or after looking elsewhere, has its old place again.
    The line is empty whenever a slot is free.  With a *gradient* the limit is what it finds.
    """

    __slots__ = ("_line", "_numbers", "gradient", "in_use", "limit", "queue")

    def __init__(self, limit: int, queue: int, gradient: Gradient | None = None) -> None:
        self.limit = limit
        self.queue = queue
        self.gradient = gradient
        self.in_use = 0
        self._line: list[Turn] = []
        self._numbers = itertools.count()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def crowding(self) -> float:
        """0 while a slot is free; otherwise the place that the next to come would have, in rounds of all slots."""
        return 0.0 if self.in_use < self.limit else (len(self._line) + 1) / self.limit

    def take(self) -> bool:
        """Take a slot if one is free."""
        if self.in_use >= self.limit:
            return False
        self.in_use += 1
        return True

    def line_up(self, came_at: float, wake: Callable[[], None]) -> Turn | None:
        """Return a place in the line for a request that came at *came_at*; ``None`` when the line is full.

        Once a slot is granted to it, *wake* is called; :meth:`leave` ends the wait before that.
        """
        if len(self._line) >= self.queue:
            return None
        turn = Turn((came_at, next(self._numbers)), wake)
        bisect.insort(self._line, turn, key=_BY_PLACE)
        return turn

    def leave(self, turn: Turn) -> None:
        """Give the place up, and the slot too if it was granted meanwhile."""
        if turn.granted:
            self.release()
        else:
            del self._line[bisect.bisect_left(self._line, turn.place, key=_BY_PLACE)]

    def release(self) -> None:
        """Hand a slot back: it goes to the first in line."""
        self.in_use -= 1
        self._grant()

    def resize(self, limit: int, queue: int, gradient: Gradient | None = None) -> None:
        """Go on with so many slots: those held beyond *limit* are handed back as their calls end."""
        self.limit = limit
        self.queue = queue
        self.gradient = gradient
        self._grant()

    def adapt(self, gradient: Gradient, started_at: float, now: float, *, dropped: bool) -> None:
        """Tell *gradient* of a call that answered or was dropped, and take up the limit that it finds."""
        gradient.ended(started_at, now, self.in_use, dropped=dropped)
        self.limit = gradient.limit
        self._grant()

    def _grant(self) -> None:
        while self._line and self.in_use < self.limit:
            turn = self._line.pop(0)
            self.in_use += 1
            turn.granted = True
            turn.wake()
