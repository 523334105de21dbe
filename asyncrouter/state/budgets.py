"""The token budget that retries and hedges share, so that they cannot turn an outage into a storm."""

from __future__ import annotations

from asyncrouter.state.window import SlidingCounts

TTL_S = 10.0
"""How long a first attempt counts (Finagle's RetryBudget: ttl 10 s)."""


class RetryBudget:
    """Allows extra attempts up to a share of the first attempts of the last :data:`TTL_S` seconds.

    ``share`` is 0.2 by default, the value on which Finagle, Envoy and failsafe agree.  A quiet router may retry too:
    whatever the share says, ``floor`` extra attempts may be under way at once (Envoy's minimum concurrency: 3), and as
    many begin a second on average (Finagle's minimum per second), for attempts that fail at once are hardly ever under
    way.
    """

    __slots__ = ("_attempts", "_extra_in_flight", "_floor", "_share")

    def __init__(self, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._attempts = SlidingCounts(TTL_S)
        self._extra_in_flight = 0

    def adopt(self, share: float, floor: int) -> None:
        """Go on with another share and floor."""
        self._share, self._floor = share, floor

    @property
    def under_way(self) -> int:
        """How many extra attempts run now."""
        return self._extra_in_flight

    def demand(self, now: float) -> float:
        """Return the first attempts a second, over the last :data:`TTL_S` seconds."""
        return self._attempts.totals(now)[0] / TTL_S

    def first_attempt(self, now: float) -> None:
        """Count one first attempt: it earns ``share`` of an extra one."""
        self._attempts.add(now, first=1)

    def allows(self, now: float) -> bool:
        """Tell whether one more extra attempt would be allowed now."""
        first, extra = self._attempts.totals(now)
        if extra + 1 <= self._share * first:
            return True
        return self._extra_in_flight < self._floor and extra < self._floor * TTL_S

    def draw(self, now: float) -> None:
        """Count one extra attempt, allowed or not; it must be handed back when it ends."""
        self._attempts.add(now, second=1)
        self._extra_in_flight += 1

    def hand_back(self) -> None:
        """Count one allowed extra attempt as ended."""
        self._extra_in_flight -= 1
