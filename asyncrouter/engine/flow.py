"""The chunks of one streamed call: invisible recovery until the first output, then what ``on_interrupt`` says.

An iterator and no generator: no cancel scope stays open while the caller's own code runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Self, TypeVar

import anyio
import attrs

from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.attempt import AttemptScope, begin, timed_out
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.route import provider_fault
from asyncrouter.engine.slots import take_slot
from asyncrouter.engine.step import Step
from asyncrouter.hooks.cancelled import STRANGERS_FAULTS
from asyncrouter.state.slots import Slots
from asyncrouter.types.errors import (
    AsyncRouterError,
    DeadlineExceeded,
    MalformedResponse,
    ProviderError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response

T = TypeVar("T")
CLOSING_S = 1.0
"""How long an upstream may take to close its connection; it is not waited for any longer."""


@attrs.define(eq=False)
class OpenAttempt:
    """The attempt that is streaming now, with all that has to be handed back when it ends."""

    step: Step
    scope: AttemptScope
    slots: Slots | None
    first_output_by: float
    upstream: AsyncIterator[Chunk] | None = None
    has_output: bool = False

    async def close(self, error: BaseException | None, notes: list[str]) -> None:
        """Record the end, close the upstream's connection even under cancellation, and give the slot back."""
        self.scope.end(error)
        try:
            aclose: Any = getattr(self.upstream, "aclose", None)
            if aclose is None:
                return
            with anyio.move_on_after(CLOSING_S, shield=True) as scope:
                try:
                    await aclose()
                except Exception as failure:  # how the call ended is decided already
                    notes.append(f"{self.step.deployment.name}: {type(failure).__name__} while its stream was closed")
            if scope.cancelled_caught:
                notes.append(f"{self.step.deployment.name} did not close its stream within {CLOSING_S:g} s")
        finally:
            if self.slots is not None:
                self.slots.release()


