"""Counts over a sliding window of time, in constant memory."""

from __future__ import annotations

import math
from array import array

SLICES = 10
"""Slices of a window: a count is forgotten at most a tenth of the window late."""
_KEPT = SLICES + 1
"""Slices that are remembered, the latest with those of a whole window before it."""
_NUMBER, _FIRST, _SECOND = range(3 * _KEPT, 3 * _KEPT + 3)


class SlidingCounts:
    """How many events of two sorts ("good" and "bad", say) the last ``window_s`` seconds saw.

    It counts on for ever and remembers what it had counted when each slice began: to count one is two additions.  Both
    are kept in one array of plain numbers, the slices as a ring, and after them what is counted.  Objects made for each
    slice, or with each event, would lie between those of the calls under way then, and after a burst each would keep a
    mebibyte of Python's allocator from going back to the system.
    """

    __slots__ = ("_held", "_numbers", "_oldest", "_slice_s")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        # Of each slice its number and both counts at its beginning, and after all slices what is so now.
        self._numbers = array("d", bytes(8 * 3 * (_KEPT + 1)))
        self._oldest = 0  # where the first of the slices begins, and how many there are
        self._held = 0
        self._numbers[_NUMBER] = -math.inf  # of the latest slice

    def add(self, now: float, first: float = 0.0, second: float = 0.0) -> None:
        """Count *first* and *second* at *now*, which is no earlier than that of the call before."""
        numbers, number = self._numbers, now // self._slice_s
        if number > numbers[_NUMBER]:
            self._begin(number)
        numbers[_FIRST] += first
        numbers[_SECOND] += second

    def totals(self, now: float) -> tuple[float, float]:
        """Return both counts of the window that ends at *now*."""
        self._forget(now // self._slice_s)
        if not self._held:
            return 0.0, 0.0
        numbers, oldest = self._numbers, self._oldest
        return numbers[_FIRST] - numbers[oldest + 1], numbers[_SECOND] - numbers[oldest + 2]

    def clear(self) -> None:
        """Forget everything."""
        self._held = 0
        self._numbers[_NUMBER] = -math.inf

    def _begin(self, number: float) -> None:
        self._forget(number)
        place = (self._oldest + 3 * self._held) % (3 * _KEPT)
        numbers = self._numbers
        numbers[place : place + 3] = array("d", (number, numbers[_FIRST], numbers[_SECOND]))
        self._held += 1
        numbers[_NUMBER] = number

    def _forget(self, number: float) -> None:
        while self._held and self._numbers[self._oldest] < number - SLICES:
            self._oldest = (self._oldest + 3) % (3 * _KEPT)
            self._held -= 1
