"""HTTP over aiohttp, the one module that imports it; loaded with a provider's first call, since it takes 130 ms.

Nothing of aiohttp leaves it: what it raises becomes a :class:`~asyncrouter.types.errors.ProviderError`.  aiohttp's
errors hold the request's headers, and the key with them: :func:`~asyncrouter.providers.errors.bare` takes them off.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import io
import os
import urllib.request
from collections.abc import AsyncGenerator, Mapping

import aiohttp
import attrs
import yarl

from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.errors import told, with_cure
from asyncrouter.providers.hiding import Hidden
from asyncrouter.providers.loopback import LOOPBACK_ONLY, forbidden_host
from asyncrouter.providers.settings import Settings
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    Disposition,
    MalformedResponse,
    ProviderError,
)
from asyncrouter.types.request import Request

KEEPALIVE_S = 30.0
"""An idle connection is closed after this; upstreams keep theirs for a minute and more."""
LARGE_BODY_BYTES = 2**20
"""Longer bodies are written in pieces; aiohttp warns of longer bytes."""
CLOSE_S = 1.0
"""How long closing waits for the event loop of another thread."""
_PROXY_AUTHENTICATION_REQUIRED = 407
_RAISED = (aiohttp.ClientError, OSError, RuntimeError, ValueError)
"""What aiohttp lets out: its own errors, the system's, "Session is closed", and what it makes of strange input."""


class Exchange:
    """One request sent and the answer to it, read piece by piece.  ``key``: the number of the key that was sent."""

    __slots__ = ("_content", "_credentials", "_deployment", "_door", "_request", "_response", "headers", "key",
                 "status")  # fmt: skip

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        door: Door,
        deployment: Deployment,
        credentials: Credentials,
        *,
        request: Request,
        key: int,
    ) -> None:
        self.key = key
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._content = response.content
        self._door = door
        self._deployment = deployment
        self._credentials = credentials
        self._request = request
        door.exchanges.add(self)

    @property
    def at_end(self) -> bool:
        """Whether everything has been read, so that the connection can serve again."""
        return self._content.at_eof()

    def hidden(self) -> Hidden:
        """Return what no message about this exchange may show."""
        return self._credentials.hidden(self._request)

    async def read(self) -> bytes:
        """Return what has come since the last read, or wait for more; ``b""`` at the end.

        Raises :class:`~asyncrouter.types.errors.ConnectionFailed` when the connection is lost, and
        :class:`~asyncrouter.types.errors.MalformedResponse` when framing or compression are broken.
        """
        try:
            return await self._content.readany()
        except _RAISED as error:
            raise _failure_of_body(error, self._deployment, self.hidden()) from None

    def close(self) -> None:
        """Hand the connection back when everything has been read, close it otherwise."""
        self._door.exchanges.discard(self)
        self._response.close()


@attrs.define(eq=False)
class Door:
    """One event loop's session, with what is open on it; ``keeper`` closes it."""

    session: aiohttp.ClientSession
    pid: int
    exchanges: set[Exchange] = attrs.field(factory=set)
    keeper: AsyncGenerator[Door, None] | None = None


class Transport:
    """One session an event loop, opened with its first call.

    A session is closed with the provider, or with its loop: an async generator keeps it, and ``asyncio.run`` closes
    those.  Loops and processes share nothing.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._doors: dict[asyncio.AbstractEventLoop, Door] = {}
        self._urls: dict[str, yarl.URL] = {}
        self._closed = False

    async def post(self, body: bytes, request: Request, deployment: Deployment, connect_s: float) -> Exchange:
        """Send *body*, the form of *request*, to the deployment and return the answer once its head has come.

        Raises :class:`~asyncrouter.types.errors.ConnectionFailed`, :class:`AttemptTimedOut`,
        :class:`MalformedResponse` or :class:`AuthenticationFailed`.
        """
        door = self._doors.get(_running_loop(deployment)) or await self._open(deployment)
        if door.pid != os.getpid():
            text = "this event loop comes from before a fork; run a new one in the child"
            raise ConnectionFailed(told(deployment, text), deployment=deployment.name, disposition=Disposition.FALLBACK)
        url = self._urls.get(deployment.model)
        if url is None:
            url = self._urls[deployment.model] = yarl.URL(self._settings.url_for(deployment.model), encoded=True)
        key = self._credentials.choose(deployment)
        try:
            response = await door.session.post(
                url,
                data=body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body),
                headers=self._credentials.of_call(key, deployment),
                allow_redirects=False,
                timeout=_timeout(connect_s),
            )
        except _RAISED as error:
            raise _failure_of_sending(error, deployment, self._credentials.hidden(request), connect_s) from None
        return Exchange(response, door, deployment, self._credentials, request=request, key=key)

    async def aclose(self) -> None:
        """Close every session: this loop's, and as far as their loops still run or are closed, the others'."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, door in tuple(self._doors.items()):
            if door.keeper is None or door.pid != os.getpid():
                continue  # a fork's parent still uses it
            if loop is here or loop.is_closed():
                await door.keeper.aclose()
            else:
                await _close_in(loop, door.keeper)

    async def _open(self, deployment: Deployment) -> Door:
        proxy = self._settings.proxy
        if proxy is None and self._settings.trust_env:
            proxy = _proxy_of_environment(self._settings.base_url)
        forbidden = forbidden_host(self._settings.base_url, proxy)
        problem = "is closed" if self._closed else ""
        if forbidden is not None:
            problem = f"{LOOPBACK_ONLY}=1 forbids calls to {forbidden}; unset it to allow them"
        if problem:
            raise ConnectionFailed(
                told(deployment, problem), deployment=deployment.name, disposition=Disposition.FALLBACK
            )
        keeper = self._keep(asyncio.get_running_loop(), proxy)
        door = await anext(keeper)
        door.keeper = keeper
        return door

    async def _keep(self, loop: asyncio.AbstractEventLoop, proxy: str | None) -> AsyncGenerator[Door, None]:
        """Open a session, yield it, and close it when the generator is closed."""
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._settings.tls or True,
            **({"keepalive_timeout": KEEPALIVE_S} if self._settings.preset.keep_alive else {"force_close": True}),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers={**self._settings.headers, **self._credentials.of_session()},
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy,
        )
        door = self._doors[loop] = Door(session, os.getpid())
        try:
            yield door
        finally:
            self._doors.pop(loop, None)
            for exchange in tuple(door.exchanges):
                exchange.close()
            await session.close()


