"""The circuit breaker of one deployment.

Closed: calls pass.  It opens after so many failures in a row, or when too large a share of a window's calls failed;
where ``slow_s`` is set, for slow answers in the same way, those too that have not come by then; and after one refusal
of its key.  Open: no call passes until
its time is over; the time doubles with each opening in a row and is drawn with equal jitter (half fixed, half random:
AWS Architecture Blog, "Exponential Backoff And Jitter"), so that routers do not come back together.  Half-open: one
probe at a time; its success closes, its failure (or slowness) opens again, never for less than what was left, and any
other end (the caller left, or the request itself was at fault) gives the probe back.  Closed again: calls come back by
and by (:mod:`asyncrouter.state.ramp`).

A call is let in with a permit and must hand it back.  Permits carry the breaker's epoch: what a call that began before
the breaker opened has to tell says nothing about the time after.

A call may come with a *pass*: the engine gives one when every deployment that the request could be sent to is set
aside.  It forces a probe of a breaker that has been open for half of ``open_s``, whatever is left of its time (Envoy's
panic mode lets all calls through; here it is still one at a time), and it lets calls through to a deployment that is
set aside for slowness alone, for a slow answer is better than none, or for a refused key, for that is told at once.  To
one that fails often and yet answers it lets so many through as its answers promise (:meth:`Breaker.chance`): where all
are flaky, breakers would do more harm.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from asyncrouter.state.away import nobody
from asyncrouter.state.ramp import Ramp
from asyncrouter.state.window import SlidingCounts
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import CLOSED, BreakerState

Permit = int
SILENT: Permit = -1
"""The permit of a call from which nothing is learnt."""
FLAKY: Permit = -2
"""The permit of a call let through to an upstream that fails often, yet not always: it counts, and changes no state."""
ACCEPTED_TIMES = 2.0
"""K of Google's client-side throttling (Site Reliability Engineering, chapter 21, "Handling Overload")."""
DOWN_TIMES = 2
PROBE_RECHECK_S = 1.0
"""While a probe is out, others look again after this time; who looks and finds it still out puts it off again."""
ALWAYS = float("-inf")


def unknown_demand(_now: float) -> float:
    """Tell of no demand: what a ramp goes by where nobody counts the requests."""
    return 0.0


