"""From a group that has failed, or has nobody ready, to its next fallback group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.engine import ends
from asyncrouter.engine.route import Route
from asyncrouter.engine.step import Step
from asyncrouter.types.decisions import Fallback
from asyncrouter.types.errors import PluginContractError
from asyncrouter.types.trace import Attempt, AttemptKind

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course


async def next_group(course: Course, route: Route, failed: Attempt, decision: object = None) -> Step | None:
    """Go on with the next fallback group that has a ready deployment; ``None`` when there is none.

    The group that failed is asked for its own chain first, then the one that the caller asked for.  *decision*: what
    the hook ``fallback`` has said already.
    """
    while True:
        if not isinstance(decision, Fallback) or decision.group is None:
            decision = _group_after(course, route, failed)
        if decision is None or decision.group is None:
            return None
        if decision.group in course.trace.groups:
            raise PluginContractError(
                f"asyncrouter_fallback named group {decision.group!r}, which this round has visited already",
                hook="asyncrouter_fallback",
            )
        route = course.find_route(decision.group)
        course.trace.entered(decision.group)
        if step := await course.enter(route, AttemptKind.FALLBACK, ends.why(decision.reason, failed)):
            return step
        decision = None


def _group_after(course: Course, route: Route, failed: Attempt) -> Fallback | None:
    for one in (route, course.first_route):
        decision = one.pipeline.fallback(course.request, failed, course.trace, ())
        if isinstance(decision, Fallback):
            return decision
    return None
