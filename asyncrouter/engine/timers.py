"""Bounds in time of which few are ever reached: kept in a set that is looked through once a second.

A timer of the event loop costs a handle, its place in a heap, and its cancellation when the call has been answered in
time, as nearly all are: 2.6 µs a bound against 1.3 here (``benchmarks/bounds.py``).  So a bound is put into the set and
taken out again; only those that are still there in the second before their moment get a timer, an exact one.  To look
through ten thousand takes 0.3 ms.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from asyncrouter.engine.clock import time_of_running_loop

SWEEP_S = 1.0
"""The time between two looks."""


class Timed(Protocol):
    """What is to be told when its time is near, unless it is taken out before."""

    when: float
    """In the event loop's seconds; ``inf``: it need not be kept.  While it is, it may be moved, but not to before
    :attr:`Timers.until`."""

    def arm(self) -> None:
        """Have the event loop tell it at its moment, if it has one.  It is kept no longer."""
        ...


class Timers:
    """See the module.  One a router, used on one event loop.

    ``time`` tells the event loop's seconds.  ``loop`` is the asyncio loop, once something was kept.
    ``until``: the moment of the next look; what comes before has to see to itself.
    ``kept``: what is looked at then; who needs no looking after any more takes itself out.
    """

    __slots__ = ("_sweeping", "kept", "loop", "time", "until")

    def __init__(self) -> None:
        self.time: Callable[[], float] = self._first_time
        self.kept: set[Timed] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self.until = 0.0

    def __len__(self) -> int:
        """Return how many bounds are kept."""
        return len(self.kept)

    def keep(self, one: Timed, loop: asyncio.AbstractEventLoop) -> bool:
        """Keep *one* until its time is near; ``False`` when that is now, or it has passed."""
        if self._sweeping is None:
            self.loop = loop
            self._look_again(loop)
        if one.when < self.until:
            return False
        self.kept.add(one)
        return True

    def close(self) -> None:
        """Forget everything: no call is under way any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self.kept.clear()

    def _first_time(self) -> float:
        self.time = time_of_running_loop()
        return self.time()

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self.until = loop.time() + SWEEP_S
        self._sweeping = loop.call_at(self.until, self._sweep)

    def _sweep(self) -> None:
        """Arm what comes before the next look, if anything is kept; without it nobody looks until something is."""
        self._sweeping = None
        if self.kept and self.loop is not None:
            self._look_again(self.loop)
            until = self.until
            done = [one for one in self.kept if one.when < until or one.when == math.inf]
            self.kept.difference_update(done)
            for one in done:
                one.arm()
        else:
            self.until = 0.0
            self.kept.clear()  # an empty set has the table of its largest size, half a mebibyte after ten thousand
