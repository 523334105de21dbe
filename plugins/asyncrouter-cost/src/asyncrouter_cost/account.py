"""One account: what was spent within its period, what is set aside for calls under way, and how far ahead it is.

Spending is kept in slices of the period and forgotten a slice at a time, when all of it is older than the period: so
within no period that anybody could choose is more spent than the limit, and memory is bounded.
"""

from __future__ import annotations

import math

SLICES = 60
"""Slices of a period: money comes back within a sixtieth of the period after it could."""
PACE = 0.95
"""The share of a budget to be spent within its period: of the whole of it, every wave of calls would meet an empty
one."""
PROPORTION, INTEGRAL = 20.0, 100.0
"""By how much the logarithm of the price rises for a whole budget spent ahead of time, and for each period that it
stays so.  Where spending falls by the whole pace for one more of that logarithm, the two settle without swinging:
s^2 + 20 s + 100 has one double root."""
QUIET = 0.1
"""After a quiet time this share of the budget may be spent before money grows dearer.  No more than this share, ahead
or behind, is learned from: one call that takes half of a budget says little of those to come."""
STEEPEST = 50.0
"""The logarithm beyond which money is as good as everything."""


class Account:
    """US dollars spent and set aside under one limit; times are in seconds of the router's clock, never falling.

    ``limit_usd`` may be changed: what was spent stays spent.
    """

    __slots__ = ("_ahead", "_holds", "_learned", "_moved_at", "_period_s", "_reserved", "_slices", "limit_usd")

    def __init__(self, limit_usd: float, period_s: float) -> None:
        self.limit_usd = limit_usd
        self._period_s = period_s
        self._slices: dict[int, float] = {}
        self._reserved = 0.0
        self._holds = 0
        self._ahead = 0.0
        self._learned = 0.0
        self._moved_at = -math.inf

    def spent_usd(self, now: float) -> float:
        """Return what was spent within the period that ends *now*, or a slice longer."""
        self._move(now)
        return math.fsum(self._slices.values())

    def left_usd(self, now: float) -> float:
        """Return what is neither spent nor set aside; below zero when calls took more than was set aside for them."""
        return self.limit_usd - self.spent_usd(now) - self._reserved

    def reserve(self, usd: float) -> None:
        """Set *usd* aside for a call."""
        self._reserved += usd
        self._holds += 1

    def release(self, usd: float) -> None:
        """Give back what was set aside."""
        self._holds -= 1
        self._reserved = max(self._reserved - usd, 0.0) if self._holds else 0.0

    def spend(self, usd: float, now: float) -> None:
        """Count *usd* as spent."""
        self._move(now)
        if usd > 0.0:
            place = self._place(now)
            self._slices[place] = self._slices.get(place, 0.0) + usd
            self._ahead += usd / self.limit_usd

    def urgency(self, now: float) -> float:
        """Return the logarithm, from 0 to 50, of how many times dearer money is to be thought than it is.

        It is the dual variable of the budget.  Each call raises it by its share of the budget, and time lowers it by
        the share that may be spent: dual mirror descent with the entropy as mirror map, whose price moves in proportion
        (S. Balseiro, H. Lu, V. Mirrokni, "The Best of Many Worlds: Dual Mirror Descent for Online Allocation Problems",
        Operations Research 71, 2023).  That alone is ahead of time for as long as the price is up, so an integral is
        added, as in the controllers of W. Zhang et al., "Feedback Control of Real-Time Display Advertising", WSDM 2016.
        Money is never thought cheaper than it is.
        """
        self._move(now)
        raised = PROPORTION * (self._ahead + self._reserved / self.limit_usd) + self._learned
        return min(max(raised, 0.0), STEEPEST)

    def is_idle(self, now: float) -> bool:
        """Whether nothing is spent or set aside: a new account would do as well."""
        self._move(now)
        return not self._holds and not self._slices

    def _move(self, now: float) -> None:
        """Let time pass: forget old slices, let what may be spent catch up, and learn from what was ahead meanwhile."""
        if now <= self._moved_at:
            return
        if self._moved_at > -math.inf:
            self._catch_up((now - self._moved_at) / self._period_s)
        self._moved_at = now
        oldest = self._place(now) - SLICES
        for place in [one for one in self._slices if one < oldest]:
            del self._slices[place]
        if not self._slices:
            self._ahead, self._learned = min(self._ahead, 0.0), 0.0

    def _catch_up(self, periods: float) -> None:
        ahead = max(self._ahead - PACE * periods, -QUIET)
        meanwhile = max(min((self._ahead + ahead) / 2, QUIET), -QUIET)
        learned = self._learned + INTEGRAL * periods * meanwhile
        self._ahead, self._learned = ahead, min(max(learned, 0.0), STEEPEST)

    def _place(self, now: float) -> int:
        return math.floor(now * SLICES / self._period_s)
