"""The chunks of one streamed call: invisible recovery until the first output, then what ``on_interrupt`` says.

An iterator and no generator: no cancel scope stays open while the caller's own code runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Self

import attrs

from asyncrouter.engine.apart import cancellable
from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.course import Course
from asyncrouter.engine.hedging import race, rivals_of
from asyncrouter.engine.opening import OpenAttempt, open_attempt, within_deadline
from asyncrouter.engine.step import Step
from asyncrouter.types.errors import (
    AsyncRouterError,
    AttemptTimedOut,
    DeadlineExceeded,
    Disposition,
    InvalidRequest,
    ProviderError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response, new_response


class Flow:
    """An async iterator of what the caller is to see.  ``response`` is the assembled answer, once it is complete."""

    def __init__(self, course: Course) -> None:
        self.response: Response | None = None
        self._course = course
        self._asked = course.request
        options = self._asked.params.get("stream_options")
        self._wants_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        self._assembler = Assembler()
        self._attempt: OpenAttempt | None = None
        self._next_step: Step | None = None
        self._ready: deque[Chunk] = deque()
        self._output_begun = False
        self._interruption: ProviderError | None = None
        self._failure: ProviderError | DeadlineExceeded | None = None  # not yet recovered from
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
            if isinstance(error, DeadlineExceeded):
                raise self._too_late() from None
            raise
        return self._ready.popleft()

    def at_once(self) -> Chunk | None:
        """Return the next chunk when it is there already; ``None``: await it, directly after."""
        ready = self._ready
        attempt = self._attempt
        while not ready:
            if attempt is None or not attempt.may_begin or attempt.ended:
                return None
            chunk = attempt.at_once()
            if chunk is None:
                return None
            self._show((chunk,))
        return ready.popleft()

    async def read(self) -> Chunk | None:
        """Return the next chunk of the open attempt, which bounds the wait for it itself.

        ``None`` when there is more to do for the next chunk than that: await it.
        """
        attempt = self._attempt
        if attempt is None or attempt.ended:
            return None
        try:
            chunks = await attempt.next()
            if chunks is None:
                self._check_whole(attempt)
                await self._complete(attempt)
                raise StopAsyncIteration
            self._show(chunks)
        except (ProviderError, DeadlineExceeded) as error:
            self._failure = error
            return None
        except BaseException as error:
            await self._end(error)
            if isinstance(error, DeadlineExceeded):
                raise self._too_late() from None
            raise
        return self._ready.popleft() if self._ready else None

    def cut(self) -> None:
        """Cut off the wait for a chunk, if any waits."""
        if self._attempt is not None:
            self._attempt.bound.cut()

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for a chunk of the open attempt."""
        return self._attempt is not None and self._attempt.bound.is_entered

    async def aclose(self) -> None:
        """End the call; before its own end that is a cancellation, and the upstream is closed."""
        attempt = self._attempt
        if attempt is not None and self._assembler.is_complete(self._asked):
            await self._complete(attempt)  # the caller has the whole answer, and does not care for what follows
        await self._end(GeneratorExit())

    async def _advance(self) -> None:
        """Do the next thing: open an attempt, or take one chunk of it, or complete the answer."""
        attempt = self._attempt
        try:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if attempt is None:
                await self._open()
                return
            chunks = None if attempt.ended else await attempt.next()
            if chunks is None:
                self._check_whole(attempt)
        except (AttemptTimedOut, DeadlineExceeded) as late:
            if attempt is None or not self._assembler.is_complete(self._asked):
                await self._recover(late)
                return
            chunks = None  # only its usage was still waited for
        except ProviderError as error:
            await self._recover(error)
            return
        if chunks is None:
            await self._complete(attempt)
        else:
            self._show(chunks)

    async def _open(self) -> None:
        """Open the next attempt, or several side by side, and take over the one that is the first to have output."""
        step = self._next_step
        if step is None:
            first = self._course.first_step()
            step = first if isinstance(first, Step) else await within_deadline(self._course, first)
            self._course.check_deadline()
        rivals = rivals_of(self._course, step)
        if rivals is None:
            attempt = await self._contend(step, apart=False)
        else:
            attempt = await race(partial(self._contend, apart=True), _discard, rivals, self._course)
        if attempt is None:
            self._next_step = await within_deadline(self._course, self._course.after_refusal(step))
        else:
            self._take_over(attempt)

    async def _contend(self, step: Step, *, apart: bool) -> OpenAttempt | None:
        """Make the attempt of *step* up to its first output; ``None`` when it could not begin.

        *apart*: it may lose, and is then left behind even when it does not end.
        """
        attempt = await open_attempt(self._course, step)
        if attempt is None:
            return None
        try:
            if apart:
                await cancellable(attempt.reach_output_apart, self._course.fleet.strays, attempt.left_behind)
            else:
                await attempt.reach_output()
        except BaseException as error:
            await attempt.close(error)
            raise
        return attempt

    def _take_over(self, attempt: OpenAttempt) -> None:
        """Go on with *attempt*, beginning with what it has held back."""
        self._attempt = attempt
        held, attempt.held = attempt.held, []
        if self._output_begun:  # the caller has the beginning of this message already
            rests = map(without_role, held)
            held = [rest for rest in rests if rest.is_output or rest.finish_reason is not None or rest.raw.get("usage")]
        self._show(held)
        self._output_begun = True

    def _show(self, chunks: Iterable[Chunk]) -> None:
        """Assemble *chunks* and pass them on, but for the usage that the caller did not ask for."""
        add, pass_on = self._assembler.add, self._ready.append
        for chunk in chunks:
            add(chunk)
            if self._wants_usage or chunk.raw.get("choices") or chunk.raw.get("usage") is None:
                pass_on(chunk)

    def _check_whole(self, attempt: OpenAttempt) -> None:
        """Raise where the upstream has ended the stream, with [DONE] say, within a tool call: half of one is none."""
        if self._assembler.is_cut_in_tool_call:
            name = attempt.step.deployment.name
            raise StreamInterrupted("the stream ended within the arguments of a tool call", deployment=name)

    async def _complete(self, attempt: OpenAttempt) -> None:
        """Note the answer; the attempt is closed with success."""
        self._ended = True
        response = attempt.scope.answered(self._assembled(attempt))
        self._attempt = None
        await attempt.close(None)
        self.response = response

    def _assembled(self, attempt: OpenAttempt) -> Response:
        deployment = attempt.step.deployment
        return new_response(
            raw=self._assembler.raw(),
            deployment=deployment.name,
            model=deployment.model,
            usage=self._assembler.usage or NO_USAGE,
        )

    async def _recover(self, error: ProviderError | DeadlineExceeded) -> None:
        """Close the failed attempt and choose the next one; raise where the policy permits none."""
        if isinstance(error, DeadlineExceeded):
            raise error
        if self._attempt is not None:
            await self._close(self._attempt, error)
        if not self._output_begun:
            self._next_step = await within_deadline(self._course, self._course.after_failure())
            return
        policy, so_far = self._course.group.on_interrupt, self._assembler
        if self._interruption is None:
            self._interruption = error
        elif policy == "continue" and type(error) is InvalidRequest:  # it refuses the beginning that stands there
            error.disposition = Disposition.FALLBACK
        if policy == "raise" or so_far.in_tool_call or (policy == "continue" and not so_far.is_continuable):
            raise self._interrupted(self._interruption) from error
        try:
            self._next_step = await within_deadline(self._course, self._course.after_failure())
        except DeadlineExceeded:
            raise
        except AsyncRouterError as final:
            raise self._interrupted(self._interruption) from final
        if policy == "continue":
            self._course.request = continued(self._asked, so_far.text)
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

    def _too_late(self) -> DeadlineExceeded:
        """Return the error of a missed deadline, once every attempt has ended and can be told."""
        return DeadlineExceeded(self._course.too_late())

    async def _end(self, error: BaseException) -> None:
        self._ended = True
        if self._attempt is not None:
            await self._close(self._attempt, error)

    async def _close(self, attempt: OpenAttempt, error: BaseException) -> None:
        self._attempt = None
        if attempt.has_output and not isinstance(error, ProviderError):
            attempt.scope.took(self._assembled(attempt))
        await attempt.close(error)


async def _discard(attempt: OpenAttempt) -> None:
    """Close an attempt that has lost."""
    await attempt.close(GeneratorExit())


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
