"""The engine: one request from the door to an answer or a typed error, under one deadline."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs

from asyncrouter.engine.apart import cancellable
from asyncrouter.engine.attempt import ACCEPTED, AttemptScope, begin, timed_out
from asyncrouter.engine.bounds import Bounds, bounds_of
from asyncrouter.engine.collecting import agreeing, chosen, collect
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import CutOff
from asyncrouter.engine.decide import tell_failure
from asyncrouter.engine.ending import answered, ended
from asyncrouter.engine.hedging import Contend, Rivals, note_stray, race, rivals_of
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.engine.share import share_s
from asyncrouter.engine.slots import take_slot
from asyncrouter.engine.step import Step
from asyncrouter.hooks.pipeline import must_wait
from asyncrouter.hooks.specs import AttemptCall, Call
from asyncrouter.state.fleet import Fleet
from asyncrouter.state.tallies import REJECTED
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AsyncRouterError,
    AttemptTimedOut,
    DeadlineExceeded,
    ProviderError,
    RouterClosed,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import AttemptKind, Outcome


class Engine:
    """Runs requests over one fleet.  It keeps nothing of a request after its end."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def complete(self, request: Request, route: Route, find_route: FindRoute) -> Response:
        """Return the answer to *request*, its trace attached.

        Raises a :class:`~asyncrouter.types.errors.RoutingError`, the provider's own error where that permits nothing
        else, or a :class:`~asyncrouter.types.errors.PluginError`; each carries the trace.
        """
        course = Course(request, route, find_route, self.fleet)
        in_flight, around = route.in_flight, route.pipeline.around_request
        bounds = bounds_of(course.deadline - course.trace.started_at, in_flight.timers)
        in_flight.begin(bounds)
        response: Response | None
        try:
            routed = self._route(course, bounds) if around is None else around(self._wrapped(course))(request)
            response = await routed
        except BaseException as error:
            if not bounds.leave(error):
                ended(course, request, None, error)
                raise
            response = best_so_far(course)
        else:
            bounds.leave(None)
        finally:
            in_flight.end(bounds)
        if response is None:
            raise cut_short(course, request)
        response = answered(course, response, course.in_hand)
        ended(course, request, response, None)
        return response

    def _wrapped(self, course: Course) -> Call:
        """Return the routed call as the hooks around it see it: they may change its request, and call it again."""

        async def routed(request: Request) -> Response:
            bounds = bounds_of(math.inf, course.first_route.in_flight.timers)  # it may run in a task of the hook's own
            try:
                response = await self._route(course.anew(request), bounds)
            except BaseException as error:
                bounds.leave(error)
                raise
            bounds.leave(None)
            return response

        return routed

    async def _route(self, course: Course, bounds: Bounds) -> Response:
        first = course.first_step()
        step = first if isinstance(first, Step) else await first
        best: AttemptScope | None = None
        while True:
            try:
                rivals = rivals_of(course, step)
                if rivals is None:
                    answer = await self._attempt(course, step, step.route.complete, bounds)
                else:
                    answer = await self._first_of(course, rivals)
            except ProviderError:
                if best is not None:  # a stronger deployment failed: the rejected answer is better than none
                    return best.answer
                step = await course.after_failure()
                continue
            if answer is not None:
                if answer.verdict.accept:
                    return answer.answer
                if best is None or answer.score > best.score:
                    best = answer
                course.in_hand = best.answer
                last = answer
            elif best is None:
                step = await course.after_refusal(step)
                continue
            else:  # the stronger deployment was set aside meanwhile
                course.tries(step.deployment.name)
            stronger = stronger_than(course, last.step, last.verdict.reason)
            if stronger is None:
                course.trace.notes.append("no stronger deployment is left: the best rejected answer is returned")
                return best.answer
            step = stronger

    def _first_of(self, course: Course, rivals: Rivals) -> Awaitable[AttemptScope | None]:
        """Return the answer that is taken of *rivals*; ``None`` when none could begin."""

        async def contend(step: Step) -> AttemptScope | None:
            async def call(request: Request, deployment: Deployment) -> Response:
                complete = partial(step.route.complete, request, deployment)
                return await cancellable(complete, self.fleet.strays, partial(note_stray, course, step))

            bounds = bounds_of(math.inf, step.route.in_flight.timers)
            try:
                answer = await self._attempt(course, step, call, bounds)
            except BaseException as error:
                bounds.leave(error)
                raise
            bounds.leave(None)
            return answer

        if rivals.take != "first":
            return collected(course, contend, rivals)

        async def discard(answer: AttemptScope) -> None:
            revise(course, answer.step, outcome=Outcome.CANCELLED)

        return race(contend, discard, rivals, course)

    async def _attempt(self, course: Course, step: Step, call: AttemptCall, bounds: Bounds) -> AttemptScope | None:
        """Make the attempt once its deployment has a slot, and judge its answer; ``None`` when it could not begin."""
        slots = self.fleet.states[step.deployment.name].slots
        if slots is not None and not await take_slot(course, step, slots):
            return None
        try:
            attempt = begin(course, step, self.fleet)
            if attempt is None:
                return None
            bound_s = share_s(course, step, attempt.started_at)
            if bound_s is not None:  # else the deadline is the tighter one
                bounds.narrow(bound_s, attempt)
            try:
                request = step.route.prepared(course.request, step.deployment)
                response = attempt.answered(await call(request, step.deployment))
            except BaseException as error:
                cut = bounds.widen(error)
                if cut is None:
                    attempt.end(error)
                    raise
            else:
                cut = bounds.widen(None)
            if cut is not None:
                raise cut_off(attempt, cut, bound_s)
            attempt.end(None)
        finally:
            if slots is not None:
                slots.release()
        course.in_hand = response if course.in_hand is None else in_hand(course, response)
        ask = step.route.pipeline.judge
        if ask is not None:
            attempt.verdict = await judge(ask, course, step, response)
            note_verdict(course, attempt)
        return attempt


