"""The sync door: the same surface without ``await``, inside a running loop too and from many threads.

One daemon thread runs the event loop of one :class:`~asyncrouter.router.Router`; every call is handed to it.
"""

from __future__ import annotations

import abc
import atexit
import functools
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from asyncrouter.calls import Calls
from asyncrouter.hooks.registry import Registry
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.router import Router, Source
from asyncrouter.types.clock import Clock
from asyncrouter.types.metrics import Metrics
from asyncrouter.types.response import Chunk, Response

P = ParamSpec("P")
R = TypeVar("R")
BUFFERED_CHUNKS = 64
"""Chunks that a stream may run ahead of a slow reader."""


class LoopThread:
    """An event loop in a daemon thread, and the way to run things on it."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=anyio.run, args=(self._main,), name="asyncrouter", daemon=True)
        self._thread.start()
        self._ready.wait()

    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the loop and return its future; cancelling the future cancels the task."""
        portal = self._portal
        if portal is None:
            raise RuntimeError("the router is closed")
        return portal.start_task_soon(function)

    def stop(self) -> None:
        """End the loop and the thread."""
        portal, self._portal = self._portal, None
        if portal is not None:
            portal.call(portal.stop)
            self._thread.join()

    async def _main(self) -> None:
        async with BlockingPortal() as portal:
            self._portal = portal
            self._ready.set()
            await portal.sleep_until_stopped()


