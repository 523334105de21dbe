"""The sync door: the same surface without ``await``, inside a running loop too and from many threads.

One daemon thread runs the event loop of one :class:`~asyncrouter.router.Router`; every call is handed to it.
"""

from __future__ import annotations

import abc
import atexit
import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from asyncrouter.calls import Calls
from asyncrouter.config.catalogue import GroupPlan
from asyncrouter.hooks.registry import Registry
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.router import AgentRouter, Router, Source
from asyncrouter.types.clock import Clock
from asyncrouter.types.metrics import Metrics
from asyncrouter.types.response import Chunk, Response

P = ParamSpec("P")
R = TypeVar("R")
CLOSED = "the router was closed during the call"
FORKED = "the router's thread stayed behind when this process was forked off; make a SyncRouter in each process"
BUFFERED_CHUNKS = 64
"""Chunks that a stream may run ahead of a slow reader."""


class LoopThread:
    """An event loop in a daemon thread, and the way to run things on it; *last* is run when it ends."""

    def __init__(self, last: Callable[[], Awaitable[object]]) -> None:
        self._last = last
        self._pid = os.getpid()
        self._failure: BaseException | None = None
        self._started: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(target=self._run, name="asyncrouter", daemon=True)
        self._thread.start()
        self._portal = self._started.result()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this very thread, and so must not wait for it."""
        return threading.current_thread() is self._thread

    @property
    def is_lost(self) -> bool:
        """Whether this process is a fork's child, where the thread does not run: whoever waited for it would hang."""
        return os.getpid() != self._pid

    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the loop and return its future; cancelling the future cancels the task."""
        if self.is_lost:
            raise RuntimeError(FORKED)
        return self._portal.start_task_soon(function)

    def stop(self) -> None:
        """Cancel what still runs, run the last function, and end the thread; raise what that function raised."""
        self._portal.call(self._portal.stop, True)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:
            self._failure = error
            if not self._started.done():
                self._started.set_exception(error)

    async def _main(self) -> None:
        async with BlockingPortal() as portal:
            self._started.set_result(portal)
            await portal.sleep_until_stopped()
        await self._last()


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


class _Job(Generic[R]):
    """An async function to run on the loop, and the way to cancel it, whether it has begun or not."""

    def __init__(self, function: Callable[[], Awaitable[R]]) -> None:
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self._cancelled = False

    async def run(self) -> R:
        with anyio.CancelScope() as self._scope:
            if not self._cancelled:
                return await self._function()
        raise CancelledError

    async def cancel(self) -> None:
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()


class SyncCalls(abc.ABC):
    """The three calls without ``await``, shared by :class:`SyncRouter` and :class:`SyncAgentRouter`."""

    calls: Calls
    """The async object behind it."""

    @abc.abstractmethod
    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the router's loop and return its future."""

    def run(self, function: Callable[[], Awaitable[R]]) -> R:
        """Run the async *function* on the router's loop and return its result; an interrupt cancels it."""
        job = _Job(function)
        try:
            return self.start(job.run).result()
        except CancelledError:
            raise RuntimeError(CLOSED) from None
        except Exception:
            raise
        except BaseException:  # an interrupt may come anywhere, also before there is a future to cancel
            with contextlib.suppress(RuntimeError):  # the router is closed already
                self.start(job.cancel)
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
        self._lock = threading.Lock()

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
        with self._lock:
            if self._loop is not None:
                raise RuntimeError("this router was entered before; make a new one with SyncRouter.from_config(...)")
            self._loop = LoopThread(self.calls.aclose)
        atexit.register(self.close)
        try:
            self.run(self.calls.__aenter__)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close everything."""
        self.close()

    def close(self, *, grace_s: float = 0.0) -> None:
        """Let the calls under way end for *grace_s* seconds, cancel those left, close the router and end its thread.

        A router that is not open stays so.
        """
        with self._lock:
            loop = self._loop
            if loop is not None and loop.is_current:
                raise RuntimeError("a hook must not close the router that runs it")
            self._loop = None
        if loop is not None:
            atexit.unregister(self.close)
        if loop is not None and not loop.is_lost:
            if grace_s > 0:
                loop.start(functools.partial(self.calls.aclose, grace_s=grace_s)).result()
            loop.stop()

    def start(self, function: Callable[[], Awaitable[R]]) -> Future[R]:
        """Run the async *function* on the router's loop and return its future."""
        return self._running().start(function)

    feedback = _synchronous(Router.feedback)
    reconfigure = _synchronous(Router.reconfigure)

    def for_agent(self, name: str) -> SyncAgentRouter:
        """Return the same calls with the defaults of the agent called *name*."""
        return SyncAgentRouter(self, name)

    def plan(self, agent: str | None = None) -> GroupPlan:
        """Return the plan of the default group, or of *agent*: what is asked when no model is named."""
        return self.calls.plan(agent)

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
        loop = self._loop
        if loop is None:
            raise RuntimeError("the router is not open; use it inside: with SyncRouter.from_config(...) as router")
        return loop