def stronger_than(course: Course, step: Step, reason: str) -> Step | None:
    """Return the attempt at a stronger deployment than those whose answers were rejected; ``None`` without one."""
    names = [one.name for one in step.route.group.deployments]
    rejected = {one.deployment for one in course.trace.attempts if one.outcome is Outcome.REJECTED} & set(names)
    stronger = names[max(map(names.index, rejected)) + 1 :]
    candidates = [one for one in course.remaining() if one.name in stronger]
    if not candidates or course.attempts_left <= 0:
        return None
    weakest = min(candidates, key=lambda one: stronger.index(one.name))
    return Step(weakest, step.route, AttemptKind.CASCADE, f"answer of {step.deployment.name} rejected: {reason}")


def best_so_far(course: Course) -> Response | None:
    """Return the best answer so far of a call that was cut off, if there is one."""
    if course.in_hand is not None:
        course.trace.notes.append("the end came before a better answer: the best so far is returned")
    return course.in_hand


def cut_short(course: Course, request: Request) -> AsyncRouterError:
    """End a call that was cut off and has no answer; return its error."""
    is_closing = course.first_route.in_flight.closing
    error = RouterClosed(CLOSED) if is_closing else DeadlineExceeded(course.too_late())
    ended(course, request, None, error)
    return error


def cut_off(attempt: AttemptScope, cut: CutOff, bound_s: float | None) -> AttemptTimedOut:
    """End an attempt that was cut off at its bound; return its error."""
    attempt_s = attempt.step.route.group.timeouts.attempt_s
    is_share = bound_s is not None and bound_s < attempt_s
    why = f"{bound_s:.3g} s, its share of the time" if is_share else f"attempt_s = {attempt_s:g} s"
    error = timed_out(attempt.step, f"no answer within {why}", cut)
    attempt.end(error)
    return error


def note_verdict(course: Course, attempt: AttemptScope) -> None:
    """Record what the judge thinks of the answer of *attempt*."""
    verdict, step = attempt.verdict, attempt.step
    if not verdict.accept:
        course.fleet[step.deployment.name].tally.counts[REJECTED] += 1
        revise(course, step, outcome=Outcome.REJECTED, score=verdict.score)
    elif verdict.score is not None:
        revise(course, step, score=verdict.score)


async def collected(course: Course, contend: Contend[AttemptScope], rivals: Rivals) -> AttemptScope | None:
    """Return the answer that is taken of those of *rivals*; what would be taken so far is in hand meanwhile."""
    attempts, began = course.trace.attempts, len(course.trace.attempts)
    so_far: dict[int, AttemptScope] = {}

    async def contend_and_keep(step: Step) -> AttemptScope | None:
        answer = await contend(step)
        if answer is not None:
            so_far[rivals.steps.index(step)] = answer
            course.in_hand = chosen(so_far, rivals.take).answer
        return answer

    try:
        taken = await collect(contend_and_keep, rivals)
    finally:
        given = None if course.in_hand is None else course.in_hand.deployment
        for place, one in enumerate(attempts[began:], began):
            if one.outcome is Outcome.OK and one.deployment != given:
                attempts[place] = attrs.evolve(one, outcome=Outcome.CANCELLED)
    if taken is not None:
        agree = f", {agreeing(so_far, taken)} of them agree" if rivals.take == "majority" else ""
        course.trace.notes.append(f"{rivals.take} of {len(so_far)} answers: {taken.step.deployment.name}{agree}")
    return taken


def in_hand(course: Course, latest: Response) -> Response | None:
    """Return the answer to keep: the latest, better than none when the judge takes too long; of several, the best."""
    selection = course.trace.selection
    are_several = selection is not None and selection.parallel > 1 and selection.take != "first"
    return course.in_hand if are_several else latest


async def judge(ask: Callable[..., Any], course: Course, step: Step, response: Response) -> Verdict:
    """Return the verdict of the compiled hook *ask*; an answer that nobody judges, or that it fails on, is accepted."""
    try:
        answer = ask(course.request, response, course.trace)
        verdict: Verdict = (await answer if must_wait(answer) else answer) or ACCEPTED
        course.trace.judging_usd += verdict.cost_usd
        return verdict
    except AsyncRouterError as error:  # fails open: there is an answer, and no call is lost to a broken judge
        course.trace.notes.append(f"judge failed, answer accepted: {error}")
        tell_failure(error, step.route, course.fleet)
        return ACCEPTED


def revise(course: Course, step: Step, **changes: Any) -> None:
    """Record what became of the answer of *step*: what the judge thought of it, or that the caller did not get it."""
    name, attempts = step.deployment.name, course.trace.attempts  # the losers of a race may stand after it
    index = max(i for i, one in enumerate(attempts) if one.deployment == name and one.outcome is Outcome.OK)
    attempts[index] = attrs.evolve(attempts[index], **changes)
