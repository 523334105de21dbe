"""Circuit breakers, and what is told them."""

from __future__ import annotations

import random

from asyncrouter.state.breaker import Breaker
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(seed=0, **settings):
    return Breaker(BreakerSettings(**settings), random.Random(seed))  # noqa: S311 - repeatable


def probe(breaker, end="succeeded", now=None):
    """Send a probe as soon as one may go; return when that was."""
    now = breaker.ready_at if now is None else now
    getattr(breaker, end)(breaker.admit(now), now)
    return now


def fail(breaker, now=0.0, times=1):
    for _ in range(times):
        breaker.failed(breaker.admit(now), now)


def opened(now=0.0, **settings):
    breaker = make(failures=1, **settings)
    fail(breaker, now)
    return breaker
