"""The engine: one request from the door to an answer or a typed error, under one deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs

from asyncrouter.engine.apart import cancellable
from asyncrouter.engine.attempt import begin, timed_out
from asyncrouter.engine.collecting import agreeing, chosen, collect
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.decide import tell_failure
from asyncrouter.engine.ending import Ending
from asyncrouter.engine.hedging import Contend, Rivals, note_stray, race, rivals_of
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.engine.share import more_s, share_s
from asyncrouter.engine.slots import take_slot
from asyncrouter.engine.step import Step
from asyncrouter.hooks.pipeline import must_wait
from asyncrouter.hooks.specs import AttemptCall, Call
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.agreement import normal_form
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.deployments import Deployment
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
            with cut_off_after(course.deadline - trace.started_at, None, route.in_flight.timers) as cut:
                ending.began(cut)
                routed = self._route(course) if around is None else around(self._wrapped(course))(request)
                return ending.answered(await routed, course.in_hand)
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
        first = course.first_step()
        step = first if isinstance(first, Step) else await first
        best: Judged | None = None
        while True:
            try:
                judged = await self._answer(course, step)
            except ProviderError:
                if best is not None:  # a stronger deployment failed: the rejected answer is better than none
                    return best.response
                step = await course.after_failure()
                continue
            if judged is not None:
                if judged.accepted:
                    return judged.response
                if best is None or judged.score > best.score:
                    best = judged
                course.in_hand = best.response
                last = judged
            elif best is None:
                step = await course.after_refusal(step)
                continue
            else:  # the stronger deployment was set aside meanwhile
                course.begun(step)
            stronger = course.after_rejection(last.step, last.verdict.reason)
            if stronger is None:
                course.trace.notes.append("no stronger deployment is left: the best rejected answer is returned")
                return best.response
            step = stronger

    def _answer(self, course: Course, step: Step) -> Awaitable[Judged | None]:
        """Return the answer of *step* or of its rivals, if it has any; ``None`` when none could begin."""
        rivals = rivals_of(course, step)
        if rivals is None:
            return self._judged(course, step, step.route.complete)

        async def contend(step: Step) -> Judged | None:
            async def call(request: Request, deployment: Deployment) -> Response:
                complete = partial(step.route.complete, request, deployment)
                return await cancellable(complete, self.fleet.strays, partial(note_stray, course, step))

            return await self._judged(course, step, call)

        if rivals.take != "first":
            return collected(course, contend, rivals)

        async def discard(judged: Judged) -> None:
            revise(course, judged.step, outcome=Outcome.CANCELLED)

        return race(contend, discard, rivals, course)

    async def _judged(self, course: Course, step: Step, call: AttemptCall) -> Judged | None:
        """Make the attempt once its deployment has a slot, and judge its answer; ``None`` when it could not begin."""
        slots = self.fleet[step.deployment.name].slots
        if slots is not None and not await take_slot(course, step, slots):
            return None
        try:
            response = await self._call(course, step, call)
        finally:
            if slots is not None:
                slots.release()
        if response is None:
            return None
        if course.in_hand is None or not has_several(course):
            course.in_hand = response  # better than none when the judge takes too long
        ask = step.route.pipeline.judge
        verdict = ACCEPTED if ask is None else await judge(ask, course, step, response)
        if not verdict.accept:
            self.fleet[step.deployment.name].tally.rejected += 1
            revise(course, step, outcome=Outcome.REJECTED, score=verdict.score)
        elif verdict.score is not None:
            revise(course, step, score=verdict.score)
        return Judged(step, response, verdict)

    async def _call(self, course: Course, step: Step, call: AttemptCall) -> Response | None:
        scope = begin(course, step, self.fleet)
        if scope is None:
            return None
        request = step.route.prepared(course.request, step.deployment)
        with scope:
            since = self.fleet.now()
            bound_s = share_s(course, step, since)
            if bound_s is None:  # the deadline's own scope is the tighter one
                return scope.answered(await call(request, step.deployment))
            with cut_off_after(bound_s, partial(more_s, course, step, since), step.route.in_flight.timers) as cut:
                return scope.answered(await call(request, step.deployment))
            attempt_s = step.route.group.timeouts.attempt_s
            why = f"{bound_s:.3g} s, its share of the time" if bound_s < attempt_s else f"attempt_s = {attempt_s:g} s"
            raise timed_out(step, f"no answer within {why}", cut)


@attrs.define(eq=False)
class Judged:
    """One answer and what the judge thinks of it."""

    step: Step
    response: Response
    verdict: Verdict

    @property
    def accepted(self) -> bool:
        """Whether it may be given to the caller."""
        return self.verdict.accept

    @property
    def score(self) -> float:
        """How good it is, from 0 to 1."""
        return self.verdict.score or 0.0

    @property
    def form(self) -> str:
        """What it says, for comparison with others."""
        return normal_form(self.response.message)


async def collected(course: Course, contend: Contend[Judged], rivals: Rivals) -> Judged | None:
    """Return the answer that is taken of those of *rivals*; what would be taken so far is in hand meanwhile."""
    attempts, began = course.trace.attempts, len(course.trace.attempts)
    so_far: dict[int, Judged] = {}

    async def contend_and_keep(step: Step) -> Judged | None:
        judged = await contend(step)
        if judged is not None:
            so_far[rivals.steps.index(step)] = judged
            course.in_hand = chosen(so_far, rivals.take).response
        return judged

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


def has_several(course: Course) -> bool:
    """Whether the latest selection takes one of several answers, so that one in hand may be better than the next."""
    selection = course.trace.selection
    return selection is not None and selection.parallel > 1 and selection.take != "first"


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


ACCEPTED = Verdict(accept=True)
