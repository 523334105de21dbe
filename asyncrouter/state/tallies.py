"""Counters of attempts and of requests, and the snapshots that ``metrics()`` makes of them."""

from __future__ import annotations

from asyncrouter.state.latency import LatencyHistogram
from asyncrouter.types.metrics import AgentMetrics, Savings
from asyncrouter.types.trace import AttemptKind

KIND_COUNTERS = {
    AttemptKind.RETRY: "retries",
    AttemptKind.FALLBACK: "fallbacks",
    AttemptKind.CASCADE: "cascades",
    AttemptKind.HEDGE: "hedges",
}
"""The counter of each kind of attempt; a first attempt has none."""


class Tally:
    """Counts of calls, how they ended, why they were made, what they used and how long they took."""

    __slots__ = ("_compared", "_compared_usd", "_strong_usd", "_weak_usd", "calls", "cancelled", "cascades",
                 "cost_usd", "failures", "fallbacks", "hedges", "input_tokens", "latency", "output_tokens", "rejected",
                 "retries")  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.cancelled = 0
        self.rejected = 0
        self.retries = 0
        self.fallbacks = 0
        self.cascades = 0
        self.hedges = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = 0.0
        self.latency = LatencyHistogram()
        self._compared = 0
        self._compared_usd = self._strong_usd = self._weak_usd = 0.0

    def count_kind(self, kind: AttemptKind) -> None:
        """Count one attempt of *kind*."""
        counter = KIND_COUNTERS.get(kind)
        if counter is not None:
            setattr(self, counter, getattr(self, counter) + 1)

    def count_usage(self, input_tokens: int, output_tokens: int, cost_usd: float) -> None:
        """Add what an answer used and cost."""
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_usd += cost_usd

    def count_savings(self, cost_usd: float, strong_usd: float, weak_usd: float) -> None:
        """Add what an answer cost, and what it would have at the strongest and the weakest deployment."""
        self._compared += 1
        self._compared_usd += cost_usd
        self._strong_usd += strong_usd
        self._weak_usd += weak_usd

    @property
    def savings(self) -> Savings:
        """All comparisons together."""
        return Savings(
            calls=self._compared,
            cost_usd=self._compared_usd,
            strong_usd=self._strong_usd,
            weak_usd=self._weak_usd,
        )

    def as_agent(self) -> AgentMetrics:
        """Return the snapshot of a tally of requests."""
        return AgentMetrics(
            calls=self.calls,
            failures=self.failures,
            cancelled=self.cancelled,
            retries=self.retries,
            fallbacks=self.fallbacks,
            cascades=self.cascades,
            hedges=self.hedges,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=self.cost_usd,
            latency_s=self.latency.quantiles(),
            savings=self.savings,
        )
