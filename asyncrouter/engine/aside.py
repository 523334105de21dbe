"""What is left to do when every deployment that a request could be sent to is set aside: a pass, or a wait.

In this order:

1. who is back by now is asked, as anybody who is ready;
2. to a deployment that is set aside for slowness alone, or for a refused key, calls pass: a slow answer is better than
   none, and so is the refusal's own error;
3. one of them is probed, that which opened longest ago, whatever is left of its time: when a whole fleet comes back,
   that is found out early.  One forced probe at a time, and each breaker rests for half of its ``open_s`` before;
4. to one that fails often and yet answers, as many calls pass as its answers promise; further attempts of a request
   draw on the retry budget for it, so that an outage of all is no storm;
5. where a deployment is back and lets calls in by turns, the request takes its turn and waits for it;
6. where the soonest is over its rate only, the request stands in line for its turn (:mod:`asyncrouter.engine.turns`);
7. else the request waits until the soonest may be ready, or less long when the fleet tells that one is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from asyncrouter.engine import ends, extras
from asyncrouter.engine.route import Route
from asyncrouter.engine.step import Step
from asyncrouter.engine.turns import wait_for_turn
from asyncrouter.state.away import NOBODY
from asyncrouter.state.breaker import PROBE_RECHECK_S
from asyncrouter.state.fleet import DeploymentState, Fleet
from asyncrouter.types.deployments import Deployment, DeploymentView
from asyncrouter.types.errors import NoDeploymentAvailable
from asyncrouter.types.trace import AttemptKind

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course

ALL_ASIDE = "every deployment is set aside"
ALL_FLAKY = "every deployment is flaky"
Found = tuple[Route, DeploymentState]
"""A deployment that is not ready, with the route it was found in."""
LONGEST_LOOK_S = 5.0
"""While another request's probe is out, it is looked after again within this time; mostly its end is told sooner."""


async def pass_or_wait(course: Course, kind: AttemptKind, reason: str) -> Step | None:
    """Return a step past what sets the deployments aside, or wait until one may be ready and return ``None``.

    Raises what :meth:`Course.exhausted` returns when there is none to wait for, or no time.
    """
    if course.queueing is not None and course.queueing.comes_back():
        return None
    now = course.fleet.now()
    if _are_back(course, now):
        return None
    found = set_aside(course, now)
    if not found:
        raise course.exhausted()
    if step := await _past(course, found, kind, reason):
        return step
    found.sort(key=_turn_at)
    _route, soonest = found[0]
    if soonest.limits is not None and soonest.set_aside_until <= now:
        if not await wait_for_turn(course, soonest.limits, [state for _route, state in found]):
            raise course.exhausted()
        course.in_vain = NOBODY
        return None
    if soonest.breaker.passable and soonest.breaker.is_failing and course.trace.attempts:
        raise course.exhausted()  # its key is refused, and the budget allows no more to be told so
    delay_s, counted = _wait_s(found, now, course.deadline)
    if not await course.wait(delay_s, counted=counted, news=course.fleet.news()):
        raise course.exhausted()
    return None


def set_aside(course: Course, now: float) -> list[Found]:
    """Return the deployments of the groups visited that are not ready, and could serve the request if they were."""
    return [(route, state) for route, state in _suitable(course) if state.ready_at > now]


def suitable(course: Course, route: Route) -> list[Deployment]:
    """Return the deployments of the group that the filters leave where each counts as ready, but for the hopeless."""
    left = route.pipeline.filter(course.request, route.group.deployments, PastSetAside(course.fleet))
    return [one for one in left if not course.is_hopeless(one)]


def _suitable(course: Course) -> list[Found]:
    return [(route, course.fleet[one.name]) for route in _visited(course) for one in suitable(course, route)]


def _visited(course: Course) -> list[Route]:
    return [course.find_route(group) for group in course.trace.visited]


def _are_back(course: Course, now: float) -> bool:
    """Whether somebody is ready whom the request has not been at in vain, so that the groups are to be entered anew.

    Time goes on between two looks at the clock: who was set aside when the group was entered, or the attempt was to
    begin, may be ready when it is asked who is set aside.  Once each: a selection may leave out whom the filters leave.
    """
    ready = {state.deployment.name for _route, state in _suitable(course) if state.ready_at <= now}
    are_back = not ready <= course.in_vain
    course.in_vain |= ready
    return are_back


def first_ready_at(course: Course, now: float) -> float | None:
    """Return when the first of the deployments that are set aside is ready; ``None`` when there are none."""
    return min((state.ready_at for _route, state in set_aside(course, now)), default=None)


