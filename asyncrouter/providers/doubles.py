"""Calls through aiohttp's session, where something stands in the place of ``ClientSession._request``.

aioresponses, VCR.py and tracers put a function of their own there, and whoever uses one expects it to see every call
over aiohttp.  Else requests are written below the session (:mod:`asyncrouter.providers.exchange`), and a call that a
test has an answer for would go out for real.
"""

from __future__ import annotations

from types import FunctionType

import aiohttp
import yarl
from aiohttp.typedefs import LooseHeaders

from asyncrouter.providers.codec import decode
from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.exchange import Exchange
from asyncrouter.providers.failures import RAISED, failure_of_body
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import Request

READ_BYTES = 64 * 2**10
"""The most of an answer that is read at once."""
_AIOHTTPS_FILE = aiohttp.ClientSession.close.__code__.co_filename


def has_double() -> bool:
    """Whether ``ClientSession._request`` is not aiohttp's own: it may have been replaced before aiohttp's was seen."""
    request = aiohttp.ClientSession._request  # noqa: SLF001 - what doubles replace
    return type(request) is not FunctionType or request.__code__.co_filename != _AIOHTTPS_FILE


UNTOUCHED = None if has_double() else aiohttp.ClientSession._request  # noqa: SLF001
"""aiohttp's own, where it was there still: comparing is quicker than looking."""


class SessionExchange(Exchange):
    """One request made by a session, and the answer to it: see :class:`~asyncrouter.providers.exchange.Exchange`."""

    __slots__ = ("_is_at_end", "_response")

    def __init__(
        self, response: aiohttp.ClientResponse, call: tuple[Request, Deployment], credentials: Credentials, key: int
    ) -> None:
        self.key = key
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._credentials = credentials
        self._request, self._deployment = call
        self._is_at_end = False

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._is_at_end

    async def read(self) -> bytes:
        """Return the next piece of the answer; ``b""`` at the end.  Raises as its parent does."""
        try:
            data = await self._response.content.read(READ_BYTES)
        except RAISED as error:
            raise failure_of_body(error, self._deployment, self.hidden()) from None
        self._is_at_end = not data
        return data

    def close(self) -> None:
        """Close the answer."""
        self._response.close()


async def answer_by_session(
    url: str,
    body: bytes,
    headers: LooseHeaders,
    *,
    connector: aiohttp.TCPConnector,
    proxy: str | None,
    bounds: aiohttp.ClientTimeout,
) -> aiohttp.ClientResponse:
    """Return the answer to *body*, posted by a session of its own; raises what aiohttp or its double raises.

    The body is handed over as the value that it holds (``json=``), which is what doubles are asked about.
    """
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, connector_owner=False, cookie_jar=jar) as session:
        return await session.post(
            yarl.URL(url, encoded=True),
            json=decode(body),
            headers=headers,
            proxy=proxy,
            timeout=bounds,
            allow_redirects=False,
        )
