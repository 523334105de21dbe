"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else is ready.

Hours of backoff run in milliseconds, and every wait ends at its exact time.  ``await anyio.sleep(3600)`` returns at
once with ``loop.time()`` 3600 seconds later.

Sockets and virtual time do not mix (an answer on the wire takes real time, and every timeout would fire before it), so
the loop refuses to open any.  Jobs in threads that the loop starts (``asyncio.to_thread``, ``run_in_executor``) work:
time stands still while they run.  Threads it did not start may call ``call_soon_threadsafe``; time does not wait for
them, but a loop with nothing else to do gives them :attr:`VirtualClockLoop.patience_s` real seconds.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, NoReturn, TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Events = list[tuple[selectors.SelectorKey, int]]


class VirtualDeadlock(RuntimeError):
    """No timer is set, nothing is ready, no thread works for the loop: what is awaited can never happen."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time, starting at 0 seconds.

    Raises :class:`VirtualDeadlock` out of ``run_until_complete`` where another loop would hang for ever, naming each
    task and where it waits; ``RuntimeError`` where a socket or a subprocess would be opened.
    """

    patience_s = 1.0
    """Real seconds that an otherwise idle loop gives to other living threads before it declares a deadlock."""
    _scheduled: list[asyncio.TimerHandle]
    """asyncio's own heap of timers: a second one, kept here, would double the work for each of them.  Before the loop
    waits it has dropped the cancelled ones at the front."""

    _is_whole = False

    def __init__(self) -> None:
        self._now = 0.0
        self._jobs = 0
        super().__init__(_VirtualSelector(self._pass_time))
        self._is_whole = True

    def __del__(self, *args: Any) -> None:
        """Close what was left open; an interrupt while it is made leaves nothing that asyncio could close."""
        if self._is_whole:
            super().__del__(*args)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run *func* in a thread; virtual time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the executor's threads, in real time."""
        self._jobs += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs -= 1

    async def create_connection(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a connection")

    async def create_server(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a server")

    async def create_datagram_endpoint(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a datagram socket")

    async def create_unix_connection(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a connection")

    async def create_unix_server(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a server")

    async def sock_connect(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: sockets need real time."""
        _refuse("a connection")

    async def subprocess_exec(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: processes need real time."""
        _refuse("a process")

    async def subprocess_shell(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refuse: processes need real time."""
        _refuse("a process")

    def _job_done(self, _future: object) -> None:
        self._jobs -= 1

    def _pass_time(self, select: Callable[[float | None], Events]) -> Events:
        """Nothing is ready: wait for threads in real time, else jump to the next timer, else declare a deadlock."""
        events = select(None if self._jobs else 0)
        if events:
            return events
        if self._scheduled and self._scheduled[0].when() < math.inf:
            self._now = self._scheduled[0].when()
            return events
        if threading.active_count() > 1:
            events = select(self.patience_s)
        if not events:
            raise VirtualDeadlock(_describe(asyncio.all_tasks(self)))
        return events


class _VirtualSelector(selectors.DefaultSelector):
    """The selector that asyncio sleeps in; instead of sleeping it lets the loop pass virtual time."""

    def __init__(self, pass_time: Callable[[Callable[[float | None], Events]], Events]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> Events:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        return self._pass_time(super().select)


def _refuse(what: str) -> NoReturn:
    raise RuntimeError(
        f"VirtualClockLoop: {what} needs real time; use FakeProvider here, or run this test on the ordinary loop"
    )


def _describe(tasks: Iterable[asyncio.Task[Any]]) -> str:
    lines = sorted(f"  {task.get_name()}: {' > '.join(_frames(task.get_coro()))}" for task in tasks)
    return "\n".join(["deadlock: no timer and nothing ready; these tasks wait for ever:", *lines])


def _frames(coroutine: object) -> Iterator[str]:
    """Yield where a suspended coroutine stands, from the outermost function to the innermost."""
    frame = getattr(coroutine, "cr_frame", None)
    while frame is not None:
        code = frame.f_code
        yield f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
        coroutine = getattr(coroutine, "cr_await", None)
        frame = getattr(coroutine, "cr_frame", None)


virtual_backend: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": VirtualClockLoop})
"""What an ``anyio_backend`` fixture returns to run its tests in virtual time."""


def run_virtual(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``await function(*args)`` in virtual time from 0 seconds on, and return what it returns."""
    return anyio.run(function, *args, backend=virtual_backend[0], backend_options=virtual_backend[1])
