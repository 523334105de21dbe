"""One event loop's connections: aiohttp's connector makes them, and they are kept here while nobody uses them.

aiohttp's own pool gives the connection that has been idle for longest, after it has looked for limits and waiters: 170
opcodes a call (``benchmarks/counted.py``).  This one gives the one that served last, which is the likeliest to be
alive: so no more are in use than are needed, and the others go when their time has come.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.client_reqrep import ConnectionKey

from asyncrouter.providers.line import Line
from asyncrouter.providers.outbox import TOGETHER, Outbox


class Place:
    """The connections to one place.  An idle one is closed after *keep_s* seconds; 0: as soon as it is idle.

    ``busy``: those in use.
    """

    __slots__ = ("_connector", "_idle", "_keep_s", "_loop", "_outbox", "_sweeping", "busy")

    def __init__(self, connector: aiohttp.TCPConnector, keep_s: float, outbox: Outbox) -> None:
        self._connector = connector
        self._keep_s = keep_s
        self._loop = outbox.loop
        self._outbox = outbox
        self._idle: dict[Line, float] = {}  # each with the moment since which it is, the longest idle first
        self._sweeping: asyncio.TimerHandle | None = None
        self.busy: set[Line] = set()

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
        """Return a new connection to where *form* goes, within *bounds*; raises what aiohttp raises."""
        line = Line(await self._connector.connect(form, [], bounds), self, self._loop)
        self.busy.add(line)
        return line

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
        self.busy.discard(line)
        self._idle[line] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._keep_s, self._sweep)

    def forget(self, line: Line) -> None:
        """Note that *line* has been closed or lost."""
        self.busy.discard(line)
        self._idle.pop(line, None)

    def close(self) -> None:
        """Close all that are idle."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while self._idle:
            self._idle.popitem()[0].close()

    def _sweep(self) -> None:
        """Close those whose time has come, and look again when that of the next has."""
        self._sweeping = None
        due = self._loop.time() - self._keep_s
        for line in [line for line, since in self._idle.items() if since <= due]:
            del self._idle[line]
            line.close()
        if self._idle:
            self._sweeping = self._loop.call_at(next(iter(self._idle.values())) + self._keep_s, self._sweep)


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
        """Close every connection, and wait until aiohttp says that they are."""
        for place in self.places.values():
            for line in tuple(place.busy):
                line.close()
        await self.connector.close()
        for place in self.places.values():  # what is left where the event loop does not run any more
            place.close()
