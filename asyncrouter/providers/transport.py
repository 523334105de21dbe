"""HTTP over aiohttp: a pool of connections an event loop; loaded with a provider's first call, since it takes 130 ms.

Nothing of aiohttp leaves it: what it raises becomes a :class:`~asyncrouter.types.errors.ProviderError`
(:mod:`asyncrouter.providers.failures`).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import urllib.request
from collections.abc import AsyncGenerator

import aiohttp
import attrs
import yarl

from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.doubles import UNTOUCHED, SessionExchange, answer_by_session, has_double
from asyncrouter.providers.errors import told
from asyncrouter.providers.exchange import Address, Exchange
from asyncrouter.providers.failures import RAISED, failure_of_sending
from asyncrouter.providers.loopback import LOOPBACK_ONLY, forbidden_host
from asyncrouter.providers.pool import Pool
from asyncrouter.providers.settings import Settings
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import ConnectionFailed, Disposition
from asyncrouter.types.request import Request

KEEPALIVE_S = 30.0
"""An idle connection is closed after this; upstreams keep theirs for a minute and more."""
CLOSE_S = 1.0
"""How long closing waits for the event loop of another thread."""


@attrs.define(eq=False)
class Door:
    """One event loop's pool of connections; ``keeper`` closes it."""

    pool: Pool = attrs.field(repr=False)
    proxy: str | None
    pid: int
    addresses: dict[str, Address] = attrs.field(factory=dict, repr=False)
    keeper: AsyncGenerator[Door, None] | None = None


class Transport:
    """One pool of connections an event loop, opened with its first call.

    A pool is closed with the provider, or with its loop: an async generator keeps it, and ``asyncio.run`` closes
    those.  Loops and processes share nothing.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._doors: dict[asyncio.AbstractEventLoop, Door] = {}
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
        credentials = self._credentials
        if aiohttp.ClientSession._request is not UNTOUCHED and has_double():  # noqa: SLF001 - see doubles.py
            return await self._post_by_session(door, body, (request, deployment), connect_s)
        key, headers = credentials.of_call(deployment)
        try:
            address = door.addresses.get(deployment.model) or self._address(door, deployment.model)
            line = address.place.take() or await address.connect(_timeout(connect_s))
            head = await line.ask(address.request_of(body, headers))
        except RAISED as error:
            raise failure_of_sending(error, deployment, credentials.hidden(request), connect_s) from None
        return Exchange(head, line, (request, deployment), credentials, key)

    async def _post_by_session(
        self, door: Door, body: bytes, call: tuple[Request, Deployment], connect_s: float
    ) -> SessionExchange:
        """Post *body* as :meth:`post` does, where a test's double stands in the session's place."""
        request, deployment = call
        key, headers = self._credentials.of_call(deployment)
        url = self._settings.url_for(deployment.model)
        try:
            response = await answer_by_session(
                url,
                body,
                {**self._headers(), **headers},
                connector=door.pool.connector,
                proxy=door.proxy,
                bounds=_timeout(connect_s),
            )
        except RAISED as error:
            raise failure_of_sending(error, deployment, self._credentials.hidden(request), connect_s) from None
        return SessionExchange(response, call, self._credentials, key)

    def _headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        own = self._credentials.header
        headers = {name: value for name, value in self._settings.headers.items() if name.lower() != own}
        headers |= self._credentials.of_all()
        if not self._settings.preset.keep_alive:
            headers["Connection"] = "close"
        return headers

    def _address(self, door: Door, model: str) -> Address:
        url = self._settings.url_for(model)
        address = door.addresses[model] = Address(url, self._headers(), door.proxy, door.pool)
        return address

    async def aclose(self) -> None:
        """Close every pool: this loop's, and as far as their loops still run or are closed, the others'."""
        self._closed = True
        for loop, door in tuple(self._doors.items()):  # none where every call was made under trio, and refused
            here = asyncio.get_running_loop()
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
        """Open a pool, yield its door, and close it when the generator is closed."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._settings.tls or True)
        pool = Pool(connector, KEEPALIVE_S if self._settings.preset.keep_alive else 0.0, loop)
        door = self._doors[loop] = Door(pool, proxy, os.getpid())
        try:
            yield door
        finally:
            self._doors.pop(loop, None)
            await pool.aclose()


def _running_loop(deployment: Deployment) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        text = told(deployment, "HTTP needs an asyncio event loop; under trio there is none")
        raise ConnectionFailed(text, deployment=deployment.name, disposition=Disposition.FALLBACK) from None


async def _close_in(loop: asyncio.AbstractEventLoop, keeper: AsyncGenerator[Door, None]) -> None:
    """Let *loop* close its own pool; wait for it when it runs."""
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
