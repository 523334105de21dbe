"""Counts over a sliding window of time, in constant memory."""

from __future__ import annotations

import math
from collections import deque

SLICES = 10
"""Slices of a window: a count is forgotten at most a tenth of the window late."""


class SlidingCounts:
    """How many events of two sorts ("good" and "bad", say) the last ``window_s`` seconds saw.

    It counts on for ever and remembers what it had counted when each slice began: to count one is two additions.
    """

    __slots__ = ("_first", "_number", "_second", "_slice_s", "_slices")

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._slices: deque[tuple[float, float, float]] = deque()  # slice number, both counts when it began
        self._number = -math.inf  # of the latest slice
        self._first = 0.0
        self._second = 0.0

    def add(self, now: float, first: float = 0.0, second: float = 0.0) -> None:
        """Count *first* and *second* at *now*."""
        number = now // self._slice_s
        if number != self._number:
            self._slices.append((number, self._first, self._second))
            self._number = number
            self._forget(number)
        self._first += first
        self._second += second

    def totals(self, now: float) -> tuple[float, float]:
        """Return both counts of the window that ends at *now*."""
        self._forget(now // self._slice_s)
        if not self._slices:
            return 0.0, 0.0
        _, first, second = self._slices[0]
        return self._first - first, self._second - second

    def clear(self) -> None:
        """Forget everything."""
        self._slices.clear()
        self._number = -math.inf

    def _forget(self, number: float) -> None:
        while self._slices and self._slices[0][0] < number - SLICES:
            self._slices.popleft()
