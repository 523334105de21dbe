"""One streamed call from its entering to its one end, with the hooks around it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import attrs

from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import CutOff, cut_off_after
from asyncrouter.engine.ending import answered, ended
from asyncrouter.engine.flow import Flow
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.engine.unread import Unread
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.errors import DeadlineExceeded, PluginError, RouterClosed
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response


class StreamCall:
    """One streamed call: ``anext`` gives what the caller sees, ``response`` is the assembled answer after the last.

    It ends once: with the answer, or with whatever leaves it.
    """

    def __init__(self, request: Request, route: Route, find_route: FindRoute, fleet: Fleet) -> None:
        self.response: Response | None = None
        self._request = request
        self._course = Course(request, route, find_route, fleet)
        self._flow = Flow(self._course)
        around = route.pipeline.around_request_stream
        self._wrapped = None if around is None else around(self._flow, request)
        self._seen = Assembler()
        self.first: Chunk | None = None
        self._reading: CutOff | None = None
        self._in_flight = route.in_flight
        self._ended = False
        self.is_over = False
        self.unread: Unread | None = None

    async def start(self) -> None:
        """Wait for the first output; it is the first chunk of the iteration."""
        self._in_flight.begin(self)
        self.first = await anext(self, None)
        if self.first is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # it is trio
                return
            self.unread = Unread(self, self._course, self._in_flight.timers, loop)

    async def __anext__(self) -> Chunk:
        """Return the next chunk; raise the typed error when the stream is interrupted for good."""
        if self.first is not None:
            first, self.first = self.first, None
            return first
        if self.is_over:
            if self.unread is not None:
                return await self.unread.next()
            raise StopAsyncIteration
        try:
            if self._in_flight.closing:
                raise RouterClosed(CLOSED)
            if self._wrapped is None:
                chunk = self._flow.at_once()
                if chunk is None:
                    chunk = await self._flow.read()
                if chunk is not None:
                    return chunk
            with cut_off_after(math.inf) as self._reading:
                return await self.awaited()
            raise RouterClosed(CLOSED)
        except StopAsyncIteration:
            self.complete()
            raise
        except BaseException as error:
            await self.end(error)
            raise

    def awaited(self) -> Awaitable[Chunk]:
        """Return what to await for the next chunk; whoever awaits it ends the call with what it raises."""
        return self._flow.__anext__() if self._wrapped is None else self._next_wrapped(self._wrapped)

    def complete(self) -> None:
        """End the call: the last chunk has been read."""
        self._over()
        self._answered(self._flow.response)

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for a chunk."""
        return (self._reading is not None and self._reading.is_entered) or self._flow.is_read

    def cut(self) -> None:
        """End the call, whether it awaits the upstream or its reader."""
        if self._reading is not None:
            self._reading.cut()
        self._flow.cut()

    async def aclose(self) -> None:
        """End the call; before its own end that is a cancellation, and the upstream is closed."""
        if not self.is_over:
            await self.end(GeneratorExit())
        elif self.unread is not None:
            await self.unread.ended()

    def dropped(self) -> None:
        """End the call soon: nobody holds the stream any more.  In whatever thread."""
        if self.unread is not None:
            self.unread.dropped()

    async def _next_wrapped(self, chunks: AsyncIterator[Chunk]) -> Chunk:
        """Return the next chunk of the hooks around the call, which have to keep the deadline too."""
        with cut_off_after(self._course.deadline - self._course.fleet.now()):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                self._over()
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
        self.response = answered(self._course, response)
        self._end(None)

    def _over(self) -> None:
        """Note that there is nothing more to read."""
        self.is_over = True
        if self.unread is not None and self.unread.ending is None:
            self.unread.stop()
            self.unread = None

    async def end(self, error: BaseException) -> None:
        """Close hooks and upstream, and end the call with *error* unless it has its answer."""
        self._over()
        self.first = None
        try:
            await self.close()
        finally:
            if isinstance(error, GeneratorExit) and self._flow.response is not None:
                self._answered(self._as_seen() if self._wrapped is not None else self._flow.response)
            if not self._ended:
                self._ended = True
                self._end(error)

    async def close(self) -> None:
        """Close hooks and upstream."""
        try:
            await self._close_hooks()
        finally:
            await self._flow.aclose()

    def _end(self, error: BaseException | None) -> None:
        self._in_flight.end(self)
        ended(self._course, self._request, self.response, error)

    async def _close_hooks(self) -> None:
        aclose: Any = getattr(self._wrapped, "aclose", None)
        if aclose is None:
            return
        try:
            await aclose()
        except PluginError as failure:  # how the call ended is decided already
            self._course.fleet.plugin_failures[failure.plugin] += 1
            self._course.trace.notes.append(str(failure))