class SyncAgentRouter(SyncCalls):
    """A sync router seen through one agent's profile."""

    calls: AgentRouter

    def __init__(self, router: SyncRouter, name: str) -> None:
        self.calls = router.calls.for_agent(name)
        self._router = router

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.calls.name

    @property
    def plan(self) -> GroupPlan | None:
        """What is asked when no model is named; ``None``: the router's default."""
        return self.calls.plan

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
        self._taken: deque[Chunk] = deque()
        self._waiting: list[Chunk] = []
        self._changed: anyio.Event | None = None
        self._opened: Future[None] | None = None
        self._job = _Job(self._run)
        self._pump: Future[None] | None = None
        self._complete = False
        self._over = False

    def __enter__(self) -> Self:
        """Wait for the first output."""
        if self._opened is not None:
            raise RuntimeError("this stream was entered before; ask for a new one with router.stream(...)")
        self._opened = Future()
        try:
            self._pump = self._calls.start(self._job.run)
            self._opened.result()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, CancelledError):
                raise RuntimeError(CLOSED) from None
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the stream and its upstream, also in the middle."""
        self._over = True
        self._taken.clear()
        if self._opened is not None and not (self._pump and self._pump.done()):
            with contextlib.suppress(RuntimeError):  # the router was closed meanwhile, and the stream with it
                self._calls.start(self._job.cancel)
        if self._pump is not None:
            wait([self._pump])

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Chunk:
        """Return the next chunk; raise the typed error when the stream is interrupted."""
        if not self._taken:
            self._take()
        return self._taken.popleft()

    @property
    def response(self) -> Response:
        """The assembled answer; raises ``RuntimeError`` before the last chunk came."""
        return self._stream.response

    def _take(self) -> None:
        """Take what is there, or wait for it; raise the error of the stream once, and ``StopIteration`` at its end."""
        if self._over:
            raise StopIteration
        if self._pump is None:
            raise RuntimeError("enter the stream first: with router.stream(...) as stream")
        self._taken.extend(self._calls.run(self._waiting_chunks))
        if not self._taken:
            self._over = True
            self._pump.result()
            raise StopIteration

    async def _waiting_chunks(self) -> list[Chunk]:
        """Return what has come, at least one chunk; none at the end."""
        while not self._waiting and not self._complete:
            await self._change()
        chunks, self._waiting = self._waiting, []
        self._tell()
        return chunks

    async def _change(self) -> None:
        self._changed = self._changed or anyio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _run(self) -> None:
        assert self._opened is not None  # noqa: S101 - entering the stream sets it
        try:
            async with self._stream:
                self._opened.set_result(None)
                async for chunk in self._stream:
                    while len(self._waiting) >= BUFFERED_CHUNKS:
                        await self._change()
                    self._waiting.append(chunk)
                    self._tell()
        except Exception as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)
        finally:
            self._opened.cancel()  # what ends it before the first output, and is no error, is a cancellation
            self._complete = True
            self._tell()
