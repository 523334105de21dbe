"""A scripted HTTP/1.1 server on a real loopback socket, for tests of whatever speaks HTTP.

It is given a script (:mod:`asyncrouter.testing.http_script`), played for every request; a sequence of scripts, one a
request in the order in which they arrive, **the last repeated** for ever; or a callable ``(request) -> script``.
::

    gate = Gate()
    async with ScriptedServer([Http(429, headers={"retry-after": "2"}), Sse([*chunks("Hello"), gate])]) as server:
        ...  # server.url, server.requests, server.open_connections
        gate.release()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import attrs
from anyio.from_thread import start_blocking_portal

from asyncrouter.testing.http_script import (
    End,
    Gate,
    Hang,
    Http,
    Json,
    Raw,
    Reset,
    Script,
    Sse,
    chunk,
    chunks,
    completion,
    sse_completion,
)

__all__ = [
    "End",
    "Gate",
    "Hang",
    "Http",
    "Json",
    "Raw",
    "ReceivedRequest",
    "Reset",
    "Script",
    "ScriptedServer",
    "Sse",
    "chunk",
    "chunks",
    "completion",
    "sse_completion",
]


@attrs.frozen(eq=False)
class ReceivedRequest:
    """One request as it arrived.  ``headers`` have lower-case names; ``connection`` counts connections from 1.

    ``disconnected`` is set when the client goes away before the script has ended.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    connection: int
    disconnected: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


Scripts = Script | Sequence[Script] | Callable[[ReceivedRequest], Script]


class ScriptedServer:
    """The server: an async context manager, or started and stopped by hand, again and again on the same port."""

    def __init__(self, scripts: Scripts, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.scripts = scripts
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.port = 0
        self._host = host
        self._tls = tls
        self._open: set[_Connection] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._failures: list[Exception] = []

    @staticmethod
    @contextlib.contextmanager
    def in_thread(scripts: Scripts) -> Iterator[ScriptedServer]:
        """Run a server in a thread with its own event loop, for tests without one."""
        server = ScriptedServer(scripts)
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
            yield server

    @property
    def url(self) -> str:
        """The origin, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that stand now."""
        return len(self._open)

    async def start(self) -> None:
        """Listen: on a free port at first, on the same one later."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self._host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and reset every connection.  Raises what a script raised."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in tuple(self._open):
            connection.reset()
        await self.idle()
        if self._failures:
            raise self._failures.pop()

    async def idle(self) -> None:
        """Wait until no connection stands."""
        await self._idle.wait()

    async def received(self, count: int) -> ReceivedRequest:
        """Wait until *count* requests have arrived, and return the last of these."""
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.requests[count - 1]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _script_for(self, request: ReceivedRequest) -> Script:
        self.requests.append(request)
        self._arrived.set()
        if callable(self.scripts):
            return self.scripts(request)
        if isinstance(self.scripts, Sequence):
            return self.scripts[min(len(self.requests), len(self.scripts)) - 1]
        return self.scripts


class _Connection(asyncio.Protocol):
    """One client's connection and the task that plays the scripts on it."""

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._request: ReceivedRequest | None = None
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes; said for mypy
        self._transport = transport
        server = self._server
        server.connections += 1
        self._number = server.connections
        server._open.add(self)  # noqa: SLF001 - the two classes are one machine
        server._idle.clear()  # noqa: SLF001
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._task.cancel()
        if self._request is not None:
            self._request.disconnected.set()
        server = self._server
        server._open.discard(self)  # noqa: SLF001
        if not server._open:  # noqa: SLF001
            server._idle.set()  # noqa: SLF001

    def reset(self) -> None:
        """Tear the connection down with a RST."""
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _serve(self) -> None:
        try:
            while True:
                self._request = await self._read_request()
                end = await self._play(self._server._script_for(self._request))  # noqa: SLF001
                self._request = None
                if end is End.RESET:
                    self.reset()
                    return
                if end is End.CLOSE:
                    self._transport.close()
                    return
        except Exception as error:  # a test's script may raise anything: stop() raises it where the test sees it
            self._server._failures.append(error)  # noqa: SLF001
            self.reset()

    async def _play(self, script: Script) -> End:
        for step in script.steps():
            if isinstance(step, bytes):
                self._transport.write(step)
                await self._writable.wait()
            elif isinstance(step, Gate):
                await step.wait()
            elif isinstance(step, End):
                if step is End.HANG:
                    await asyncio.Event().wait()
                return step
            else:
                await asyncio.sleep(step)
        return End.KEEP

    async def _read_request(self) -> ReceivedRequest:
        while (size := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._wait_for_more()
        lines = bytes(self._buffer[:size]).decode("latin-1").split("\r\n")
        del self._buffer[: size + 4]
        method, path, _version = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _colon, value in pairs}
        length = int(headers.get("content-length", 0))
        while len(self._buffer) < length:
            await self._wait_for_more()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return ReceivedRequest(method, path, headers, body, self._number)

    async def _wait_for_more(self) -> None:
        self._more.clear()
        await self._more.wait()
