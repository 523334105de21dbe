"""One request and its answer over a connection that aiohttp has made; imported with the transport alone.

aiohttp resolves, connects, encrypts, tunnels, parses and decompresses.  Only the bytes of a request are put together
here, its head once an address; ``ClientSession.post`` makes a task, a writer, a request and a response of each call.
With address, headers and body prepared it costs 0.75 to 0.85 of a call as people write it, this 0.22 to 0.24
(``python benchmarks/wire.py``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

import aiohttp
import yarl
from aiohttp.http import RawResponseMessage

from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.failures import RAISED, failure_of_body
from asyncrouter.providers.hiding import Hidden
from asyncrouter.providers.line import Line
from asyncrouter.providers.pool import Pool
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import Request


class Address:
    """Where requests are posted to on one event loop, and the headers that all of them have.

    Raises ``ValueError`` for a *url* that aiohttp refuses.
    """

    __slots__ = ("_form", "_head", "place")

    def __init__(self, url: str, headers: Mapping[str, str], proxy: str | None, pool: Pool) -> None:
        self._form = aiohttp.ClientRequest(
            "POST",
            yarl.URL(url, encoded=True),
            headers=headers,
            proxy=None if proxy is None else yarl.URL(proxy),
            loop=pool.loop,
        )
        del self._form.headers["Content-Length"]  # that of a form without a body
        self._head = b""
        self.place = pool.place(self._form)

    def connect(self, bounds: aiohttp.ClientTimeout) -> Awaitable[Line]:
        """Return a new connection within *bounds*; :attr:`place` may have one."""
        return self.place.connect(self._form, bounds)

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
    """One request sent and the answer to it, read piece by piece; *call*: what was asked of whom.

    ``key``: the number of the key that was sent.
    """

    __slots__ = ("_body", "_credentials", "_deployment", "_line", "_request", "headers", "key", "status")

    def __init__(
        self,
        head: RawResponseMessage,
        line: Line,
        call: tuple[Request, Deployment],
        credentials: Credentials,
        key: int,
    ) -> None:
        body = line.body
        assert body is not None  # noqa: S101 - it comes with the head
        self.key = key
        self.status = head.code
        self.headers: Mapping[str, str] = head.headers
        self._body = body
        self._line = line
        self._credentials = credentials
        self._request, self._deployment = call

    @property
    def at_end(self) -> bool:
        """Whether everything has been read, so that the connection can serve again."""
        return self._body.at_eof()

    def hidden(self) -> Hidden:
        """Return what no message about this exchange may show."""
        return self._credentials.hidden(self._request)

    async def read(self) -> bytes:
        """Return what has come since the last read, or wait for more; ``b""`` at the end.

        Raises :class:`~asyncrouter.types.errors.ConnectionFailed` when the connection is lost, and
        :class:`~asyncrouter.types.errors.MalformedResponse` when framing or compression are broken.
        """
        try:
            while (data := self._body.take()) is None:
                await self._line.news()
        except RAISED as error:
            raise failure_of_body(error, self._deployment, self.hidden()) from None
        return data

    def close(self) -> None:
        """Give the connection back when everything has come, and close it otherwise; once, for then others use it."""
        self._line.end()
