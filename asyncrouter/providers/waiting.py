"""Waiting for a future without what asyncio keeps of it, and for the turn to connect to a place."""

from __future__ import annotations

import asyncio
import math
import types
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from asyncrouter.providers.line import Line

AT_ONCE = 200
"""Connections to one place that are made at the same time.  A server's queue of such is 100 (asyncio) to 511 (nginx)
long by default, and the system drops what comes on top of that."""


@types.coroutine
def done(future: asyncio.Future[Any]) -> Generator[asyncio.Future[Any], None, None]:
    """Wait until *future* is done; one task may.

    It does what ``await future`` does, but without an iterator: asyncio keeps 255 of those that nobody uses any more.
    Taken from all over a burst of calls each may hold a mebibyte of free memory, as in the rows of bare aiohttp that
    ``benchmarks/memory.py`` prints.
    """
    future._asyncio_future_blocking = True  # noqa: SLF001 - asyncio's own sign that a task may wait for it
    yield future


class Waiter(NamedTuple):
    """Who waits, since when, and for how many seconds in which nothing moves."""

    got: asyncio.Future[Line | None]
    since: float
    patience_s: float


class Turns:
    """Who may connect to one place, first come first served.

    Who waits takes what comes first, a turn or a connection that has become free.  Of ten thousand calls at once most
    do without one of their own (``benchmarks/burst.py``); where all connected, a busy machine failed a fifth for it.
    *keep*: takes a connection that nobody here wants.
    """

    __slots__ = ("_keep", "_loop", "_made", "_moved_at", "_waiting", "_watching")

    def __init__(self, loop: asyncio.AbstractEventLoop, keep: Callable[[Line], None]) -> None:
        self._loop = loop
        self._keep = keep
        self._made = 0  # connections that are being made
        self._waiting: deque[Waiter] = deque()
        self._moved_at = -math.inf
        self._watching: asyncio.TimerHandle | None = None

    async def take(self, patience_s: float) -> Line | None:
        """Wait for the turn to connect, ``None``, after which comes :meth:`leave`; or for a connection.

        Raises aiohttp's ``ConnectionTimeoutError`` when for *patience_s* seconds nobody got either.
        """
        if self._made < AT_ONCE:
            self._made += 1
            return None
        got: asyncio.Future[Line | None] = self._loop.create_future()
        self._waiting.append(Waiter(got, self._loop.time(), patience_s))
        if self._watching is None:
            self._watching = self._loop.call_later(patience_s, self._watch)
        try:
            await done(got)
        except asyncio.CancelledError:
            if not got.cancelled() and got.exception() is None:  # it has come in the same turn of the loop
                self._pass_on(got.result())
            raise
        return got.result()

    def leave(self, *, connected: bool) -> None:
        """End the turn of one, who is *connected* now or has failed, and let the next come."""
        self._made -= 1
        if connected:
            self._moved_at = self._loop.time()
        if self._give(None):
            self._made += 1

    def offer(self, line: Line) -> bool:
        """Give *line*, which has become free, to who has waited longest; ``False`` when nobody waits."""
        if not self._waiting or not self._give(line):
            return False
        self._moved_at = self._loop.time()
        return True

    def end(self) -> None:
        """End the waiting of all: there will be no connection any more."""
        for waiter in self._waiting:
            if not waiter.got.done():
                waiter.got.set_exception(aiohttp.ClientConnectionError("Connector is closed."))
        self._waiting.clear()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _give(self, got: Line | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.got.done():
                waiter.got.set_result(got)
                return True
        return False

    def _pass_on(self, got: Line | None) -> None:
        if got is None:
            self.leave(connected=False)
        elif not got.is_closing:
            self._keep(got)

    def _watch(self) -> None:
        """Give up for those who have seen nothing move for as long as they have patience."""
        now, waiting, self._watching = self._loop.time(), self._waiting, None
        self._waiting = deque()
        next_look = math.inf
        for waiter in waiting:
            ends = max(waiter.since, self._moved_at) + waiter.patience_s
            if waiter.got.done():
                continue
            if ends <= now:
                waiter.got.set_exception(aiohttp.ConnectionTimeoutError())
            else:
                self._waiting.append(waiter)
                next_look = min(next_look, ends)
        if self._waiting:
            self._watching = self._loop.call_at(next_look, self._watch)
