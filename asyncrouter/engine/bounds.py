"""The bounds in time of one call in its task: the deadline and, within it, that of the attempt under way.

Hardly any is ever reached, so on asyncio they are moments that are looked at once a second
(:mod:`asyncrouter.engine.timers`); one becomes a cut-off (:mod:`asyncrouter.engine.cutoff`) when its moment is near.
A cut-off for each of the two cost 2.7 µs a call, this 1.3 (``benchmarks/bounds.py``).  On trio they are anyio's scopes.

Who begins a call in a task has its bounds there; an attempt that is made in another task needs others.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from asyncrouter.engine.cutoff import AnyioCutOff, AsyncioCutOff, CutOff
from asyncrouter.engine.timers import Timers


class Patient(Protocol):
    """Whose bound it is: asked, when its moment has come, whether there is more time."""

    def more_s(self) -> float:
        """Return how many seconds more it may take; 0 or less: none."""
        ...


class _AsyncioBounds:
    """See the module."""

    __slots__ = ("_cancels_before", "_cancels_within", "_cut", "_deadline", "_loop", "_patient", "_task", "_timers",
                 "_within", "when")  # fmt: skip

    def __init__(self, delay_s: float, task: asyncio.Task[object], timers: Timers) -> None:
        self._task = task
        self._timers = timers
        self._loop = loop = task.get_loop()
        self._cancels_before = task.cancelling()
        self._cut: AsyncioCutOff | None = None
        self._within: AsyncioCutOff | None = None
        self._patient: Patient | None = None
        self.when = self._deadline = timers.time() + delay_s
        if delay_s != math.inf and not timers.keep(self, loop):
            self.arm()

    def narrow(self, bound_s: float, patient: Patient) -> None:
        """Bound what follows to *bound_s* seconds, less than is left, until :meth:`widen` is called."""
        self._patient = patient
        self._cancels_within = self._task.cancelling()
        timers = self._timers
        self.when = when = timers.time() + bound_s
        if (self._deadline == math.inf and not timers.keep(self, self._loop)) or when < timers.until:
            self.arm()

    def widen(self, error: BaseException | None) -> CutOff | None:
        """Take the narrow bound away; return it where *error*, which came out of it, is its own cut and no other's."""
        self._patient = None
        within, self._within = self._within, None
        if within is None:
            self.when = self._deadline
            return None
        return within if within.leave(error) else None

    def leave(self, error: BaseException | None) -> bool:
        """Take the deadline away; return whether *error* is its cut, or that of :meth:`cut`, and no other's."""
        self._timers.kept.discard(self)
        return self._cut is not None and self._cut.leave(error)

    def cut(self) -> None:
        """Cut the call now."""
        if self._cut is None:
            self._cut = AsyncioCutOff(self._task, self._cancels_before)
        self._cut.cut()

    def arm(self) -> None:
        """Make the cut-off of the bound that is near."""
        if self._patient is not None and self._within is None:
            self._within = AsyncioCutOff(self._task, self._cancels_within, self._patient.more_s)
            self._within.begin_at(self.when)
            self.when = self._deadline
            if self._deadline == math.inf or self._timers.keep(self, self._loop):
                return
        if self._cut is None and self._deadline != math.inf:
            self._cut = AsyncioCutOff(self._task, self._cancels_before)
            self._cut.begin_at(self._deadline)


class _AnyioBounds:
    __slots__ = ("_cut", "_within")

    def __init__(self, delay_s: float) -> None:
        self._cut = AnyioCutOff(delay_s)
        self._within: AnyioCutOff | None = None
        self._cut.__enter__()

    def narrow(self, bound_s: float, _patient: Patient) -> None:
        self._within = AnyioCutOff(bound_s)
        self._within.__enter__()

    def widen(self, error: BaseException | None) -> CutOff | None:
        within, self._within = self._within, None
        return within if within is not None and within.leave(error) else None

    def leave(self, error: BaseException | None) -> bool:
        return self._cut.leave(error)

    def cut(self) -> None:
        self._cut.cut()


Bounds = _AsyncioBounds | _AnyioBounds


def bounds_of(delay_s: float, timers: Timers) -> Bounds:
    """Return the bounds of what this task does from now on, *delay_s* seconds at most, until they are left.

    ``math.inf``: without a deadline.
    """
    try:
        task = asyncio.current_task(timers.loop)  # the loop that runs is looked for with a system call, against forks
    except RuntimeError:  # no asyncio loop runs
        task = None
    return _AnyioBounds(delay_s) if task is None else _AsyncioBounds(delay_s, task, timers)