def _synchronous(method: Callable[Concatenate[Any, P], Awaitable[R]]) -> Callable[Concatenate[SyncCalls, P], R]:
    """Make the blocking twin of an async method, so that no signature is written twice."""

    @functools.wraps(method)
    def call(self: SyncCalls, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(functools.partial(method, self.calls, *args, **kwargs))

    return call


def _synchronous_stream(
    method: Callable[Concatenate[Any, P], RoutedStream],
) -> Callable[Concatenate[SyncCalls, P], SyncStream]:
    @functools.wraps(method)
    def call(self: SyncCalls, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream:
        return SyncStream(self, self.on_loop(functools.partial(method, self.calls, *args, **kwargs)))

    return call


async def _called(function: Callable[[], R]) -> R:
    return function()


class SyncCalls(abc.ABC):
    """The three calls without ``await``, shared by :class:`SyncRouter` and :class:`SyncAgentRouter`."""

    calls: Calls
    """The async object behind it."""

    @abc.abstractmethod
    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the router's loop and return its future."""

    def run(self, function: Callable[[], Awaitable[R]]) -> R:
        """Run the async *function* on the router's loop and return its result; an interrupt cancels it."""
        future = self.start(function)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def on_loop(self, function: Callable[[], R]) -> R:
        """Run the plain *function* on the router's loop and return its result."""
        return self.run(functools.partial(_called, function))

    generate = _synchronous(Calls.generate)
    explain = _synchronous(Calls.explain)
    stream = _synchronous_stream(Calls.stream)


class SyncRouter(SyncCalls):
    """The router for synchronous code: ``with SyncRouter.from_config(...) as router``.

    Safe to use from many threads at once, and inside a running event loop (which it blocks for the time of the call).
    """

    calls: Router

    def __init__(self, router: Router) -> None:
        self.calls = router
        self._loop: LoopThread | None = None

    @classmethod
    def from_config(
        cls,
        source: Source = None,
        *,
        plugins: Iterable[object] = (),
        registry: Registry | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> Self:
        """Make a router as :meth:`Router.from_config <asyncrouter.router.Router.from_config>` does."""
        return cls(Router.from_config(source, plugins=plugins, registry=registry, clock=clock, seed=seed))

    def __enter__(self) -> Self:
        """Start the loop's thread and the router."""
        self._loop = LoopThread()
        atexit.register(self.close)
        try:
            self.run(self.calls.__aenter__)
        except BaseException:
            self._loop.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close everything."""
        self.close()

    def close(self) -> None:
        """Close the router and end its thread."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        atexit.unregister(self.close)
        try:
            loop.start(self.calls.aclose).result()
        finally:
            loop.stop()

    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the router's loop and return its future."""
        return self._running().start(function)

    feedback = _synchronous(Router.feedback)

    def for_agent(self, name: str) -> SyncAgentRouter:
        """Return the same calls with the defaults of the agent called *name*."""
        return SyncAgentRouter(self, name)

    def metrics(self) -> Metrics:
        """Return a snapshot of calls, failures, retries, fallbacks, hedges, tokens, cost, latency and breakers."""
        return self.calls.metrics() if self._loop is None else self.on_loop(self.calls.metrics)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register *plugin* for the requests that start afterwards; return its name."""
        if self._loop is None:
            return self.calls.register(plugin, name)
        return self.on_loop(functools.partial(self.calls.register, plugin, name))

    def unregister(self, plugin: object) -> None:
        """Leave out *plugin* (the instance or its name) for the requests that start afterwards."""
        if self._loop is None:
            self.calls.unregister(plugin)
        else:
            self.on_loop(functools.partial(self.calls.unregister, plugin))

    def _running(self) -> LoopThread:
        if self._loop is None:
            raise RuntimeError("the router is not open; use it inside: with SyncRouter.from_config(...) as router")
        return self._loop


class SyncAgentRouter(SyncCalls):
    """A sync router seen through one agent's profile."""

    def __init__(self, router: SyncRouter, name: str) -> None:
        self.calls = router.calls.for_agent(name)
        self.name = name
        self._router = router

    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the router's loop and return its future."""
        return self._router.start(function)

    def metrics(self) -> Metrics:
        """Return the router's snapshot; ``metrics().agents[name]`` is this agent's part."""
        return self._router.metrics()


class SyncStream:
    """One streamed answer for synchronous code: ``with router.stream(...) as stream: for chunk in stream``.

    One task on the loop owns the async stream from its entering to its closing, and hands chunks over through a bounded
    buffer; the reader takes all that is there at once, for a call to the loop costs about 0.1 ms.
    """

    def __init__(self, calls: SyncCalls, stream: RoutedStream) -> None:
        self._calls = calls
        self._stream = stream
        self._send, self._receive = anyio.create_memory_object_stream[Chunk](BUFFERED_CHUNKS)
        self._taken: deque[Chunk] = deque()
        self._scope: anyio.CancelScope | None = None
        self._pump: Future[None] | None = None

    def __enter__(self) -> Self:
        """Wait for the first output."""
        opened: Future[None] = Future()
        self._pump = self._calls.start(functools.partial(self._run, opened))
        try:
            opened.result()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the stream and its upstream, also in the middle."""
        if self._pump is not None and not self._pump.done():
            self._calls.on_loop(self._cancel)
            self._pump.exception()
        self._receive.close()

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks; raise the typed error when the stream is interrupted."""
        while self._taken or self._take():
            yield self._taken.popleft()

    @property
    def response(self) -> Response:
        """The assembled answer; raises ``RuntimeError`` before the last chunk came."""
        return self._stream.response

    def _take(self) -> bool:
        if self._pump is None:
            raise RuntimeError("enter the stream first: with router.stream(...) as stream")
        self._taken.extend(self._calls.run(self._waiting_chunks))
        if not self._taken:
            self._pump.result()
        return bool(self._taken)

    async def _waiting_chunks(self) -> list[Chunk]:
        try:
            chunks = [await self._receive.receive()]
            while self._receive.statistics().current_buffer_used:
                chunks.append(self._receive.receive_nowait())
        except anyio.EndOfStream:
            return []
        return chunks

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _run(self, opened: Future[None]) -> None:
        with anyio.CancelScope() as self._scope, self._send:
            try:
                async with self._stream:
                    opened.set_result(None)
                    async for chunk in self._stream:
                        await self._send.send(chunk)
            except BaseException as error:
                if not opened.done():
                    opened.set_exception(error)
                    return
                raise
