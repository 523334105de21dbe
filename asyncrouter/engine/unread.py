"""A stream that nobody reads: ended at its deadline all the same, and once its reader has dropped it.

A read keeps the deadline itself (:mod:`asyncrouter.engine.opening`); between two reads nobody looks at it.  A caller
that stops reading, and neither closes the stream nor comes back, would hold the upstream's connection, its deployment's
slot and its permit for as long as the program runs.  So at the deadline what has come already is read on the reader's
behalf and kept for it, and the call ends as it would have with a reader.

It is for asyncio: on trio the deadline waits for the next read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

from asyncrouter.engine.apart import Apart
from asyncrouter.engine.course import Course
from asyncrouter.engine.timers import Timers
from asyncrouter.types.errors import DeadlineExceeded
from asyncrouter.types.response import Chunk

MOST_KEPT = 1000
"""Chunks that are kept for a late reader: what one connection holds unread is hundreds, an upstream within this process
that never waits has no end."""
LOOK_S = 1.0
"""After this a stream that is being read past its deadline is looked after again: every read ends by itself."""


class Readable(Protocol):
    """A streamed call, as far as its end without a reader is concerned."""

    first: Chunk | None
    """The first chunk, until it is read."""
    is_over: bool
    """Whether its reader has nothing to await of it any more."""

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for a chunk."""
        ...

    def awaited(self) -> Awaitable[Chunk]:
        """Return what to await for the next chunk; whoever awaits it ends the call with what it raises."""
        ...

    def complete(self) -> None:
        """End the call: the last chunk has been read."""
        ...

    async def close(self) -> None:
        """Close the upstream."""
        ...

    async def end(self, error: BaseException) -> None:
        """End the call with *error*, before its own end."""
        ...


class Unread:
    """Looks after *call* from its first output to its end: one timer, kept among those of all calls.

    ``ending``: what reads on in place of the reader, once the deadline has come; then :meth:`next` has what is left.
    """

    __slots__ = ("_call", "_course", "_error", "_kept", "_loop", "_timer", "_timers", "ending", "when")

    def __init__(self, call: Readable, course: Course, timers: Timers, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._course = course
        self._loop = loop
        self._kept: deque[Chunk] = deque()
        self._error: Exception | None = None
        self.ending: Apart[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.when = loop.time() + course.deadline - course.fleet.now()
        self._timers = timers
        if self.when != math.inf and not timers.keep(self, loop):
            self.arm()

    def arm(self) -> None:
        """Have the event loop look at the deadline."""
        self._timer = self._loop.call_at(self.when, self._due)

    def stop(self) -> None:
        """Look no more after the call: it is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._timers.kept.discard(self)

    def dropped(self) -> None:
        """Close the stream, whose reader is gone: it has been collected, in whatever thread."""
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(self._leave)

    async def next(self) -> Chunk:
        """Return what was kept for the reader, chunk by chunk; then raise, once, the error that the call ended with."""
        await self.ended()
        if self._kept:
            return self._kept.popleft()
        error, self._error = self._error, None
        raise error or StopAsyncIteration

    async def ended(self) -> None:
        """Wait until the call has ended and handed back what it held."""
        assert self.ending is not None  # noqa: S101 - nobody asks before
        await self.ending.result()

    def _due(self) -> None:
        left_s = self._course.deadline - self._course.fleet.now()
        if left_s > 0.0 or self._call.is_read:
            self.when = self._loop.time() + (left_s if left_s > 0.0 else LOOK_S)
            self.arm()
        else:
            self._call.is_over = True
            self.ending = Apart(self._read_rest, self._course.fleet.strays)

    async def _read_rest(self) -> None:
        """Read what is there, and end the call."""
        call, kept = self._call, self._kept
        if call.first is not None:
            kept.append(call.first)
            call.first = None
        try:
            while len(kept) < MOST_KEPT:
                kept.append(await call.awaited())
            await call.close()
            raise DeadlineExceeded(self._course.too_late())  # it tells of the attempt, which has ended now
        except StopAsyncIteration:
            call.complete()
        except BaseException as error:
            await call.end(error)
            if not isinstance(error, Exception):
                raise
            self._error = error.with_traceback(None)

    def _leave(self) -> None:
        if not (self._call.is_over or self._call.is_read):
            Apart(functools.partial(self._call.end, GeneratorExit()), self._course.fleet.strays)
