"""Those who were set aside when a request entered their group: by the time that it fails elsewhere they may be back.

A selection is made of who is ready at that moment.  A cooldown or a turn after an outage is often over long before an
attempt ends, so nobody is given up for having been away at its beginning: who is back by then is asked, who will be in
time is waited for.  Both only where the hook ``fallback`` permits it, and of those whom the filters would leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.engine import ends
from asyncrouter.engine.aside import set_aside, suitable
from asyncrouter.engine.route import Route
from asyncrouter.engine.step import Step
from asyncrouter.types.decisions import Fallback
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.trace import Attempt, AttemptKind

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course


async def who_are_back(course: Course, route: Route) -> tuple[Deployment, ...]:
    """Return those of the group who may be asked now and could not be when it was entered, best first."""
    if len(route.group.deployments) == len(course.selected):
        return ()
    now, selected = course.fleet.now(), {one.name for one in course.selected}
    new = [one for one in suitable(course, route) if one.name not in selected and course.may_ask(one)]
    if not any(course.fleet[one.name].ready_at <= now for one in new):
        return ()
    await course.enter(route, AttemptKind.FALLBACK, "")
    return course.remaining()


async def wait_for_others(course: Course, failed: Attempt) -> Step:
    """Wait for somebody whom the request has not asked yet, and return the step there; the others are given up.

    Raises what :meth:`Course.exhausted` returns where there is nobody, or no time.
    """
    asked = {one.deployment for one in course.trace.attempts}
    others = [(route, one.deployment) for route, one in set_aside(course, course.fleet.now())]
    untried = tuple(one for _route, one in others if one.name not in asked)
    ask = course.last_step.route.pipeline.fallback
    decision = ask(course.request, failed, course.trace, untried) if untried else None
    if not isinstance(decision, Fallback) or decision.deployment is None:
        raise course.exhausted()
    course.give_up(asked)
    return await course.begin_round(AttemptKind.FALLBACK, ends.why(decision.reason, failed))


def is_coming(course: Course, route: Route, by: float) -> bool:
    """Whether somebody of the group who is set aside, yet not for failing, may be asked *by* that moment."""
    now = course.fleet.now()
    return any(
        state.breaker.state is BreakerState.CLOSED and now < state.ready_at <= by and course.may_ask(one)
        for one in suitable(course, route)
        if (state := course.fleet[one.name])
    )
