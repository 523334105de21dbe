"""The token budget that extra attempts share, so that they cannot turn an outage into a storm."""

from __future__ import annotations

from asyncrouter.state.window import SlidingCounts

TTL_S = 10.0
"""How long a first attempt counts (Finagle's RetryBudget: ttl 10 s)."""
NEVER_S = float("inf")
ALWAYS = float("-inf")
GIVEN_BACK_S = 2.0
"""After so long one that was in vain is forgotten: an outage that ends within a short deadline is to be found out."""
ROUNDING = 1e-9
"""What may be missing of an attempt: :data:`GIVEN_BACK_S` is to give one back."""


class RetryBudget:
    """Allows extra attempts up to a share of the first attempts of the last :data:`TTL_S` seconds, and a floor.

    ``share`` is 0.2 by default, the value on which Finagle, Envoy and failsafe agree.  A quiet router may retry too:
    whatever the share says, ``floor`` extra attempts may be under way at once (Envoy's minimum concurrency: 3), and as
    many begin a second on average (Finagle's minimum per second), for attempts that fail at once are hardly ever under
    way.  But no more than ``floor`` of them may be *in vain*, made since anybody last answered: while nothing answers,
    extra attempts are at most ``share`` times the first ones and ``floor``, and one every :data:`GIVEN_BACK_S`, so an
    end of the outage is found.  A request that is alone may have more in vain: as many as it may make itself.
    """

    __slots__ = ("_attempts", "_drawn_at", "_extra_in_flight", "_floor", "_in_vain", "_share")

    def __init__(self, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._attempts = SlidingCounts(TTL_S)
        self._extra_in_flight = 0
        self._in_vain = 0.0
        self._drawn_at = ALWAYS

    def adopt(self, share: float, floor: int) -> None:
        """Go on with another share and floor."""
        self._share, self._floor = share, floor

    @property
    def has_floor(self) -> bool:
        """Whether there is a floor."""
        return self._floor > 0

    def demand(self, now: float) -> float:
        """Return the first attempts a second, over the last :data:`TTL_S` seconds."""
        return self._attempts.totals(now)[0] / TTL_S

    def first_attempt(self, now: float) -> None:
        """Count one first attempt: it earns ``share`` of an extra one."""
        self._attempts.add(now, first=1)

    def share_left(self, now: float) -> float:
        """Return how many more extra attempts the share would allow now; less than 1: none."""
        first, extra = self._attempts.totals(now)
        return self._share * first - extra

    def floor_left(self, now: float, answered_at: float, alone: int) -> float:
        """Return how many more the floor would allow now, whatever the share says; less than 1: none.

        *answered_at*: when anybody last answered.  *alone*: the extra attempts that a request may make that is alone.
        """
        first, extra = self._attempts.totals(now)
        if self._extra_in_flight >= self._floor or extra >= self._floor * TTL_S:
            return 0.0
        most = max(self._floor, alone) if first <= 1 else self._floor
        return most - self._vain(now, answered_at) + ROUNDING

    def wait_s(self, now: float, answered_at: float, alone: int) -> float:
        """Return after how many seconds the floor may allow one more; infinite when that is not a matter of time.

        The arguments are those of :meth:`floor_left`.  0 is no promise: another extra attempt may have to end first.
        """
        if self._attempts.totals(now)[1] >= self._floor * TTL_S:  # without a floor: never
            return NEVER_S
        return max(0.0, 1.0 - self.floor_left(now, answered_at, alone)) * GIVEN_BACK_S

    def draw(self, now: float, answered_at: float, *, shared: bool) -> None:
        """Count one extra attempt, allowed or not; it must be handed back when it ends.

        *answered_at*: when anybody last answered.  *shared*: whether the share pays for it, or else the floor.
        """
        if not shared:
            self._in_vain = self._vain(now, answered_at) + 1.0
            self._drawn_at = now
        self._extra_in_flight += 1
        self.count(now)

    def count(self, now: float) -> None:
        """Count one extra attempt that another budget has allowed: that of a router inside of this one."""
        self._attempts.add(now, second=1)

    def hand_back(self) -> None:
        """Count one extra attempt as ended."""
        self._extra_in_flight -= 1

    def _vain(self, now: float, answered_at: float) -> float:
        """Return how many that the floor allowed were made since the last answer, less one every GIVEN_BACK_S."""
        if answered_at >= self._drawn_at:
            return 0.0
        return max(0.0, self._in_vain - (now - self._drawn_at) / GIVEN_BACK_S)
