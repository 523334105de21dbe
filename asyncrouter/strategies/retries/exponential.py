"""Exponential backoff with jitter, which also obeys the upstream's Retry-After; and no retry at all.

The n-th wait of a request is ``d = U(0, min(cap, initial * factor ** (n - 1)))``: full jitter, as in "Exponential
Backoff And Jitter" (AWS Architecture Blog, 2015), where it needs the fewest calls and nearly the shortest time of the
variants compared.  After a rate limit it is the upper half of that, equal jitter: a limited deployment is set aside for
a second even without a Retry-After, and a wait that full jitter makes shorter is followed by another one, so that two
of three requests had used up their waits after 4 or 5 calls.  Where the upstream asked for ``ra`` seconds,
``d = max(d, ra) + U(0, 0.1 * ra)``: never earlier than told, and spread so that not all come back at once.
"""

from __future__ import annotations

import random as random_numbers

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import GiveUp, Retry
from asyncrouter.types.errors import Disposition, RateLimited
from asyncrouter.types.trace import Attempt, TraceView

RETRY_AFTER_SPREAD = 0.1
"""Part of a Retry-After that is added at random."""


@attrs.frozen(kw_only=True, eq=False)
class ExponentialRetry:
    """Exponential backoff with jitter and Retry-After.

    ``max_retries``: waits per request, 0 or more.  ``initial_delay_s``, ``cap_s``: bounds of the first and of any
    wait, in seconds.  ``factor``: growth from wait to wait, 1 or more.  ``jitter``: without it, the bound itself is
    waited.  ``retry_after_cap_s``: an upstream that asks for a longer pause is given up.
    """

    max_retries: int = attrs.field(default=5, validator=options.whole(0))
    initial_delay_s: float = attrs.field(default=1.0, validator=options.number(0))
    factor: float = attrs.field(default=2.0, validator=options.number(1))
    cap_s: float = attrs.field(default=30.0, validator=options.number(0))
    jitter: bool = attrs.field(default=True, validator=options.flag)
    retry_after_cap_s: float = attrs.field(default=60.0, validator=options.number(0))

    @hookimpl(trylast=True)
    def asyncrouter_retry(self, attempt: Attempt, trace: TraceView, random: random_numbers.Random) -> Retry | GiveUp:
        """Return the next wait, or give up: not retriable, waited often enough, or told to wait too long."""
        error = attempt.error
        if error is None or error.disposition is not Disposition.RETRY:
            return GiveUp("nothing to retry" if error is None else f"{type(error).__name__} is not retried")
        if trace.waits >= self.max_retries:
            return GiveUp(f"waited {trace.waits} of {self.max_retries} times")
        bound = self.bound_s(trace.waits + 1)
        delay = random.uniform(bound / 2 if isinstance(error, RateLimited) else 0.0, bound) if self.jitter else bound
        retry_after = error.retry_after_s
        if retry_after is not None and retry_after > 0:
            if retry_after > self.retry_after_cap_s:
                return GiveUp(f"Retry-After {retry_after:g} s is over {self.retry_after_cap_s:g} s")
            delay = max(delay, retry_after) + random.uniform(0.0, RETRY_AFTER_SPREAD * retry_after)
        return Retry(delay, f"{type(error).__name__}, wait {trace.waits + 1} of {self.max_retries}")

    def bound_s(self, number: int) -> float:
        """Return the longest that the wait of this *number* (1 is the first) may be, Retry-After aside, in seconds."""
        try:
            return min(self.cap_s, self.initial_delay_s * self.factor ** (number - 1))
        except OverflowError:
            return self.cap_s if self.initial_delay_s else 0.0


@attrs.frozen(kw_only=True, eq=False)
class NoRetry:
    """Never ask the same deployment again."""

    @hookimpl(trylast=True)
    def asyncrouter_retry(self) -> GiveUp:
        """Give up."""
        return GiveUp("retries are off")
