"""Shadows: a sample of the answered calls is sent to another deployment too, in the background.

The caller waits for none of it and is told nothing of it; what comes back goes to the observers.  A shadow has the
hooks around its attempt and the group's judge, but no retry and no fallback; it takes a slot, a rate or a deployment
only where nobody else wants it.  The router owns them: they are cancelled and awaited when it is closed.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import attrs

from asyncrouter.engine.apart import GRACE_S, Apart
from asyncrouter.engine.attempt import begin, timed_out
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.decide import FALLBACK_OUTPUT_TOKENS, tell_failure
from asyncrouter.engine.flow import Flow
from asyncrouter.engine.loop import judge
from asyncrouter.engine.route import Route
from asyncrouter.engine.step import Step
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.specs import Call
from asyncrouter.state.fleet import Fleet
from asyncrouter.state.shadows import ShadowBudget
from asyncrouter.types.decisions import Estimate, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.events import ShadowFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response
from asyncrouter.types.tokens import input_tokens
from asyncrouter.types.trace import AttemptKind, Outcome

SUFFIX = "/shadow"
"""What the id of a shadow has more than that of its request."""
NOT_SENT = frozenset({"stream", "stream_options"})
"""Parameters of a stream: a shadow is a plain call."""


class Shadow:
    """Sends a sample of one group's answered calls to *deployment* too, within *budget*."""

    name = "shadow"

    def __init__(self, deployment: Deployment, budget: ShadowBudget, fleet: Fleet, seed: int | None) -> None:
        self.deployment = deployment
        self._budget = budget
        self._fleet = fleet
        self._random = random.Random(seed)  # noqa: S311 - its own, so that the calls draw what they drew without it
        self._under_way: set[object] = set()
        self._closed = False
        self._group: Route | None = None
        self._route: Route | None = None

    def bind(self, group: Route, route: Route) -> None:
        """Go on with the hooks of *group*; *route* is that of the shadow's deployment alone, with the same hooks."""
        self._group = group
        self._route = attrs.evolve(route, pipeline=attrs.evolve(route.pipeline, observe=None))

    @hookimpl(trylast=True)
    async def asyncrouter_around_request(self, call: Call, request: Request) -> Response:
        """Let the answer pass, and draw whether it gets a shadow.  The innermost: it sees what guardrails let pass."""
        response = await call(request)
        self._offer(request, response.deployment, response.usage.output_tokens)
        return response

    @hookimpl(trylast=True)
    async def asyncrouter_around_request_stream(
        self, chunks: AsyncIterator[Chunk], request: Request
    ) -> AsyncIterator[Chunk]:
        """Do the same for a stream that was read to its end."""
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk
        response = chunks.response if isinstance(chunks, Flow) else None
        self._offer(request, "" if response is None else response.deployment, None)

    @hookimpl
    async def asyncrouter_shutdown(self) -> None:
        """Cancel what is under way and wait for it, though not for what does not end."""
        self._closed = True
        under_way = [one for one in self._under_way if isinstance(one, Apart)]
        for one in under_way:
            one.cancel()
        for one in under_way:
            if not await one.ends_within(GRACE_S):
                self._fleet.strays.add(one)

    # ------------------------------------------------------------------ which calls

    def _offer(self, request: Request, answered_by: str, output_tokens: int | None) -> None:
        """Begin a shadow of *request* if it is drawn and there is room; nothing that happens here harms the call."""
        try:
            if self._is_drawn(request, answered_by):
                self._begin(request, output_tokens)
        except Exception:  # a stranger's filter may raise anything
            self._fleet.plugin_failures[self.name] += 1

    def _is_drawn(self, request: Request, answered_by: str) -> bool:
        if self._closed or answered_by == self.deployment.name or request.metadata.get("idempotent") is False:
            return False
        return self._random.random() < self._budget.settings.share

    def _begin(self, request: Request, output_tokens: int | None) -> None:
        now = self._fleet.now()
        if not self._may_go(request, now):
            self._budget.skip()
            return
        reserved_usd = self._budget.begin(self._forecast_usd(request, output_tokens), now)
        if reserved_usd is not None:
            Apart(partial(self._run, self._shadow_of(request, now), request.id, reserved_usd), self._under_way)

    def _may_go(self, request: Request, now: float) -> bool:
        """Whether the group's filters let the deployment serve *request*, and nobody else is kept waiting by it."""
        group, state = self._group, self._fleet[self.deployment.name]
        return (
            state.ready_at <= now
            and not state.waiting
            and state.crowding == 0.0
            and group is not None
            and bool(group.pipeline.filter(attrs.evolve(request, stream=False), (self.deployment,), self._fleet))
        )

    def _forecast_usd(self, request: Request, output_tokens: int | None) -> float:
        if self.deployment.price is None:
            return 0.0
        seen = self._fleet[self.deployment.name].output_tokens
        return self.deployment.price.cost_usd(input_tokens(request), seen or output_tokens or FALLBACK_OUTPUT_TOKENS)

    def _shadow_of(self, request: Request, now: float) -> Request:
        assert self._route is not None  # noqa: S101 - a route is made before it is called
        params = {name: value for name, value in request.params.items() if name not in NOT_SENT}
        deadline = now + self._route.group.timeouts.attempt_s
        return attrs.evolve(
            request, messages=tuple(request.messages), params=params, deadline=deadline, stream=False,
            id=request.id + SUFFIX, agent=None,
        )  # fmt: skip

    # ------------------------------------------------------------------ the call

    async def _run(self, request: Request, of: str, reserved_usd: float) -> None:
        route, fleet = self._route, self._fleet.beside()
        assert route is not None  # noqa: S101 - a route is made before it is called
        course = Course(request, route, lambda _name: route, fleet)
        trace = course.trace
        trace.estimate = Estimate(complexity=0.0, input_tokens=input_tokens(request), source=self.name)
        response: Response | None = None
        verdict: Verdict | None = None
        try:
            step = Step(self.deployment, route, AttemptKind.FIRST, f"shadow of {of}")
            response = await self._attempt(course, step)
            if response is not None and route.pipeline.judge is not None:
                verdict = await judge(route.pipeline.judge, course, step, response)
        except AsyncRouterError as error:  # a provider's: the attempt tells of it
            tell_failure(error, route, fleet)
        finally:
            attempt = trace.attempts[-1] if trace.attempts else None
            self._budget.end(reserved_usd, None if attempt is None else attempt.cost_usd, fleet.now())
            if attempt is None:
                self._budget.skip()
            else:
                self._ended(ShadowFinished(request, of, attempt, response, verdict))

    async def _attempt(self, course: Course, step: Step) -> Response | None:
        """Return the answer; ``None`` when a call came first meanwhile."""
        slots = self._fleet[self.deployment.name].slots
        if slots is not None and not slots.take():
            return None
        try:
            scope = begin(course, step, course.fleet)
            if scope is None:
                return None
            request = step.route.prepared(course.request, step.deployment)
            attempt_s = step.route.group.timeouts.attempt_s
            try:
                with cut_off_after(attempt_s) as cut:
                    scope.answered(await step.route.complete(request, step.deployment))
                if cut.fired:
                    raise timed_out(step, f"attempt_s = {attempt_s:g} s", cut)
            except BaseException as error:
                scope.end(error)
                raise
            scope.end(None)
            return scope.response
        finally:
            if slots is not None:
                slots.release()

    def _ended(self, event: ShadowFinished) -> None:
        self._budget.count(_outcome(event))
        observe = None if self._group is None else self._group.pipeline.observe
        if observe is not None:
            observe(event)


def _outcome(event: ShadowFinished) -> str:
    if event.response is None:
        return "cancelled" if event.attempt.outcome is Outcome.CANCELLED else "failed"
    if event.verdict is None:
        return "answered"
    return "accepted" if event.verdict.accept else "rejected"
