"""The stream driver: invisible recovery until the first output, then what ``on_interrupt`` says.

An iterator and no generator: one coroutine a chunk instead of three nested ones, and no cancel scope stays open while
the caller's own code runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Self, TypeVar

import anyio
import attrs

from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.attempt import AttemptScope, Slots, begin
from asyncrouter.engine.course import Course, Step
from asyncrouter.engine.ending import Ending
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.errors import (
    AsyncRouterError,
    AttemptTimedOut,
    DeadlineExceeded,
    MalformedResponse,
    ProviderError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response
from asyncrouter.types.trace import TraceBuilder

T = TypeVar("T")


@attrs.define(eq=False)
class OpenAttempt:
    """The attempt that is streaming now, with all that has to be closed when it ends."""

    step: Step
    scope: AttemptScope
    upstream: AsyncIterator[Chunk]
    slot: anyio.Semaphore | None
    first_output_by: float

    async def close(self, error: BaseException | None) -> None:
        """Record the end, give the slot back, and close the upstream's connection even under cancellation."""
        self.scope.end(error)
        if self.slot is not None:
            self.slot.release()
        aclose: Any = getattr(self.upstream, "aclose", None)
        if aclose is not None:
            with anyio.CancelScope(shield=True):
                await aclose()


class StreamCall:
    """One streamed call as an async iterator of what the caller sees; ``response`` is the assembled answer."""

    def __init__(self, request: Request, route: Route, find_route: FindRoute, fleet: Fleet, slots: Slots) -> None:
        self.response: Response | None = None
        self._route = route
        self._fleet = fleet
        self._slots = slots
        trace = TraceBuilder(request.id, request.agent, route.group.name, fleet.now())
        self._ending = Ending(request, route, trace, fleet)
        self._course = Course(request, route, find_route, fleet, trace)
        self._asked = request
        self._wants_usage = bool((request.params.get("stream_options") or {}).get("include_usage"))
        self._assembler = Assembler()
        self._attempt: OpenAttempt | None = None
        self._next_step: Step | None = None
        self._held: list[Chunk] = []
        self._ready: deque[Chunk] = deque()
        self._output_begun = False
        self._ended = False

    def chunks(self) -> AsyncIterator[Chunk]:
        """Return the chunks inside the hooks around the request."""
        around = self._route.pipeline.around_request_stream
        return self if around is None else around(self, self._asked)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Chunk:
        """Return the next chunk; recover from failures as far as the policy allows."""
        if self._ready:
            return self._ready.popleft()
        if self._ended:
            raise StopAsyncIteration
        try:
            while not self._ready:
                if not await self._advance():
                    break
        except BaseException as error:
            await self._end(error)
            raise
        if self._ready:
            return self._ready.popleft()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the call; before its own end that is a cancellation, and the upstream is closed."""
        if not self._ended:
            await self._end(GeneratorExit())

    async def _advance(self) -> bool:
        """Do the next thing: open an attempt, or take one chunk of it.  ``False`` when the answer is complete."""
        if self._attempt is None:
            await self._open()
            return True
        try:
            chunk = await self._pull(self._attempt)
            if chunk is not None:
                self._take(chunk, self._attempt)
                return True
            self._check_complete(self._attempt)
        except ProviderError as error:
            await self._recover(self._attempt, error)
            return True
        await self._complete(self._attempt)
        return False

    async def _open(self) -> None:
        """Open the next attempt, once its deployment has a slot."""
        step = self._next_step
        if step is None:
            step = await self._within_deadline(self._course.first_step())
        slot = self._slots.of(step.deployment)
        if slot is not None:
            await self._within_deadline(slot.acquire())
        scope = begin(self._course, step, self._fleet)
        if scope is None:
            if slot is not None:
                slot.release()
            self._next_step = await self._within_deadline(self._course.after_refusal(step))
            return
        scope.__enter__()
        self._attempt = OpenAttempt(
            step=step,
            scope=scope,
            upstream=step.route.stream(step.route.prepared(self._course.request, step.deployment), step.deployment),
            slot=slot,
            first_output_by=self._fleet.now() + step.route.group.timeouts.first_token_s,
        )

    async def _pull(self, attempt: OpenAttempt) -> Chunk | None:
        """Return the upstream's next chunk, awaited within its timeout; ``None`` at its end."""
        now = self._fleet.now()
        timeouts = attempt.step.route.group.timeouts
        begun = self._output_begun
        until = now + timeouts.idle_s if begun else attempt.first_output_by
        with anyio.move_on_after(min(until, self._course.deadline) - now):
            return await anext(attempt.upstream, None)
        if self._fleet.now() >= self._course.deadline:
            raise DeadlineExceeded(self._course.too_late())
        bound = f"idle_s = {timeouts.idle_s:g}" if begun else f"first_token_s = {timeouts.first_token_s:g}"
        raise AttemptTimedOut(f"no output within {bound} s", deployment=attempt.step.deployment.name)

    def _take(self, chunk: Chunk, attempt: OpenAttempt) -> None:
        """Assemble *chunk* and pass it on; what comes before the first output is held back, for it may be void."""
        self._assembler.add(chunk)
        if not chunk.raw.get("choices") and not self._wants_usage:
            return
        if self._output_begun:
            self._ready.append(chunk)
            return
        self._held.append(chunk)
        if chunk.is_output:
            self._output_begun = True
            attempt.scope.first_output()
            self._release_held()

    def _release_held(self) -> None:
        self._ready.extend(self._held)
        self._held.clear()

    def _check_complete(self, attempt: OpenAttempt) -> None:
        if not self._output_begun and not self._assembler.finished:
            raise MalformedResponse("the stream held no answer", deployment=attempt.step.deployment.name)

    async def _complete(self, attempt: OpenAttempt) -> None:
        deployment = attempt.step.deployment
        response = Response(
            raw=self._assembler.raw(),
            deployment=deployment.name,
            model=deployment.model,
            usage=self._assembler.usage or NO_USAGE,
        )
        response = attempt.scope.answered(response)
        self._attempt = None
        await attempt.close(None)
        self._release_held()
        self.response = self._ending.answered(response)
        self._ended = True
        self._ending.end(None)

    async def _recover(self, attempt: OpenAttempt, error: ProviderError) -> None:
        """Close the failed attempt and choose the next one; raise where the policy permits none."""
        self._attempt = None
        await attempt.close(error)
        if not self._output_begun:
            self._held.clear()
            self._assembler = Assembler()
            self._next_step = await self._within_deadline(self._course.after_failure())
            return
        policy = self._route.group.on_interrupt
        if policy == "raise" or (policy == "continue" and self._assembler.in_tool_call):
            raise self._interrupted(error) from error
        try:
            self._next_step = await self._within_deadline(self._course.after_failure())
        except AsyncRouterError as final:
            raise self._interrupted(error) from final
        if policy == "continue":
            self._course.request = continued(self._asked, self._assembler.text)
        else:
            self._output_begun = False
            self._assembler = Assembler()
            self._ready.append(Chunk(kind="restart"))

    def _interrupted(self, error: ProviderError) -> StreamInterrupted:
        text = self._assembler.text
        return StreamInterrupted(
            f"the stream broke off after {len(text)} characters: {type(error).__name__}: {error}",
            deployment=error.deployment,
            status=error.status,
            request_id=error.request_id,
            partial=text,
        )

    async def _end(self, error: BaseException) -> None:
        self._ended = True
        attempt, self._attempt = self._attempt, None
        try:
            if attempt is not None:
                await attempt.close(error)
        finally:
            self._ending.end(error)

    async def _within_deadline(self, waiting: Awaitable[T]) -> T:
        remaining_s = self._course.deadline - self._fleet.now()
        with anyio.move_on_after(remaining_s):
            return await waiting
        raise DeadlineExceeded(self._course.too_late())


def continued(request: Request, text: str) -> Request:
    """Return *request* asking to go on after *text*, which stands as the beginning of the assistant's answer."""
    return attrs.evolve(request, messages=[*request.messages, {"role": "assistant", "content": text}])
