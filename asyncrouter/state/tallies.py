"""Counters of attempts and of requests, and the snapshots that ``metrics()`` makes of them."""

from __future__ import annotations

from array import array

from asyncrouter.state.latency import LatencyHistogram
from asyncrouter.types.metrics import AgentMetrics, Savings
from asyncrouter.types.trace import AttemptKind

NUMBERS = ("calls", "failures", "cancelled", "rejected", "retries", "fallbacks", "cascades", "hedges", "input_tokens",
           "output_tokens")  # fmt: skip
"""What is counted, in the order of :attr:`Tally.counts`."""
(CALLS, FAILURES, CANCELLED, REJECTED, RETRIES, FALLBACKS, CASCADES, HEDGES, INPUT_TOKENS, OUTPUT_TOKENS) = range(
    len(NUMBERS)
)
_OF_KIND = {
    AttemptKind.RETRY: RETRIES,
    AttemptKind.FALLBACK: FALLBACKS,
    AttemptKind.CASCADE: CASCADES,
    AttemptKind.HEDGE: HEDGES,
}
_COST, _COMPARED, _STRONG, _WEAK = range(4)


class Tally:
    """Counts of calls, how they ended, why they were made, what they used and how long they took.

    ``counts``: by the constants of this module.  They lie in arrays that are made with the tally: as objects, the last
    ones of a burst would each keep a mebibyte of Python's allocator from going back to the system.
    """

    __slots__ = ("_compared", "_usd", "counts", "latency")

    def __init__(self) -> None:
        self.counts = array("q", bytes(8 * len(NUMBERS)))
        self.latency = LatencyHistogram()
        self._compared = array("q", (0,))
        self._usd = array("d", bytes(8 * 4))

    def count_kind(self, kind: AttemptKind) -> None:
        """Count one attempt of *kind*; a first attempt has no counter."""
        counter = _OF_KIND.get(kind)
        if counter is not None:
            self.counts[counter] += 1

    def count_usage(self, input_tokens: int, output_tokens: int, cost_usd: float) -> None:
        """Add what an answer used and cost."""
        counts = self.counts
        counts[INPUT_TOKENS] += input_tokens
        counts[OUTPUT_TOKENS] += output_tokens
        self._usd[_COST] += cost_usd

    def count_savings(self, cost_usd: float, strong_usd: float, weak_usd: float) -> None:
        """Add what an answer cost, and what it would have at the strongest and the weakest deployment."""
        self._compared[0] += 1
        usd = self._usd
        usd[_COMPARED] += cost_usd
        usd[_STRONG] += strong_usd
        usd[_WEAK] += weak_usd

    @property
    def cost_usd(self) -> float:
        """What all answers cost."""
        return self._usd[_COST]

    @property
    def savings(self) -> Savings:
        """All comparisons together."""
        return Savings(
            calls=self._compared[0],
            cost_usd=self._usd[_COMPARED],
            strong_usd=self._usd[_STRONG],
            weak_usd=self._usd[_WEAK],
        )

    def named(self) -> dict[str, int]:
        """Return the counts by their names."""
        return dict(zip(NUMBERS, self.counts, strict=True))

    def as_agent(self) -> AgentMetrics:
        """Return the snapshot of a tally of requests."""
        counts = self.named()
        del counts["rejected"]  # answers are, not requests
        return AgentMetrics(**counts, cost_usd=self.cost_usd, latency_s=self.latency.quantiles(), savings=self.savings)
