"""How many calls at once a deployment can take, found by the time its answers take.

The formula is that of Envoy's gradient controller (its documentation, "Adaptive Concurrency"; bounds and rounding as in
its code).  With *least* the time of an answer under little load and *median* that of the window's answers::

    gradient = (1 + BUFFER) · least / median            from 0.5 to 2
    limit    = gradient · limit + √(gradient · limit)   from FLOOR to the ceiling, rounded down

Where more calls than the capacity C only wait, the median is least · limit / C, so the limit settles at
1.25·C + √(1.25·C), and the median at that over C: 16 calls and 1.6 times the least for C = 10.

What differs, since an answer of a model takes seconds, not milliseconds:

- Windows are counted in answers, :data:`ANSWERS` or the limit, whichever is more, of calls that began under that limit:
  every answer tells of the limit that it is held against.
- *Least* is measured with half of the calls that were under way, not with three: half of the settled limit is below the
  capacity, and a minute with three calls would cost more than it tells.
- An answer that says "too many" or never comes lowers the limit by a tenth (Netflix's AIMD limit), once a window.
- While less than half of the limit is used it does not grow (Netflix's Gradient2): nothing would speak for it.
"""

from __future__ import annotations

import math

FLOOR = 3
"""The lowest limit, and the first (Envoy's min_concurrency)."""
CEILING = 1000
"""The highest limit where no other is set (Envoy's max_concurrency_limit)."""
BUFFER = 0.25
"""How much longer than the least an answer may take without lowering the limit (Envoy's buffer)."""
ANSWERS = 20
"""Answers that make a window: the median of so many is believed."""
WINDOWS = 20
"""After so many windows the least is measured anew: the calls that are left out then are two in a hundred."""
LOW_WINDOWS = 5
"""After so many windows at the floor it is measured at once: the least may be what is wrong (Envoy's own number)."""
BACKOFF = 0.9
"""What is left of the limit after a call was dropped (Netflix's AIMD limit)."""
LEAST_GRADIENT, GREATEST_GRADIENT = 0.5, 2.0
"""A window changes the limit no further than that (Envoy's code)."""
SHORTEST_S = 1e-6
"""Everything shorter counts as this."""


class Gradient:
    """See the module.  ``limit``: calls at once, from the floor to *ceiling*; times are seconds of one clock."""

    __slots__ = ("_busiest", "_ceiling", "_floor", "_least_s", "_low", "_resumed", "_since", "_times", "_windows",
                 "limit")  # fmt: skip

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._floor = min(FLOOR, ceiling)
        self._least_s: float | None = None
        self._resumed = self.limit = self._floor
        self._windows = self._low = self._busiest = 0
        self._since = -math.inf
        self._times: list[float] = []

    def ended(self, started_at: float, now: float, in_flight: int, *, dropped: bool) -> None:
        """Count an answer, or a call that was *dropped*: told that it is one too many, or never answered.

        *in_flight*: the calls under way, this one among them.
        """
        self._busiest = max(self._busiest, in_flight)
        if started_at < self._since:
            return
        if dropped:
            self._back_off(now)
            return
        self._times.append(now - started_at)
        if len(self._times) >= max(ANSWERS, self.limit):
            self._close(now)

    def _open(self, now: float) -> None:
        self._since = now
        self._busiest = 0
        self._times.clear()

    def _back_off(self, now: float) -> None:
        self._resumed = self._bounded(self._resumed * BACKOFF)
        self.limit = min(self.limit, self._resumed)
        self._open(now)

    def _close(self, now: float) -> None:
        """End a window: take its median for the least when that was measured, otherwise for the next limit."""
        median_s = max(SHORTEST_S, sorted(self._times)[len(self._times) // 2])
        if self._least_s is None:
            self._least_s = median_s
            self._windows = self._low = 0
            self.limit = self._resumed
        else:
            self._adjust(self._least_s, median_s)
        self._open(now)

    def _adjust(self, least_s: float, median_s: float) -> None:
        gradient = min(GREATEST_GRADIENT, max(LEAST_GRADIENT, (1 + BUFFER) * least_s / median_s))
        fitting = gradient * self.limit
        limit = self._bounded(fitting + math.sqrt(fitting))
        if limit > self.limit and 2 * self._busiest < self.limit:
            limit = self.limit
        self._low = self._low + 1 if limit == self.limit == self._floor else 0
        self._windows += 1
        self._resumed = self.limit = limit
        if self._windows >= WINDOWS or self._low >= LOW_WINDOWS:
            self._least_s = None
            self.limit = self._bounded(min(limit, self._busiest) / 2)

    def _bounded(self, limit: float) -> int:
        return max(self._floor, min(self._ceiling, int(limit)))
