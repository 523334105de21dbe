"""The engine: one request from the door to an answer or a typed error, under one deadline."""

from __future__ import annotations

import attrs

from asyncrouter.engine.attempt import begin, timed_out
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.decide import tell_failure
from asyncrouter.engine.ending import Ending
from asyncrouter.engine.hedging import Answer, race, rivals_of
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.engine.slots import take_slot
from asyncrouter.engine.step import Step
from asyncrouter.hooks.pipeline import must_wait
from asyncrouter.hooks.specs import Call
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.errors import AsyncRouterError, DeadlineExceeded, ProviderError, RouterClosed
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Outcome, TraceBuilder


class Engine:
    """Runs requests over one fleet.  It keeps nothing of a request after its end."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def complete(self, request: Request, route: Route, find_route: FindRoute) -> Response:
        """Return the answer to *request*, its trace attached.

        Raises a :class:`~asyncrouter.types.errors.RoutingError`, the provider's own error where that permits nothing
        else, or a :class:`~asyncrouter.types.errors.PluginError`; each carries the trace.
        """
        trace = TraceBuilder(request.id, request.agent, route.group.name, self.fleet.now())
        ending = Ending(request, route, trace, self.fleet)
        course = Course(request, route, find_route, self.fleet, trace)
        around = route.pipeline.around_request
        with ending:
            with cut_off_after(course.deadline - trace.started_at) as cut:
                ending.began(cut)
                routed = self._route(course) if around is None else around(self._wrapped(course))(request)
                return ending.answered(await routed)
            assert cut.fired  # noqa: S101 - nothing else is swallowed
            if course.in_hand is None:
                raise RouterClosed(CLOSED) if route.in_flight.closing else DeadlineExceeded(course.too_late())
            trace.notes.append("the end came before a better answer: the best so far is returned")
            return ending.answered(course.in_hand)

    def _wrapped(self, course: Course) -> Call:
        """Return the routed call as the hooks around it see it: they may change its request, and call it again."""

        async def routed(request: Request) -> Response:
            return await self._route(course.anew(request))

        return routed

    async def _route(self, course: Course) -> Response:
        step = rejected = await course.first_step()
        best: tuple[float, Response] | None = None
        reason = ""
        while True:
            try:
                answer = await self._answer(course, step)
            except ProviderError:
                if best is not None:  # a stronger deployment failed: the rejected answer is better than none
                    return best[1]
                step = await course.after_failure()
                continue
            if answer is not None:
                rejected, response = answer
                course.in_hand = response  # better than none when the judge takes too long
                verdict = await judge(course, rejected, response, self.fleet)
                if verdict.accept:
                    return response
                self._reject(course, rejected)
                score, reason = verdict.score or 0.0, verdict.reason
                if best is None or score > best[0]:
                    best = (score, response)
                course.in_hand = best[1]
            elif best is None:
                step = await course.after_refusal(step)
                continue
            else:  # the stronger deployment was set aside meanwhile
                course.begun(step)
            stronger = course.after_rejection(rejected, reason)
            if stronger is None:
                course.trace.notes.append("no stronger deployment is left: the best rejected answer is returned")
                return best[1]
            step = stronger

    async def _answer(self, course: Course, step: Step) -> Answer | None:
        """Return the first answer of *step* and its rivals, if it has any; ``None`` when *step* could not begin."""
        rivals = rivals_of(course, step, self.fleet)
        if rivals is not None:
            return await race(self._attempt, course, rivals)
        response = await self._attempt(course, step)
        return None if response is None else (step, response)

    async def _attempt(self, course: Course, step: Step) -> Response | None:
        """Make the attempt once its deployment has a slot; ``None`` when it could not begin."""
        slots = self.fleet[step.deployment.name].slots
        if slots is None:
            return await self._call(course, step)
        if not await take_slot(course, step, slots):
            return None
        try:
            return await self._call(course, step)
        finally:
            slots.release()

    async def _call(self, course: Course, step: Step) -> Response | None:
        scope = begin(course, step, self.fleet)
        if scope is None:
            return None
        request = step.route.prepared(course.request, step.deployment)
        attempt_s = step.route.group.timeouts.attempt_s
        with scope:
            if self.fleet.now() + attempt_s >= course.deadline:  # the deadline's own scope is the tighter one
                return scope.answered(await step.route.complete(request, step.deployment))
            with cut_off_after(attempt_s) as cut:
                return scope.answered(await step.route.complete(request, step.deployment))
            raise timed_out(step, f"no answer within attempt_s = {attempt_s:g} s", cut)

    def _reject(self, course: Course, step: Step) -> None:
        name = step.deployment.name
        self.fleet[name].tally.rejected += 1
        attempts = course.trace.attempts  # the losers of a race may stand after the one that answered
        index = max(i for i, one in enumerate(attempts) if one.deployment == name and one.outcome is Outcome.OK)
        attempts[index] = attrs.evolve(attempts[index], outcome=Outcome.REJECTED)


async def judge(course: Course, step: Step, response: Response, fleet: Fleet) -> Verdict:
    """Return the judge's verdict; an answer that nobody judges, or that the judge fails on, is accepted."""
    judge = step.route.pipeline.judge
    if judge is None:
        return ACCEPTED
    try:
        answer = judge(course.request, response, course.trace)
        return (await answer if must_wait(answer) else answer) or ACCEPTED
    except AsyncRouterError as error:  # fails open: there is an answer, and no call is lost to a broken judge
        course.trace.notes.append(f"judge failed, answer accepted: {error}")
        tell_failure(error, step.route, fleet)
        return ACCEPTED


ACCEPTED = Verdict(accept=True)
