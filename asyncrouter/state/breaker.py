"""The circuit breaker of one deployment.

Closed: calls pass.  It opens after so many failures in a row, or when too large a share of a window's calls failed.
Open: no call passes until its time is over; the time doubles with each opening in a row and is drawn with equal jitter
(half fixed, half random: AWS Architecture Blog, "Exponential Backoff And Jitter"), so that routers do not come back
together.  Half-open: one probe at a time; its success closes, its failure opens again, and any other end (the caller
left, or the request itself was at fault) gives the probe back.

A call is let in with a permit and must hand it back.  Permits carry the breaker's epoch: what a call that began before
the breaker opened has to tell says nothing about the time after.
"""

from __future__ import annotations

import random

from asyncrouter.state.window import SlidingCounts
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import BreakerState

Permit = int
PROBE_RECHECK_S = 1.0
"""While a probe is out, others look again after this time; who looks and finds it still out puts it off again."""
ALWAYS = float("-inf")


class Breaker:
    """See the module.  ``ready_at``: when a call may next be let in; in the past while closed."""

    __slots__ = ("_counts", "_epoch", "_failures_in_a_row", "_openings_in_a_row", "_probe", "_random", "ready_at",
                 "settings", "state")  # fmt: skip

    def __init__(self, settings: BreakerSettings, random: random.Random) -> None:
        self.settings = settings
        self.state = BreakerState.CLOSED
        self.ready_at = ALWAYS
        self._random = random
        self._counts = SlidingCounts(settings.window_s)
        self._failures_in_a_row = 0
        self._openings_in_a_row = 0
        self._epoch: Permit = 0
        self._probe: Permit | None = None

    def admit(self, now: float) -> Permit | None:
        """Return a permit for one call, or ``None`` when none may pass now."""
        if self.state is BreakerState.CLOSED:
            return self._epoch
        if now < self.ready_at:
            return None
        self.ready_at = now + PROBE_RECHECK_S
        if self._probe is not None:
            return None
        self.state = BreakerState.HALF_OPEN
        self._epoch += 1
        self._probe = self._epoch
        return self._epoch

    def succeeded(self, permit: Permit, now: float) -> None:
        """Hand *permit* back after a success."""
        if permit != self._epoch:
            return
        self._failures_in_a_row = 0
        if self._probe is not None:
            self._close()
        else:
            self._counts.add(now, first=1)

    def failed(self, permit: Permit, now: float) -> None:
        """Hand *permit* back after a failure of the deployment."""
        if permit != self._epoch:
            return
        if self._probe is not None:
            self._open(now)
            return
        self._failures_in_a_row += 1
        self._counts.add(now, second=1)
        if self._must_open(now):
            self._open(now)

    def released(self, permit: Permit, now: float) -> None:
        """Hand *permit* back after an end that tells nothing about the deployment."""
        if permit == self._epoch and self._probe is not None:
            self._probe = None
            self._epoch += 1
            self.ready_at = now

    def adopt(self, settings: BreakerSettings) -> None:
        """Go on with other *settings*, in the state that it is in."""
        if settings != self.settings:
            self.settings = settings
            self._counts = SlidingCounts(settings.window_s)

    def renew(self) -> None:
        """Begin again, closed: another upstream stands behind it now."""
        self._close()

    @property
    def is_failing(self) -> bool:
        """Whether the last call that told anything was a failure."""
        return self._failures_in_a_row > 0

    def _must_open(self, now: float) -> bool:
        if self._failures_in_a_row >= self.settings.failures:
            return True
        good, bad = self._counts.totals(now)
        calls = good + bad
        return calls >= self.settings.min_calls and bad / calls >= self.settings.ratio

    def _open(self, now: float) -> None:
        settings = self.settings
        bound = min(settings.open_cap_s, settings.open_s * 2.0 ** min(self._openings_in_a_row, 60))
        self.state = BreakerState.OPEN
        self.ready_at = now + bound / 2 + self._random.uniform(0, bound / 2)
        self._openings_in_a_row += 1
        self._probe = None
        self._epoch += 1

    def _close(self) -> None:
        self.state = BreakerState.CLOSED
        self.ready_at = ALWAYS
        self._probe = None
        self._failures_in_a_row = self._openings_in_a_row = 0
        self._counts.clear()
        self._epoch += 1