class Flow:
    """An async iterator of what the caller is to see.  ``response`` is the assembled answer, once it is complete."""

    def __init__(self, course: Course) -> None:
        self.response: Response | None = None
        self._course = course
        self._fleet = course.fleet
        self._asked = course.request
        options = self._asked.params.get("stream_options")
        self._wants_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self._assembler = Assembler()
        self._attempt: OpenAttempt | None = None
        self._next_step: Step | None = None
        self._held: list[Chunk] = []
        self._ready: deque[Chunk] = deque()
        self._output_begun = False
        self._interruption: ProviderError | None = None
        self._ended = False

    @property
    def deployment(self) -> str:
        """The name of the deployment whose attempt was the last to end; "" before any."""
        attempts = self._course.trace.attempts
        return attempts[-1].deployment if attempts else ""

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Chunk:
        """Return the next chunk; recover from failures as far as the policy allows."""
        try:
            while not self._ready:
                if self._ended:
                    raise StopAsyncIteration
                await self._advance()
        except BaseException as error:
            await self._end(error)
            raise
        return self._ready.popleft()

    async def aclose(self) -> None:
        """End the call; before its own end that is a cancellation, and the upstream is closed."""
        attempt = self._attempt
        if attempt is not None and self._assembler.is_complete(self._asked):
            await self._complete(attempt)  # the caller has the whole answer, and does not care for what follows
        await self._end(GeneratorExit())

    async def _advance(self) -> None:
        """Do the next thing: open an attempt, or take one chunk of it, or complete the answer."""
        attempt = self._attempt
        if attempt is None:
            await self._open()
            return
        try:
            chunk = await self._pull(attempt)
            if chunk is not None:
                self._take(chunk, attempt)
                return
            if not attempt.has_output and not self._assembler.finished:
                raise MalformedResponse("the stream held no answer", deployment=attempt.step.deployment.name)
        except ProviderError as error:
            await self._recover(attempt, error)
            return
        await self._complete(attempt)

    async def _open(self) -> None:
        """Open the next attempt, once its deployment has a slot."""
        step = self._next_step
        if step is None:
            step = await self._within_deadline(self._course.first_step())
        slots = self._fleet[step.deployment.name].slots
        has_slot = slots is None or await self._within_deadline(take_slot(self._course, step, slots))
        scope = begin(self._course, step, self._fleet) if has_slot else None
        if scope is None:
            if slots is not None and has_slot:
                slots.release()
            self._next_step = await self._within_deadline(self._course.after_refusal(step))
            return
        timeouts = step.route.group.timeouts
        self._attempt = OpenAttempt(
            step=step,
            scope=scope.__enter__(),
            slots=slots,
            first_output_by=self._fleet.now() + min(timeouts.first_token_s, timeouts.attempt_s),
        )

    async def _pull(self, attempt: OpenAttempt) -> Chunk | None:
        """Return the upstream's next chunk, awaited within its timeout; ``None`` at its end."""
        now = self._fleet.now()
        step = attempt.step
        timeouts = step.route.group.timeouts
        until = now + timeouts.idle_s if attempt.has_output else attempt.first_output_by
        try:
            if attempt.upstream is None:
                request = step.route.prepared(self._course.request, step.deployment)
                attempt.upstream = step.route.stream(request, step.deployment)
            with cut_off_after(min(until, self._course.deadline) - now) as cut:
                return await anext(attempt.upstream, None)
        except AsyncRouterError:
            raise
        except STRANGERS_FAULTS as error:
            raise provider_fault(step.deployment, error) from error
        if self._fleet.now() >= self._course.deadline:
            await self._close(attempt, None)
            raise DeadlineExceeded(self._course.too_late())
        bound = f"idle_s = {timeouts.idle_s:g}" if attempt.has_output else f"first_token_s = {timeouts.first_token_s:g}"
        raise timed_out(step, f"no output within {bound} s", cut)

    def _take(self, chunk: Chunk, attempt: OpenAttempt) -> None:
        """Assemble *chunk* and pass it on; what comes before the first output is held back, for it may be void."""
        if not isinstance(chunk, Chunk):
            raise provider_fault(attempt.step.deployment, chunk)
        self._assembler.add(chunk)
        if chunk.allowances is not None:
            attempt.scope.heed(chunk.allowances)
        if not self._wants_usage and not chunk.raw.get("choices") and chunk.raw.get("usage") is not None:
            return
        if attempt.has_output:
            self._ready.append(chunk)
            return
        if chunk.is_output:
            attempt.has_output = True
            attempt.scope.first_output()
        if self._output_begun:  # the caller has the beginning of this message already
            chunk = without_role(chunk)
            if attempt.has_output or chunk.finish_reason is not None:
                self._ready.append(chunk)
            return
        self._held.append(chunk)
        if attempt.has_output:
            self._output_begun = True
            self._release_held()

    def _release_held(self) -> None:
        self._ready.extend(self._held)
        self._held.clear()

    async def _complete(self, attempt: OpenAttempt) -> None:
        """Note the answer; the attempt is closed with success."""
        self._ended = True
        response = attempt.scope.answered(self._assembled(attempt))
        self._attempt = None
        await attempt.close(None, self._course.trace.notes)
        self._release_held()
        self.response = response

    def _assembled(self, attempt: OpenAttempt) -> Response:
        deployment = attempt.step.deployment
        return Response(
            raw=self._assembler.raw(),
            deployment=deployment.name,
            model=deployment.model,
            usage=self._assembler.usage or NO_USAGE,
        )

    async def _recover(self, attempt: OpenAttempt, error: ProviderError) -> None:
        """Close the failed attempt and choose the next one; raise where the policy permits none."""
        await self._close(attempt, error)
        if not self._output_begun:
            self._held.clear()
            self._assembler = Assembler()
            self._next_step = await self._within_deadline(self._course.after_failure())
            return
        self._interruption = self._interruption or error
        policy = self._course.group.on_interrupt
        if policy == "raise" or (policy == "continue" and not self._assembler.is_continuable):
            raise self._interrupted(self._interruption) from error
        try:
            self._next_step = await self._within_deadline(self._course.after_failure())
        except DeadlineExceeded:
            raise
        except AsyncRouterError as final:
            raise self._interrupted(self._interruption) from final
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
        if self._attempt is not None:
            await self._close(self._attempt, error)

    async def _close(self, attempt: OpenAttempt, error: BaseException | None) -> None:
        self._attempt = None
        if attempt.has_output and not isinstance(error, ProviderError):
            attempt.scope.took(self._assembled(attempt))
        await attempt.close(error, self._course.trace.notes)

    async def _within_deadline(self, waiting: Coroutine[Any, Any, T]) -> T:
        remaining_s = self._course.deadline - self._fleet.now()
        if remaining_s <= 0:
            waiting.close()
            raise DeadlineExceeded(self._course.too_late())
        with cut_off_after(remaining_s):
            return await waiting
        raise DeadlineExceeded(self._course.too_late())


def continued(request: Request, text: str) -> Request:
    """Return *request* asking to go on after *text*, which stands as the beginning of the assistant's answer."""
    if not text:
        return request
    return attrs.evolve(request, messages=[*request.messages, {"role": "assistant", "content": text}])


def without_role(chunk: Chunk) -> Chunk:
    """Return *chunk* less the role in its deltas: clients that join what comes would have it twice."""
    return Chunk({**chunk.raw, "choices": [_without_role(choice) for choice in chunk.raw.get("choices") or ()]})


def _without_role(choice: Any) -> Any:
    delta = choice.get("delta") if isinstance(choice, Mapping) else None
    if not isinstance(delta, Mapping):
        return choice
    return {**choice, "delta": {key: value for key, value in delta.items() if key != "role"}}
