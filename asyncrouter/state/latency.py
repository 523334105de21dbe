"""Latencies: a histogram for quantiles in constant memory, and a smoothed mean for selectors."""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect

from asyncrouter.types.metrics import LatencyQuantiles

RELATIVE_ERROR = 0.05
"""Quantiles are right within 5 %: buckets grow by (1 + e) / (1 - e), as in DDSketch (Masson et al., VLDB 2019)."""
_LOG_GAMMA = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
SHORTEST_S = 1e-6
LONGEST_S = 1e5
"""Everything shorter counts as the one, everything longer as the other."""
_FIRST = math.ceil(math.log(SHORTEST_S) / _LOG_GAMMA)
_BUCKETS = math.ceil(math.log(LONGEST_S) / _LOG_GAMMA) - _FIRST + 1
_EMPTY = array("Q", bytes(array("Q").itemsize * _BUCKETS))
SMOOTHING = 0.2
"""Weight of the newest value in the smoothed mean: about the last ten values matter."""
LEAST_SAMPLES = 20
"""Durations that must have been seen before a quantile of them is believed."""
SPAN_S = 10.0
"""How long a histogram counts before a new one begins (Finagle's time to live of what a budget has seen)."""
REFRESH_S = 3.0
"""How long a quantile is used before it is computed anew (Finagle's BackupRequestFilter)."""


class LatencyHistogram:
    """Counts of durations in 255 buckets that grow geometrically, from a microsecond to a day: 2 KiB.

    They are plain numbers, for the reason that :class:`~asyncrouter.state.window.SlidingCounts` gives.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = _EMPTY[:]

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        if not SHORTEST_S <= duration_s <= LONGEST_S:
            duration_s = SHORTEST_S if duration_s < SHORTEST_S else LONGEST_S
        self._counts[math.ceil(math.log(duration_s) / _LOG_GAMMA) - _FIRST] += 1

    @property
    def count(self) -> int:
        """How many have been counted."""
        return sum(self._counts)

    def quantile(self, q: float) -> float | None:
        """Return the *q* quantile (0 to 1) in seconds within :data:`RELATIVE_ERROR`; ``None`` when empty."""
        seen = list(itertools.accumulate(self._counts))
        if not seen[-1]:
            return None
        bucket = bisect(seen, q * (seen[-1] - 1)) + _FIRST
        return math.exp(bucket * _LOG_GAMMA) * (1 - RELATIVE_ERROR)

    def __add__(self, other: LatencyHistogram) -> LatencyHistogram:
        """Return the histogram of what both have counted."""
        both = LatencyHistogram()
        both._counts = array("Q", map(int.__add__, self._counts, other._counts))
        return both

    def quantiles(self) -> LatencyQuantiles:
        """Return the quantiles that ``metrics()`` shows."""
        return LatencyQuantiles(p50=self.quantile(0.5), p95=self.quantile(0.95), p99=self.quantile(0.99))


class RecentQuantile:
    """The *q* quantile (0 to 1) of the durations of late, in constant memory and at most 11 % too long.

    Two histograms: one counts, the one before it is remembered.  A new one begins when the present one has counted for
    :data:`SPAN_S` seconds and holds :data:`LEAST_SAMPLES`: a busy router looks back 10 to 20 seconds, a quiet one as
    far as it must for its quantile to mean anything.
    """

    __slots__ = ("_before", "_began", "_fresh_until", "_present", "_q", "_value")

    def __init__(self, q: float) -> None:
        self._q = q
        self._before = LatencyHistogram()
        self._present = LatencyHistogram()
        self._began = -math.inf
        self._value: float | None = None
        self._fresh_until = -math.inf

    def observe(self, duration_s: float, now: float) -> None:
        """Count one duration that ends at *now*."""
        if now - self._began >= SPAN_S and (self._present.count >= LEAST_SAMPLES or not self._present.count):
            self._before, self._present, self._began = self._present, LatencyHistogram(), now
        self._present.observe(duration_s)

    def value(self, now: float) -> float | None:
        """Return the quantile in seconds, ``None`` before :data:`LEAST_SAMPLES` durations were seen.

        It errs upwards: of durations that are all the same, none is longer.
        """
        if now >= self._fresh_until:
            recent = self._before + self._present
            quantile = recent.quantile(self._q)
            if quantile is not None and recent.count >= LEAST_SAMPLES:
                self._value = quantile / (1 - RELATIVE_ERROR)
                self._fresh_until = now + REFRESH_S
        return self._value


def smoothed(mean: float | None, value: float) -> float:
    """Return the exponentially smoothed mean after one more *value*."""
    return value if mean is None else mean + SMOOTHING * (value - mean)