class Breaker:
    """See the module.  ``ready_at``: when a call may next be let in; in the past while closed.

    ``answered_at``: when a call last succeeded; ``spoke_at``: when a stream last had its first output;
    ``missed_at``: when a call last ended without an answer; ``opened_at``: when it opened last; ``passable``: whether
    calls with a pass go through all the same.  *demand* tells the requests a second that a ramp goes by; *moved* is
    called when ``ready_at`` changes.
    """

    __slots__ = ("_awaited", "_counts", "_demand", "_epoch", "_failures_in_a_row", "_moved", "_openings_in_a_row",
                 "_probe", "_ramp", "_random", "_slow_in_a_row", "_speeds", "_until", "answered_at", "missed_at",
                 "opened_at", "passable", "ready_at", "settings", "spoke_at", "state")  # fmt: skip

    def __init__(
        self,
        settings: BreakerSettings,
        random: random.Random,
        demand: Callable[[float], float] = unknown_demand,
        moved: Callable[[], None] = nobody,
    ) -> None:
        self.settings = settings
        self._moved = moved
        self.state = BreakerState.CLOSED
        self.ready_at = ALWAYS
        self.opened_at = ALWAYS
        self.passable = False
        self._random = random
        self._demand = demand
        self._counts = SlidingCounts(settings.window_s)
        self._speeds = SlidingCounts(settings.window_s)
        self._failures_in_a_row = 0
        self._slow_in_a_row = 0
        self._openings_in_a_row = 0
        self.answered_at = ALWAYS
        self.spoke_at = ALWAYS
        self.missed_at = ALWAYS
        self._awaited: dict[object, tuple[Permit, float]] = {}
        self._epoch: Permit = 0
        self._probe: Permit | None = None
        self._ramp: Ramp | None = None
        self._until = ALWAYS

    @property
    def is_probing(self) -> bool:
        """Whether a probe is out."""
        return self._probe is not None

    @property
    def may_be_news(self) -> bool:
        """Whether the end of a probe has left it closed, or free for the next probe."""
        return self._probe is None and self.state is not BreakerState.OPEN

    @property
    def is_at_rest(self) -> bool:
        """Whether it lets every call in, and will until it opens."""
        return self.ready_at == ALWAYS and self._ramp is None

    @property
    def is_ramping(self) -> bool:
        """Whether it has closed lately, and calls have to take turns."""
        return self._ramp is not None

    def has_answered_lately(self, now: float) -> bool:
        """Whether the last that was heard of it is an answer or the beginning of one, not older than its window.

        One that is set aside for slowness answers.
        """
        if self._failures_in_a_row:
            return False
        return self.passable or now - max(self.answered_at, self.spoke_at) <= self.settings.window_s

    def is_unknown(self, now: float) -> bool:
        """Whether nothing has been heard of it within its window, not even a refusal."""
        return now - max(self.answered_at, self.spoke_at, self.missed_at) > self.settings.window_s

    def is_back(self, now: float) -> bool:
        """Whether it has closed lately, lets calls in by turns, and has answered each since."""
        return self._ramp is not None and not self._failures_in_a_row and not self._ramp.is_over(now)

    def chance(self, now: float) -> float:
        """Return the probability, 0 to 1, with which a call with a pass is let through to an upstream that is flaky.

        That is one which has answered within ``open_s`` and, since, not failed :data:`DOWN_TIMES` as often as opens a
        breaker (half of the calls failing, that happens once in a thousand): 1 - (calls - K * answers) / (calls + 1)
        of its window's.
        """
        is_down = self._failures_in_a_row >= DOWN_TIMES * self.settings.failures
        if self.state is BreakerState.CLOSED or is_down or now - self.answered_at > self.settings.open_s:
            return 0.0
        good, bad = self._counts.totals(now)
        return min(1.0, 1.0 - (good + bad - ACCEPTED_TIMES * good) / (good + bad + 1.0))

    def may_be_forced(self, now: float) -> bool:
        """Whether a call with a pass would be let in now, though the breaker is not closed."""
        if self.state is BreakerState.CLOSED:
            return False
        return self.passable or (self._probe is None and now >= self.forcible_at)

    @property
    def is_open(self) -> bool:
        """Whether it lets no call in, but one with a pass."""
        return self.state is BreakerState.OPEN

    @property
    def forcible_at(self) -> float:
        """When a call with a pass may force a probe, should the breaker be open still."""
        return self.opened_at + self.settings.open_s / 2

    def admit(self, now: float, *, passed: bool = False) -> Permit | None:
        """Return a permit for one call, or ``None`` when none may pass now.  *passed*: the call has a pass."""
        if self.state is CLOSED:
            if self._ramp is not None and not passed:
                self.take_turn(now)
            return self._epoch
        if passed and self.passable:
            return SILENT
        if passed and not self.may_be_forced(now) and self.chance(now) > 0.0:
            return FLAKY
        if not (self.may_be_forced(now) if passed else now >= self.ready_at):
            return None
        self.ready_at = max(self.ready_at, now + PROBE_RECHECK_S)
        self._moved()
        if self._probe is not None:
            return None
        self.state = BreakerState.HALF_OPEN
        self._epoch += 1
        self._probe = self._epoch
        return self._epoch

    def take_turn(self, now: float) -> float:
        """Take the next turn of the ramp and return its moment, *now* or later; who waits for it comes with a pass."""
        ramp = self._ramp
        if ramp is None:
            return now
        self._moved()
        if ramp.is_over(now):
            self._ramp, self.ready_at = None, ALWAYS
            return now
        turn = ramp.take(now)
        self.ready_at = ramp.next_at
        return turn

    def succeeded(self, permit: Permit, now: float) -> None:
        """Hand *permit* back after a success."""
        if permit == FLAKY:
            self._failures_in_a_row = 0
            self.answered_at = now
            self._counts.add(now, first=1)
        if permit != self._epoch:
            return
        self._failures_in_a_row = 0
        self.answered_at = now
        if self._probe is not None:
            self._close(now)
        else:
            self._counts.add(now, first=1)

    def awaits(self, call: object, permit: Permit, now: float) -> None:
        """Note that the answer of *call* is awaited from now on; only where ``slow_s`` is set."""
        self._awaited[call] = (permit, now)

    def forgets(self, call: object) -> bool:
        """Note that the answer of *call* is no longer awaited; ``False`` when it counts as slow already."""
        return self._awaited.pop(call, None) is not None

    def look(self, now: float) -> None:
        """Count what has been awaited for longer than ``slow_s``: that it is slow is known before it ends."""
        while self._awaited:
            call, (permit, since) = next(iter(self._awaited.items()))
            if self.settings.slow_s is not None and now - since <= self.settings.slow_s:
                return
            del self._awaited[call]
            self.took(permit, now - since, now)

    def took(self, permit: Permit, latency_s: float, now: float) -> None:
        """Note how long an answer was in coming, a stream's to its first output; only where ``slow_s`` is set."""
        slow_s = self.settings.slow_s
        if slow_s is None or permit != self._epoch:
            return
        slow = latency_s > slow_s
        self._slow_in_a_row = self._slow_in_a_row + 1 if slow else 0
        self._speeds.add(now, first=not slow, second=slow)
        if slow and (
            self._probe is not None
            or self._slow_in_a_row >= self.settings.failures
            or self._reaches(self.settings.slow_ratio, self._speeds, now)
        ):
            self._open(now, passable=True)

    def failed(self, permit: Permit, now: float, *, refused: bool = False) -> None:
        """Hand *permit* back after a failure of the deployment.  *refused*: the next call will fail in the same way."""
        self.missed_at = now
        if permit == FLAKY:
            self._failures_in_a_row += 1
            self._counts.add(now, second=1)
        if permit != self._epoch:
            return
        probed = self._probe is not None
        if not probed:
            self._failures_in_a_row += 1
            self._counts.add(now, second=1)
        if probed or refused or self._failures_in_a_row >= self.settings.failures or self._fails_too_often(now):
            self._open(now, passable=refused)

    def released(self, permit: Permit, now: float) -> None:
        """Hand *permit* back after an end that tells nothing about the deployment."""
        self.missed_at = now
        if permit == self._epoch and self._probe is not None:
            self._probe = None
            self._epoch += 1
            self.ready_at = max(now, self._until)
            self._moved()

    def adopt(self, settings: BreakerSettings) -> None:
        """Go on with other *settings*, in the state that it is in."""
        if settings != self.settings:
            self.settings = settings
            self._counts = SlidingCounts(settings.window_s)
            self._speeds = SlidingCounts(settings.window_s)

    def renew(self, now: float) -> None:
        """Begin again, closed: another upstream stands behind it now."""
        self._close(now)
        self._ramp, self.answered_at, self.spoke_at = None, ALWAYS, ALWAYS

    @property
    def is_failing(self) -> bool:
        """Whether the last call that told anything was a failure."""
        return self._failures_in_a_row > 0

    def _fails_too_often(self, now: float) -> bool:
        return self._reaches(self.settings.ratio, self._counts, now)

    def _reaches(self, ratio: float, counts: SlidingCounts, now: float) -> bool:
        good, bad = counts.totals(now)
        calls = good + bad
        return calls >= self.settings.min_calls and bad / calls >= ratio

    def _open(self, now: float, *, passable: bool) -> None:
        settings = self.settings
        bound = min(settings.open_cap_s, settings.open_s * 2.0 ** min(self._openings_in_a_row, 60))
        self.state = BreakerState.OPEN
        self.passable = passable
        self.opened_at = now
        self.ready_at = self._until = max(self._until, now + bound / 2 + self._random.uniform(0, bound / 2))
        self._moved()
        self._openings_in_a_row += 1
        self._probe = self._ramp = None
        self._epoch += 1

    def _close(self, now: float) -> None:
        self.state = BreakerState.CLOSED
        self.passable = False
        self.ready_at = self._until = ALWAYS
        self._moved()
        self._probe = None
        self._failures_in_a_row = self._slow_in_a_row = self._openings_in_a_row = 0
        self._counts.clear()
        self._speeds.clear()
        self._epoch += 1
        ramp_s = self.settings.ramp_s
        self._ramp = Ramp(ramp_s, now, self._random, self._demand) if ramp_s else None