def _running_loop(deployment: Deployment) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        text = told(deployment, "HTTP needs an asyncio event loop; under trio there is none")
        raise ConnectionFailed(text, deployment=deployment.name, disposition=Disposition.FALLBACK) from None


async def _close_in(loop: asyncio.AbstractEventLoop, keeper: AsyncGenerator[Door, None]) -> None:
    """Let *loop* close its own session; wait for it when it runs."""
    closed: concurrent.futures.Future[None] = concurrent.futures.Future()

    def start() -> None:
        loop.create_task(keeper.aclose()).add_done_callback(lambda _task: closed.set_result(None))

    loop.call_soon_threadsafe(start)
    if loop.is_running():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.wrap_future(closed)


def _proxy_of_environment(url: str) -> str | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY ask for, ``None`` for none."""
    target = yarl.URL(url)
    if urllib.request.proxy_bypass(target.host or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(target.scheme) or proxies.get("all")


@functools.lru_cache(maxsize=64)
def _timeout(connect_s: float) -> aiohttp.ClientTimeout:
    """Return aiohttp's form of it; everything but the connection is bounded by the engine."""
    return aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=None)


def _failure_of_sending(error: Exception, deployment: Deployment, hidden: Hidden, connect_s: float) -> ProviderError:
    """Return our error for what aiohttp raised before the head of an answer had come."""
    failure = _failure_before_head(error, deployment, hidden, connect_s)
    failure.sent = not isinstance(error, _WITHOUT_CONNECTION)
    return failure


def _failure_before_head(error: Exception, deployment: Deployment, hidden: Hidden, connect_s: float) -> ProviderError:
    name = deployment.name
    if isinstance(error, aiohttp.ServerTimeoutError):
        return AttemptTimedOut(told(deployment, f"no connection within connect_s = {connect_s:g} s"), deployment=name)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kind = AuthenticationFailed if error.status == _PROXY_AUTHENTICATION_REQUIRED else ConnectionFailed
        return kind(told(deployment, f"the proxy answered {error.status} {error.message}", hidden), deployment=name)
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"the answer is no HTTP that can be read: {error.message}"
        return MalformedResponse(told(deployment, text, hidden), deployment=name)
    return _connection_failure(error, deployment, hidden)


_WITHOUT_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError)
"""What tells that no connection came about; aiohttp bounds the connecting here and nothing after it."""
_HOPELESS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        "the TLS certificate was refused",
        "check base_url, or name the authority to trust as ca_file",
    ),
    (
        (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
        "the TLS handshake failed",
        "check the scheme and port of base_url",
    ),
    (aiohttp.ClientConnectorDNSError, "the host's name was not found", "check base_url"),
)
"""What the same deployment would only repeat, the first that fits, and what in the configuration may be at fault."""


def _connection_failure(error: Exception, deployment: Deployment, hidden: Hidden) -> ConnectionFailed:
    lost = False
    disposition = Disposition.FALLBACK
    what, cure = next(((text, cure) for kind, text, cure in _HOPELESS if isinstance(error, kind)), ("", ""))
    if not what:
        disposition = Disposition.RETRY
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            what = "no connection to the proxy"
        elif isinstance(error, aiohttp.ClientConnectorError):
            what = "no connection"
        elif isinstance(error, aiohttp.ServerDisconnectedError):
            what = "the connection was closed before the answer"
            lost = isinstance(error.message, str)  # otherwise it holds the part of the head that had come
        elif isinstance(error, OSError):
            what, lost = "the connection was lost before the answer", True
        else:
            what, disposition = "the call failed", Disposition.FALLBACK
    failed = ConnectionFailed(
        told(deployment, f"{what}: {_reason_of(error)}", hidden),
        deployment=deployment.name,
        disposition=disposition,
        lost_before_answer=lost,
    )
    return with_cure(failed, cure) if cure else failed


def _reason_of(error: Exception) -> str:
    """Return why, in the system's words; aiohttp's own texts hold addresses and whole heads."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
    return getattr(error, "strerror", None) or type(error).__name__


def _failure_of_body(error: Exception, deployment: Deployment, hidden: Hidden) -> ProviderError:
    """Return our error for what aiohttp raised while the body was read."""
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = error.__cause__ or error
        text = f"the answer broke off or is damaged: {getattr(cause, 'message', cause)}"
        return MalformedResponse(told(deployment, text, hidden), deployment=deployment.name)
    text = f"the connection was lost within the answer: {type(error).__name__}"
    return ConnectionFailed(told(deployment, text, hidden), deployment=deployment.name)
