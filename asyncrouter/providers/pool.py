"""One event loop's connections: aiohttp's connector makes them, and they are kept here while nobody uses them.

aiohttp's own pool gives the connection that has been idle for longest, after it has looked for limits and waiters: 170
opcodes a call (``benchmarks/counted.py``).  This one gives the one that served last, which is the likeliest to be
alive: so no more are in use than are needed, and the others go when their time has come.
"""

from __future__ import annotations

import asyncio
import math

import aiohttp
from aiohttp.client_reqrep import ConnectionKey

from asyncrouter.providers.line import Line
from asyncrouter.providers.outbox import TOGETHER, Outbox
from asyncrouter.providers.waiting import Turns


class Place:
    """The connections to one place.  An idle one is closed after *keep_s* seconds; 0: as soon as it is idle.

    ``busy``: those in use.  ``leaving``: those that have been closed, until they are gone.
    """

    __slots__ = ("_connector", "_gone", "_idle", "_keep_s", "_loop", "_outbox", "_sweeping", "_turns", "busy",
                 "leaving")  # fmt: skip

    def __init__(self, connector: aiohttp.TCPConnector, keep_s: float, outbox: Outbox) -> None:
        self._connector = connector
        self._keep_s = keep_s
        self._loop = outbox.loop
        self._outbox = outbox
        self._turns = Turns(self._loop, self.keep)
        self._idle: dict[Line, float] = {}  # each with the moment since which it is, the longest idle first
        self._sweeping: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None
        self.busy: set[Line] = set()
        self.leaving: set[Line] = set()

    def __len__(self) -> int:
        """Return how many are idle."""
        return len(self._idle)

    def take(self) -> Line | None:
        """Return the connection that served last, ``None`` where all are in use."""
        idle = self._idle
        while idle:
            line, _ = idle.popitem()
            if not line.is_closing:
                self.busy.add(line)
                return line
        return None

    async def connect(self, form: aiohttp.ClientRequest, bounds: aiohttp.ClientTimeout) -> Line:
        """Return a connection to where *form* goes, a new one or one that has become free meanwhile.

        *bounds* hold for making one, and for waiting while no other does; raises what aiohttp raises.
        """
        while (line := await self._turns.take(bounds.connect or math.inf)) is not None:
            if not line.is_closing:
                return line
        made = None
        try:
            made = Line(await self._connector.connect(form, [], bounds), self, self._loop)
        finally:
            self._turns.leave(connected=made is not None)
        self.busy.add(made)
        return made

    def send(self, transport: asyncio.WriteTransport, request: bytes) -> None:
        """Send *request* over a connection of this place, at once where few are busy."""
        if len(self.busy) < TOGETHER:
            transport.write(request)
        else:
            self._outbox.send(transport, request)

    def keep(self, line: Line) -> None:
        """Keep *line* for the next exchange."""
        if not self._keep_s:
            line.close()
            return
        if self._turns.offer(line):
            return
        self.busy.discard(line)
        self._idle[line] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._keep_s, self._sweep)

    def leaves(self, line: Line) -> None:
        """Note that *line* has been closed, unless it has been before, or has been lost."""
        if line in self.busy or line in self._idle:
            self._forget(line)
            self.leaving.add(line)

    def lost(self, line: Line) -> None:
        """Note that *line* is no connection any more."""
        self._forget(line)
        self.leaving.discard(line)
        if not self.leaving:
            self.leaving.clear()  # as below
            if self._gone is not None and not self._gone.done():
                self._gone.set_result(None)

    def _forget(self, line: Line) -> None:
        self._idle.pop(line, None)
        self.busy.discard(line)
        if not self.busy:
            self.busy.clear()  # an empty set has the table of its largest size, half a mebibyte after ten thousand

    async def aclose(self) -> None:
        """Close all, those in use too, and wait until they are gone, unless the event loop does not run any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._loop.is_closed():
            self._idle.clear()
            return
        self._turns.end()
        for line in (*self._idle, *self.busy):
            line.close()
        for line in tuple(self.leaving):
            line.hurry()
        if self.leaving:
            self._gone = self._loop.create_future()
            await self._gone

    def _sweep(self) -> None:
        """Close those whose time has come, and look again when that of the next has."""
        self._sweeping = None
        due = self._loop.time() - self._keep_s
        for line in [line for line, since in self._idle.items() if since <= due]:
            del self._idle[line]
            line.close()
        if self._idle:
            self._sweeping = self._loop.call_at(next(iter(self._idle.values())) + self._keep_s, self._sweep)
        else:
            self._idle.clear()  # as above


class Pool:
    """The connections of one event loop, by where they go to.  *keep_s*: see :class:`Place`."""

    def __init__(self, connector: aiohttp.TCPConnector, keep_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self.connector = connector
        self.loop = loop
        self.places: dict[ConnectionKey, Place] = {}
        self._keep_s = keep_s
        self._outbox = Outbox(loop)

    def place(self, form: aiohttp.ClientRequest) -> Place:
        """Return where *form* goes to: one place for all that may share a connection."""
        key = form.connection_key
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = Place(self.connector, self._keep_s, self._outbox)
        return place

    async def aclose(self) -> None:
        """Close every connection, and wait until they are gone."""
        await self.connector.close()  # what is being made ends first
        for place in self.places.values():
            await place.aclose()
