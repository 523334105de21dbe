"""Latencies: a histogram for quantiles in constant memory, and a smoothed mean for selectors."""

from __future__ import annotations

import itertools
import math

from asyncrouter.types.metrics import LatencyQuantiles

RELATIVE_ERROR = 0.05
"""Quantiles are right within 5 %: buckets grow by (1 + e) / (1 - e), as in DDSketch (Masson et al., VLDB 2019)."""
_LOG_GAMMA = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
SHORTEST_S = 1e-6
"""Everything shorter counts as this."""
SMOOTHING = 0.2
"""Weight of the newest value in the smoothed mean: about the last ten values matter."""


class LatencyHistogram:
    """Counts of durations in buckets that grow geometrically; about 230 buckets span a microsecond to three hours."""

    __slots__ = ("_buckets", "count")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        bucket = math.ceil(math.log(max(duration_s, SHORTEST_S)) / _LOG_GAMMA)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1

    def quantile(self, q: float) -> float | None:
        """Return the *q* quantile (0 to 1) in seconds within :data:`RELATIVE_ERROR`; ``None`` when empty."""
        if not self.count:
            return None
        rank = q * (self.count - 1)
        buckets = sorted(self._buckets)
        seen = itertools.accumulate(self._buckets[bucket] for bucket in buckets)
        bucket = next(bucket for bucket, count in zip(buckets, seen, strict=True) if count > rank)
        return math.exp(bucket * _LOG_GAMMA) * (1 - RELATIVE_ERROR)

    def quantiles(self) -> LatencyQuantiles:
        """Return the quantiles that ``metrics()`` shows."""
        return LatencyQuantiles(p50=self.quantile(0.5), p95=self.quantile(0.95), p99=self.quantile(0.99))


def smoothed(mean: float | None, value: float) -> float:
    """Return the exponentially smoothed mean after one more *value*."""
    return value if mean is None else mean + SMOOTHING * (value - mean)
