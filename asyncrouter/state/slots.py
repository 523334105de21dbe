"""The slots of one deployment: how many calls run at once, and who waits for a slot.

Pure accounting: nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncrouter.state.gradient import Gradient
from asyncrouter.state.line import Line, Turn


class Slots:
    """``limit`` slots and a line of at most ``queue`` calls, which is empty whenever a slot is free.

    With a *gradient* the limit is what it finds.
    """

    __slots__ = ("_line", "gradient", "in_use", "limit", "queue")

    def __init__(self, limit: int, queue: int, gradient: Gradient | None = None) -> None:
        self.limit = limit
        self.queue = queue
        self.gradient = gradient
        self.in_use = 0
        self._line = Line()

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
        return None if len(self._line) >= self.queue else self._line.join(came_at, wake)

    def leave(self, turn: Turn) -> None:
        """Give the place up, and the slot too if it was granted meanwhile."""
        if turn.granted:
            self.release()
        else:
            self._line.leave(turn)

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
            turn = self._line.pop()
            self.in_use += 1
            turn.granted = True
            turn.wake()
