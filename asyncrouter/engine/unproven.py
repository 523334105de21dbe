"""Attempts that draw on the shared budget: which they are, and what is waited for where it allows no more.

A deployment that has answered lately takes the fallbacks of all that fails elsewhere, at once and without a bound: an
outage of one provider must move all of its traffic.  One that has not may be down as well, and a whole herd would find
that out one by one (``tests/faults/test_b_storms.py``, B05).  So further attempts there draw on the budget as retries
do, and no more run at once than half of what is left of it, for the next deployment is to be tried too; the others wait
for what the first ones bring to light.  An answer, or a stream's first output, opens the way to all; failures close it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio

from asyncrouter.engine import extras
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.step import Step
from asyncrouter.state.breaker import Breaker
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.trace import AttemptKind

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course

WISHED_FOR = frozenset({AttemptKind.HEDGE, AttemptKind.CASCADE})
FIRST_LOOK_S = 0.05
KEPT = {1: 1 / 2, 2: 1 / 8}
"""By how many attempts a request has left, the share of its time that goes by before the next; it needs the rest for
its answer.  With six in sixty seconds the last two begin after about ten and thirty-five."""
KEPT_BACK = "the last attempts are kept for later"
ENOUGH = 3
"""So many have failed before: before that it is more likely chance than an outage."""
LONGEST_LOOK_S = 1.0
"""It looks for news after this time, then after twice as long, up to this: a herd that waits must cost little."""


def is_extra(course: Course, step: Step, now: float) -> bool:
    """Whether *step* draws on the budget: what is planned so, and further attempts at what has not answered lately.

    Races and cascades do not: they are wished for.
    """
    if step.budgeted:
        return True
    if not course.trace.attempts or step.same or step.kind in WISHED_FOR:
        return False
    return not course.fleet[step.deployment.name].breaker.has_answered_lately(now)


def is_allowed(course: Course, step: Step) -> bool:
    """Whether the budget allows *step*, which draws on it, to begin now.

    At a deployment that is back after an outage it always does, save a hedge: its breaker lets calls in by turns
    (:mod:`asyncrouter.state.ramp`), so that those who have waited are no storm.  What nothing is known of may always be
    tried by one: somebody has to find out.  Without a floor nobody ever would, so there one may try what fails, too.
    """
    state, now = course.fleet[step.deployment.name], course.fleet.now()
    if state.breaker.is_back(now) and step.kind is not AttemptKind.HEDGE:
        return True
    if _is_kept(course, state.breaker, now):
        return False
    left = extras.left(course)
    if step.budgeted:
        return left >= 1.0
    if state.in_flight:
        return state.in_flight < left / 2
    return left >= 1.0 or state.breaker.is_unknown(now) or not course.fleet.budget.has_floor


def _is_kept(course: Course, breaker: Breaker, now: float) -> bool:
    """Whether it is too early for one of the request's last attempts, at a deployment that fails.

    However long an outage is, a request that is alone would spend them within seconds, and fail with most of its time
    left; and where others have more of them, they may find out.  So each of the last two waits, since the deployment
    failed last, for a share of the time until the deadline (:data:`KEPT`): of several requests each waits for what came
    of the one before.  A failure or two are no outage yet, unless the breaker says so to others as well.
    """
    share = KEPT.get(course.attempts_left)
    if share is None or not breaker.is_failing or course.deadline == math.inf:
        return False
    if len(course.trace.attempts) < ENOUGH:
        is_alone = len(course.first_route.in_flight) <= 1
        if is_alone or breaker.state is BreakerState.CLOSED:
            return False
    return now < breaker.missed_at + share * (course.deadline - breaker.missed_at)


def lacks_leave(course: Course, step: Step) -> bool:
    """Whether nothing but the budget keeps *step* from beginning now."""
    now = course.fleet.now()
    return (
        course.fleet[step.deployment.name].ready_at <= now
        and is_extra(course, step, now)
        and not is_allowed(course, step)
    )


async def wait_for_leave(course: Course, step: Step, *, others: bool) -> bool:
    """Wait until the budget is no longer what keeps *step* from beginning; ``False`` when that is no use.

    There is news to come while others are at that deployment which has not failed lately: its first word wakes who
    waits for it.  Without any, the budget's own time is waited for where that fits the deadline and no *others* could
    be asked meanwhile.
    """
    state, look_s = course.fleet[step.deployment.name], FIRST_LOOK_S
    extras.note(course, KEPT_BACK if _is_kept(course, state.breaker, course.fleet.now()) else extras.EXHAUSTED)
    while lacks_leave(course, step):
        is_news_coming = not step.budgeted and state.in_flight > 0 and not state.breaker.is_failing
        if not is_news_coming and (others or course.fleet.now() + extras.wait_s(course) >= course.deadline):
            return False
        since = course.fleet.now()
        if is_news_coming:
            with cut_off_after(look_s):
                await state.word().wait()
        else:
            await anyio.sleep(look_s)
        course.trace.waited_s += course.fleet.now() - since
        look_s = min(2 * look_s, LONGEST_LOOK_S)
    return True
