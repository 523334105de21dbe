"""A provider without a network: it does what its script says, and records every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Literal

import anyio
import attrs

from asyncrouter.testing.script import Fail, Hang, Reply, Script, Slow, Step, Stream, check_script, checked_step
from asyncrouter.testing.wire import chunk_fields, closing_chunks, completion, streamed
from asyncrouter.types.clock import Clock
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed, Disposition, StreamInterrupted
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response, usage_of

CallOutcome = Literal["running", "ok", "failed", "cancelled", "closed"]


@attrs.define(kw_only=True)
class FakeCall:
    """One call that a :class:`FakeProvider` received.

    ``number`` counts the calls to this deployment from 1; times are in the clock's seconds, ``ended_at`` is ``None``
    while the call runs.  ``outcome`` is "running", "ok", "failed" (then ``error`` tells), "cancelled", or "closed": the
    stream was closed before its end.
    """

    deployment: Deployment
    number: int
    request: Request
    timeouts: Timeouts
    started_at: float
    ended_at: float | None = None
    outcome: CallOutcome = "running"
    error: BaseException | None = attrs.field(default=None, repr=False)


class FakeProvider:
    """A :class:`~asyncrouter.providers.base.Provider` in memory, on asyncio or trio, in real or virtual time.

    *script* says what each call meets (see :mod:`asyncrouter.testing.script`); :meth:`play` changes it.  Waits use
    ``anyio.sleep``; times come from *clock*, or from the running event loop.  Nothing is random.

    ``calls`` holds every call in the order of arrival (a stream counts once its first chunk is asked for),
    ``in_flight`` how many run now, ``closed`` whether :meth:`aclose` was called; calls after that fail with
    :class:`~asyncrouter.types.errors.ConnectionFailed`.
    """

    def __init__(self, script: Script = Reply(), *, clock: Clock | None = None) -> None:  # noqa: B008 - it is frozen
        self.calls: list[FakeCall] = []
        self.in_flight = 0
        self.closed = False
        self._clock = clock
        self.play(script)

    def play(self, script: Script) -> None:
        """Go on with *script* from its beginning; ``calls`` are kept.  Raises ``TypeError`` when it is no script."""
        check_script(script)
        self._script = script
        self._numbers: Counter[str] = Counter()
        self._total = 0

    def calls_to(self, deployment: str) -> list[FakeCall]:
        """Return the calls to the deployment of that name, in the order of arrival."""
        return [call for call in self.calls if call.deployment.name == deployment]

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Do the script's next step as a plain call."""
        call, step = self._begin(request, deployment, timeouts)
        try:
            answer = await _reach(step, deployment)
            if isinstance(answer, Stream):
                async with aclosing(_pieces(answer, deployment.name)) as pieces:
                    text = "".join([piece async for piece in pieces])
                answer = Reply(
                    text, usage=answer.usage, tool_calls=answer.tool_calls, finish_reason=answer.finish_reason
                )
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, None)
        raw = completion(answer, deployment.model)
        return Response(
            raw=raw,
            deployment=deployment.name,
            model=raw.get("model", deployment.model),
            usage=usage_of(raw) or NO_USAGE,
        )

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Do the script's next step as a stream: a role, the pieces, the finish reason and, last, the usage."""
        call, step = self._begin(request, deployment, timeouts)
        try:
            answer = await _reach(step, deployment)
            flow = streamed(answer) if isinstance(answer, Reply) else answer
            yield Chunk(chunk_fields(deployment.model, {"role": "assistant"}))
            async with aclosing(_pieces(flow, deployment.name)) as pieces:
                async for piece in pieces:
                    yield Chunk(chunk_fields(deployment.model, {"content": piece}))
            for raw in closing_chunks(flow, deployment.model):
                yield Chunk(raw)
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, None)

    async def aclose(self) -> None:
        """Refuse every later call; may be called again."""
        self.closed = True

    def _begin(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> tuple[FakeCall, Step]:
        name = deployment.name
        if self.closed:
            problem = "FakeProvider: called after aclose()"
            raise ConnectionFailed(problem, deployment=name, disposition=Disposition.FALLBACK)
        self._total += 1
        self._numbers[name] += 1
        call = FakeCall(
            deployment=deployment,
            number=self._numbers[name],
            request=request,
            timeouts=timeouts,
            started_at=self._now(),
        )
        step = self._step(call)
        self.calls.append(call)
        self.in_flight += 1
        return call, step

    def _end(self, call: FakeCall, error: BaseException | None) -> None:
        self.in_flight -= 1
        call.error = error
        if error is None:
            call.outcome = "ok"
        elif isinstance(error, GeneratorExit):
            call.outcome = "closed"
        elif isinstance(error, anyio.get_cancelled_exc_class()):
            call.outcome = "cancelled"
        else:
            call.outcome = "failed"
        call.ended_at = self._now()

    def _now(self) -> float:
        return anyio.current_time() if self._clock is None else self._clock.now()

    def _step(self, call: FakeCall) -> Step:
        script, position = self._script, self._total
        if isinstance(script, Mapping):
            name = call.deployment.name
            if name not in script:
                raise LookupError(f"FakeProvider: no script for {name!r}; the mapping has {sorted(script)}")
            script, position = script[name], call.number
        if isinstance(script, Step):
            return script
        if not callable(script):
            return script[min(position, len(script)) - 1]
        return checked_step(script(call.request, call.deployment, call.number), "the script's function returned")


async def _reach(step: Step, deployment: Deployment) -> Reply | Stream:
    """Wait or fail as *step* says, and return what is to be answered."""
    while isinstance(step, Slow):
        await anyio.sleep(step.delay_s)
        step = step.then
    if isinstance(step, Fail):
        raise step.exception(deployment.name)
    while isinstance(step, Hang):
        await anyio.sleep_forever()
    return step


async def _pieces(stream: Stream, deployment: str) -> AsyncGenerator[str, None]:
    for index in range(len(stream.pieces) + 1):
        if index == stream.stall_after:
            await anyio.sleep_forever()
        if index == stream.cut_after:
            partial = "".join(stream.pieces[:index])
            raise StreamInterrupted("scripted cut", deployment=deployment, partial=partial)
        if index < len(stream.pieces):
            if index and stream.pause_s:
                await anyio.sleep(stream.pause_s)
            yield stream.pieces[index]
