"""What hedges go by: how long answers take of late, and how many more extra attempts there may be."""

from __future__ import annotations

from asyncrouter.state.budgets import TTL_S
from asyncrouter.state.latency import RecentQuantile
from asyncrouter.state.window import SlidingCounts

SHORTEST_DELAY_S = 0.001
"""No hedge starts earlier (Finagle's BackupRequestFilter: at least a millisecond)."""
ROUNDING = 1e-9
"""What may be missing of a hedge: twenty times 0.05 are to earn one."""


class HedgeBudget:
    """Every first attempt earns ``share`` of a hedge; a hedge that was earned is kept until it is made.

    So there are never more hedges than ``share`` times the first attempts, and a router that is hardly used has its
    hedge too.  What is kept is bounded, lest a quiet day pays for a storm: by one hedge, or by what the last
    :data:`~asyncrouter.state.budgets.TTL_S` seconds have earned where that is more.
    """

    __slots__ = ("_earned", "_firsts", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._firsts = SlidingCounts(TTL_S)
        self._earned = 0.0

    def first_attempt(self, now: float) -> None:
        """Count one first attempt."""
        self._firsts.add(now, first=1)
        most = max(1.0, self._share * self._firsts.totals(now)[0])
        self._earned = min(most, self._earned + self._share)

    def spend(self) -> bool:
        """Allow one hedge, or refuse it."""
        if self._earned < 1.0 - ROUNDING:
            return False
        self._earned -= 1.0
        return True

    def hand_back(self) -> None:
        """Take back one allowed hedge that was not made after all."""
        self._earned += 1.0


class Paces:
    """The *quantile* (0 to 1) of the recent latencies of each deployment.

    Plain and streamed calls are kept apart: the one takes until the whole answer, the other until the first output.
    """

    __slots__ = ("_paces", "_quantile")

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._paces: dict[tuple[str, bool], RecentQuantile] = {}

    def observe(self, deployment: str, latency_s: float, now: float, *, streamed: bool) -> None:
        """Count one latency of *deployment*."""
        key = (deployment, streamed)
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = RecentQuantile(self._quantile)
        pace.observe(latency_s, now)

    def delay_s(self, deployment: str, now: float, *, streamed: bool) -> float | None:
        """Return the quantile in seconds; ``None`` while too few answers have been seen to tell."""
        pace = self._paces.get((deployment, streamed))
        return None if pace is None else pace.value(now)
