"""One streamed call from its entering to its one end, with the hooks around it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import attrs

from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import CutOff, cut_off_after
from asyncrouter.engine.ending import Ending
from asyncrouter.engine.flow import Flow
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.errors import DeadlineExceeded, PluginError, RouterClosed
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response
from asyncrouter.types.trace import TraceBuilder


class StreamCall:
    """One streamed call: ``anext`` gives what the caller sees, ``response`` is the assembled answer after the last.

    It ends once: with the answer, or with whatever leaves it.
    """

    def __init__(self, request: Request, route: Route, find_route: FindRoute, fleet: Fleet) -> None:
        self.response: Response | None = None
        trace = TraceBuilder(request.id, request.agent, route.group.name, fleet.now())
        self._course = Course(request, route, find_route, fleet, trace)
        self._ending = Ending(request, route, trace, fleet)
        self._flow = Flow(self._course)
        around = route.pipeline.around_request_stream
        self._wrapped = None if around is None else around(self._flow, request)
        self._seen = Assembler()
        self._first: Chunk | None = None
        self._reading: CutOff | None = None
        self._in_flight = route.in_flight
        self._ended = False
        self._closed = False

    async def start(self) -> None:
        """Wait for the first output; it is the first chunk of the iteration."""
        self._ending.began(self)
        self._first = await anext(self, None)

    async def __anext__(self) -> Chunk:
        """Return the next chunk; raise the typed error when the stream is interrupted for good."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._closed:
            raise StopAsyncIteration
        try:
            if self._in_flight.closing:
                raise RouterClosed(CLOSED)
            if self._wrapped is None and (chunk := self._flow.at_once()) is not None:
                return chunk
            with cut_off_after(math.inf) as self._reading:
                if self._wrapped is not None:
                    return await self._next_wrapped(self._wrapped)
                return await self._flow.__anext__()
            raise RouterClosed(CLOSED)
        except StopAsyncIteration:
            self._closed = True
            self._answered(self._flow.response)
            raise
        except BaseException as error:
            await self._close(error)
            raise

    def cut(self) -> None:
        """End the call, whether it awaits the upstream or its reader."""
        if self._reading is not None:
            self._reading.cut()

    async def aclose(self) -> None:
        """End the call; before its own end that is a cancellation, and the upstream is closed."""
        if not self._closed:
            await self._close(GeneratorExit())

    async def _next_wrapped(self, chunks: AsyncIterator[Chunk]) -> Chunk:
        """Return the next chunk of the hooks around the call, which have to keep the deadline too."""
        with cut_off_after(self._course.deadline - self._course.fleet.now()):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                self._closed = True
                await self._flow.aclose()
                self._answered(self._as_seen())
                raise
            if chunk.kind == "restart":
                self._seen = Assembler()
            else:
                self._seen.add(chunk)
            return chunk
        raise DeadlineExceeded(self._course.too_late())

    def _as_seen(self) -> Response:
        """Return the answer as the hooks around the call have made it; usage and cost are the upstream's."""
        raw = self._seen.raw()
        response = self._flow.response
        if response is None:
            model = raw.get("model")
            return Response(
                raw=raw,
                deployment=self._flow.deployment,
                model=model if isinstance(model, str) else "",
                usage=self._seen.usage or NO_USAGE,
            )
        usage = response.raw.get("usage")
        return attrs.evolve(response, raw=raw if usage is None else {**raw, "usage": usage})

    def _answered(self, response: Response | None) -> None:
        if response is None or self._ended:
            return
        self._ended = True
        self.response = self._ending.answered(response)
        self._ending.end(None)

    async def _close(self, error: BaseException) -> None:
        """Close hooks and upstream, and end the call with *error* unless it has its answer."""
        self._closed = True
        self._first = None
        try:
            await self._close_hooks()
        finally:
            try:
                await self._flow.aclose()
            finally:
                if isinstance(error, GeneratorExit) and self._flow.response is not None:
                    self._answered(self._as_seen() if self._wrapped is not None else self._flow.response)
                if not self._ended:
                    self._ended = True
                    self._ending.end(error)

    async def _close_hooks(self) -> None:
        aclose: Any = getattr(self._wrapped, "aclose", None)
        if aclose is None:
            return
        try:
            await aclose()
        except PluginError as failure:  # how the call ended is decided already
            self._course.fleet.plugin_failures[failure.plugin] += 1
            self._course.trace.notes.append(str(failure))
