"""Counts over a sliding window of time, in constant memory."""

from __future__ import annotations

import math
from array import array

SLICES = 10
"""Slices of a window: a count is forgotten at most a tenth of the window late."""
_KEPT = SLICES + 1
"""Slices that are remembered, the latest with those of a whole window before it."""


class SlidingCounts:
    """How many events of two sorts ("good" and "bad", say) the last ``window_s`` seconds saw.

    It counts on for ever and remembers what it had counted when each slice began: to count one is two additions.  That
    is kept in a ring of plain numbers.  Objects made for each slice would lie between those of the calls under way
    then, and after a burst each would keep a mebibyte of Python's allocator from going back to the system.
    """

    __slots__ = ("_began", "_first", "_held", "_number", "_oldest", "_second", "_slice_s")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._began = array("d", bytes(8 * 3 * _KEPT))  # of each slice its number, and both counts when it began
        self._oldest = 0  # where the first of the slices begins, and how many there are
        self._held = 0
        self._number = -math.inf  # of the latest slice
        self._first = 0.0
        self._second = 0.0

    def add(self, now: float, first: float = 0.0, second: float = 0.0) -> None:
        """Count *first* and *second* at *now*, which is no earlier than that of the call before."""
        number = now // self._slice_s
        if number > self._number:
            self._begin(number)
        self._first += first
        self._second += second

    def totals(self, now: float) -> tuple[float, float]:
        """Return both counts of the window that ends at *now*."""
        self._forget(now // self._slice_s)
        if not self._held:
            return 0.0, 0.0
        oldest = self._oldest
        return self._first - self._began[oldest + 1], self._second - self._began[oldest + 2]

    def clear(self) -> None:
        """Forget everything."""
        self._held = 0
        self._number = -math.inf

    def _begin(self, number: float) -> None:
        self._forget(number)
        place = (self._oldest + 3 * self._held) % (3 * _KEPT)
        self._began[place] = number
        self._began[place + 1] = self._first
        self._began[place + 2] = self._second
        self._held += 1
        self._number = number

    def _forget(self, number: float) -> None:
        while self._held and self._began[self._oldest] < number - SLICES:
            self._oldest = (self._oldest + 3) % (3 * _KEPT)
            self._held -= 1
