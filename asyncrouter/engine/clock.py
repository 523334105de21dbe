"""The router's default clock: the running event loop's own time, real or virtual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio


class LoopClock:
    """Monotonic seconds of whatever event loop is running; ``time.monotonic`` outside of any.

    Following the loop keeps deadlines exact under a virtual-time loop.
    """

    def now(self) -> float:
        """Return the present moment."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return _time_outside_asyncio()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs here; ``None`` on trio and outside of any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def time_of_running_loop() -> Callable[[], float]:
    """Return what tells the time of the loop that runs here, for those that stay on it.

    asyncio's own loops tell ``time.monotonic``: asked directly it saves a call of the loop's method, and the search for
    the loop; a request asks nine times.
    """
    loop = running_loop()
    if loop is None:
        return anyio.current_time
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


def _time_outside_asyncio() -> float:
    try:
        return anyio.current_time()
    except anyio.NoEventLoopError:
        return time.monotonic()
