"""Bounds in time of which few are ever reached: kept by the second, and given to the event loop when it has come.

A timer of the event loop costs a handle, its place in a heap, and its cancellation when the call has been answered in
time, as nearly all are: 2.4 µs a bound against 1.2 here (``benchmarks/bounds.py``).  So a bound is put into the set of
its second and taken out again; only those that are still there when their second begins get a timer, an exact one.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Timed(Protocol):
    """What is to be told when its time has come, unless it is taken out of its set before."""

    when: float
    """In the event loop's seconds."""

    def arm(self) -> None:
        """Have the event loop tell it at its moment."""
        ...


class Timers:
    """See the module.  One a router, used on one event loop."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[int, tuple[asyncio.TimerHandle, set[Timed]]] = {}

    def __len__(self) -> int:
        """Return how many bounds are kept."""
        return sum(len(waiting) for _, waiting in self._seconds.values())

    def keep(self, one: Timed, loop: asyncio.AbstractEventLoop) -> set[Timed] | None:
        """Return the set that *one* is kept in until its second; ``None`` when that has begun already."""
        second = int(one.when)
        known = self._seconds.get(second)
        if known is None:
            if second <= loop.time():
                return None
            known = self._seconds[second] = (loop.call_at(second, self._begin, second), set())
        known[1].add(one)
        return known[1]

    def close(self) -> None:
        """Forget everything: no call is under way any more."""
        for handle, _ in self._seconds.values():
            handle.cancel()
        self._seconds.clear()

    def _begin(self, second: int) -> None:
        _, waiting = self._seconds.pop(second)
        for one in tuple(waiting):
            one.arm()
