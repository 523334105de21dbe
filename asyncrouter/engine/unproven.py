"""Further attempts of a request at a deployment of which nobody knows whether it is well.

A deployment that has answered lately takes the fallbacks of all that fails elsewhere, at once and without a bound: an
outage of one provider must move all of its traffic.  One that has not may be down as well, and where failures are slow
a whole herd would find that out one by one (``tests/faults/test_b_breaker.py``, B05).  So further attempts there draw
on the shared budget; beyond it they wait for what the first ones bring to light.  No news is good news: after
:data:`PATIENCE_S` they go too, save that no more than :data:`MOST` such attempts of all requests run at once.  An
answer opens the way to all, the breaker closes it to all.
"""

from __future__ import annotations

import anyio

from asyncrouter.engine.course import Course
from asyncrouter.engine.step import Step
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.trace import AttemptKind

PATIENCE_S = 0.25
"""How long a request waits for news when the budget is spent: most outages are told sooner (a refused connection, a
5xx), and an answer that takes seconds is not made much later by it."""
MOST = 100
"""Attempts beyond the budget that may run at once: as many as aiohttp opens connections by default."""
ASKED_ABOUT = frozenset({AttemptKind.FIRST, AttemptKind.FALLBACK})
FIRST_LOOK_S = 0.05
LONGEST_LOOK_S = 1.0
"""It looks for news after this time, then after twice as long, up to this: a herd that waits must cost little."""


def is_unproven(course: Course, step: Step, fleet: Fleet, now: float) -> bool:
    """Whether *step* is a further attempt of its request at a deployment that has not answered lately.

    Only fallbacks are asked about, and what begins after a wait: retries are budgeted already, save those that count as
    the same attempt; races and cascades are wished for.
    """
    if not course.trace.attempts or step.kind not in ASKED_ABOUT or step.budgeted:
        return False
    return not fleet[step.deployment.name].breaker.has_answered_lately(now)


async def wait_for_news(course: Course, step: Step, fleet: Fleet) -> None:
    """Wait until *step* may be made, or cannot be made any more because its deployment has been set aside."""
    state, look_s, waited_s = fleet[step.deployment.name], FIRST_LOOK_S, 0.0
    while is_unproven(course, step, fleet, now := fleet.now()):
        unknown = state.breaker.state is BreakerState.CLOSED and state.in_flight
        if not unknown or fleet.budget.allows(now) or (waited_s >= PATIENCE_S and fleet.budget.under_way < MOST):
            return
        await anyio.sleep(look_s)
        waited_s += look_s
        look_s = min(2 * look_s, LONGEST_LOOK_S)