def nothing_available(course: Course) -> NoDeploymentAvailable:
    """Return the error of a request that was never sent."""
    now = course.fleet.now()
    groups = ", ".join(course.trace.visited)
    first = first_ready_at(course, now)
    if first is not None:
        return ends.all_set_aside(groups, first - now)
    if course.queueing is None:
        return ends.none_suits(groups)
    all_of_them = (one for route in _visited(course) for one in route.group.deployments)
    return ends.all_busy(groups, (course.fleet[one.name] for one in all_of_them if not course.is_hopeless(one)))


def _forcible(found: Sequence[Found], now: float) -> list[Found]:
    """Return those that a pass would open, the best first.  While one of them is probed, no other probe is forced."""
    probed = any(state.breaker.is_probing for _route, state in found)
    passable = [
        (route, state)
        for route, state in found
        if state.breaker.may_be_forced(now)
        and state.is_free_but_for_breaker(now)
        and (state.breaker.passable or not probed)
    ]
    return sorted(passable, key=lambda one: (not one[1].breaker.passable, one[1].breaker.opened_at))


def _flaky(found: Sequence[Found], fleet: Fleet, now: float) -> list[Found]:
    """Return those that are let through to by chance, the one that answers most first."""
    chances = [(state.breaker.chance(now), one) for one in found if (state := one[1]).is_free_but_for_breaker(now)]
    drawn = [(chance, one) for chance, one in chances if chance > 0.0 and fleet.random.random() < chance]
    return [one for _chance, one in sorted(drawn, key=lambda drawn: -drawn[0])]


async def _past(course: Course, found: Sequence[Found], kind: AttemptKind, reason: str) -> Step | None:
    """Return a step with a pass to one of *found*: a probe, to one that is flaky, or in turn; ``None`` without any.

    A pass that was refused in this round, for want of a slot say, is not given again.
    """
    now = course.fleet.now()
    may_draw = not course.trace.attempts or extras.left(course) >= 1.0
    for route, state in _forcible(found, now):
        if not (may_draw or state.breaker.has_answered_lately(now)) or not course.may_ask(state.deployment):
            continue
        if step := await course.enter(route, kind, ALL_ASIDE, state.deployment.name):
            return step
    for route, state in _flaky(found, course.fleet, now) if may_draw else ():
        if course.may_ask(state.deployment) and (
            step := await course.enter(route, kind, ALL_FLAKY, state.deployment.name)
        ):
            return attrs.evolve(step, budgeted=bool(course.trace.attempts))
    route, soonest = min(found, key=_turn_at)
    if not _takes_turns(soonest) or not course.may_ask(soonest.deployment):
        return None
    step = await course.enter(route, kind, reason, soonest.deployment.name)
    return None if step is None else await _in_turn(course, step)


def _takes_turns(state: DeploymentState) -> bool:
    """Whether nothing keeps calls from the deployment but that each has to wait for its turn."""
    return state.breaker.is_ramping and state.ready_at == state.breaker.ready_at


async def _in_turn(course: Course, step: Step) -> Step:
    """Return *step* when its turn has come.  Where that is over the deadline it goes at once: better than never."""
    if step.passed:
        now = course.fleet.now()
        turn = course.fleet[step.deployment.name].breaker.take_turn(now)
        await course.wait(turn - now, counted=False)
    return step


def _wait_s(found: Sequence[Found], now: float, deadline: float) -> tuple[float, bool]:
    """Return for how long to wait for the first of *found*, the soonest, and whether that counts as a round.

    Waiting for one that is set aside does; waiting for the end of another's probe does not.  Where the deadline comes
    before it is ready, a probe that is out may end in time, or another be forced.
    """
    soonest = found[0][1]
    delay_s = soonest.ready_at - now
    is_late = now + delay_s >= deadline
    if soonest.breaker.is_probing or (is_late and any(state.breaker.is_probing for _route, state in found)):
        return max(0.0 if is_late else delay_s, PROBE_RECHECK_S, min(LONGEST_LOOK_S, (deadline - now) / 2)), False
    if is_late:
        forced = [state.breaker.forcible_at - now for _route, state in found if state.breaker.is_open]
        delay_s = min(delay_s, max(PROBE_RECHECK_S, min(forced, default=delay_s)))
    return delay_s, True


def _turn_at(found: Found) -> float:
    return found[1].turn_at


class PastSetAside:
    """The fleet as strategies see it when one deployment, or each, counts as ready, whatever sets it aside."""

    def __init__(self, fleet: Fleet, name: str | None = None) -> None:
        self.random = fleet.random
        self.now = fleet.now
        self._fleet = fleet
        self._name = name

    def __getitem__(self, deployment: str) -> DeploymentView:
        """Return the view of the deployment with that name."""
        state = self._fleet[deployment]
        return _Ready(state) if self._name in (None, deployment) else state


class _Ready:
    ready_at = float("-inf")

    def __init__(self, view: DeploymentView) -> None:
        self.in_flight = view.in_flight
        self.latency_s = view.latency_s
        self.silent_s = view.silent_s
        self.output_tokens = view.output_tokens
