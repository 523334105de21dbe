"""One request and its answer over a connection of aiohttp's pool; imported with the transport alone.

aiohttp resolves, connects, encrypts, tunnels, pools, parses and decompresses.  Only the bytes of a request are put
together here, its head once an address; ``ClientSession.post`` makes a task, a writer, a request and a response of
each call.  With address, headers and body prepared it costs 0.82 to 0.85 of a call as people write it, this 0.31 to
0.41 (``python benchmarks/wire.py``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Mapping

import aiohttp
import yarl
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage

from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.failures import RAISED, failure_of_body
from asyncrouter.providers.hiding import Hidden
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import Request

READ_BYTES = 64 * 2**10
"""The most of a plain connection that is read at once, where asyncio reads 256 KiB: the C library maps pages for each
buffer above 128 KiB and gives them back, three system calls and 12 µs a read, whatever has come."""
_INFORMATIONAL = range(100, 200)
_SWITCHING_PROTOCOLS = 101


class _Form(aiohttp.ClientRequest):
    """What the pool asks of a request: where it goes.  It makes the key of each anew."""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class Address:
    """Where requests are posted to on one event loop, and the headers that all of them have.

    Raises ``ValueError`` for a *url* that aiohttp refuses.
    """

    __slots__ = ("_form", "_head")

    def __init__(
        self, url: str, headers: Mapping[str, str], proxy: str | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._form = _Form(
            "POST",
            yarl.URL(url, encoded=True),
            headers=headers,
            proxy=None if proxy is None else yarl.URL(proxy),
            loop=loop,
        )
        del self._form.headers["Content-Length"]  # that of a form without a body
        self._head = b""

    def connect(self, connector: aiohttp.TCPConnector, bounds: aiohttp.ClientTimeout) -> Awaitable[Connection]:
        """Return a connection of the pool, or a new one within *bounds*."""
        return connector.connect(self._form, [], bounds)

    def request_of(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the request with *body* and further *headers*, as it is sent once there is a connection."""
        head = self._head = self._head or self._written()
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() if headers else b""
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, more, len(body), body)

    def _written(self) -> bytes:
        """Return the head as far as it is always the same; connecting adds what a proxy wants."""
        form = self._form
        target = str(form.url) if form.proxy and not form.is_ssl() else form.url.raw_path_qs
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in form.headers.items()), ""]
        return "\r\n".join(lines).encode()


class Exchange:
    """One request sent and the answer to it, read piece by piece.  ``key``: the number of the key that was sent."""

    __slots__ = ("_connection", "_content", "_credentials", "_deployment", "_open", "_request", "headers", "key",
                 "status")  # fmt: skip

    def __init__(
        self,
        head: RawResponseMessage,
        content: aiohttp.StreamReader,
        connection: Connection,
        *,
        credentials: Credentials,
        request: Request,
        deployment: Deployment,
        key: int,
        open_ones: set[Exchange],
    ) -> None:
        self.key = key
        self.status = head.code
        self.headers: Mapping[str, str] = head.headers
        self._content = content
        self._connection = connection
        self._credentials = credentials
        self._request = request
        self._deployment = deployment
        self._open = open_ones
        if content.is_eof():
            connection.release()
        else:
            open_ones.add(self)
            content.on_eof(connection.release)

    @property
    def at_end(self) -> bool:
        """Whether everything has been read, so that the connection can serve again."""
        return self._content.at_eof()

    def hidden(self) -> Hidden:
        """Return what no message about this exchange may show."""
        return self._credentials.hidden(self._request)

    def whole(self) -> bytes | None:
        """Return the whole body if it came with the head, as a short answer does; ``None``: :meth:`read` it.

        What a read does besides, letting the upstream go on, is a tenth of an exchange's opcodes and for nothing then.
        """
        content = self._content
        if not content.is_eof() or content.exception() is not None:
            return None
        return b"".join(content._buffer)  # noqa: SLF001 - aiohttp has no other way

    async def read(self) -> bytes:
        """Return what has come since the last read, or wait for more; ``b""`` at the end.

        Raises :class:`~asyncrouter.types.errors.ConnectionFailed` when the connection is lost, and
        :class:`~asyncrouter.types.errors.MalformedResponse` when framing or compression are broken.
        """
        try:
            return await self._content.readany()
        except RAISED as error:
            raise failure_of_body(error, self._deployment, self.hidden()) from None

    def close(self) -> None:
        """Close the connection, unless it went back to the pool when everything had come."""
        self._open.discard(self)
        if self._connection.protocol is not None:
            if self._content.exception() is None:
                self._content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
            drop(self._connection)


async def head_of_answer(connection: Connection, sent: bytes) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Send the bytes *sent* and return the head of the answer, with what follows it; drop *connection* on a failure."""
    try:
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101 - nobody has handed it back
        transport = protocol.transport
        assert transport is not None  # noqa: S101 - the pool gives out what is connected
        if getattr(transport, "max_size", 0) > READ_BYTES:
            transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        protocol.set_response_params(read_until_eof=True)
        transport.write(sent)
        while True:
            head, content = await protocol.read()
            if head.code not in _INFORMATIONAL or head.code == _SWITCHING_PROTOCOLS:
                return head, content
    except BaseException:
        drop(connection)
        raise


def drop(connection: Connection) -> None:
    """Close *connection*; at once, too, where an upstream has not read the request to its end."""
    protocol = connection.protocol
    if protocol is not None and protocol.transport is not None and protocol.transport.get_write_buffer_size():
        protocol.abort()
    connection.close()
