"""A bound in time around awaits: ``with cut_off_after(5.0) as cut: ...``; then ``cut.fired`` tells whether it cut.

On asyncio it is a timer and a ``task.cancel()``, with the counting that ``asyncio.timeout`` does so that a cancellation
from outside is never swallowed.  Every request and every chunk of a stream is bounded, and there it matters:
``anyio.move_on_after`` costs 2.6 times as much, ``asyncio.timeout`` 1.6 times (``benchmarks/bounds.py``).  On trio it
is anyio's.

Something that blocks the event loop lets timers fire late, at the side of answers that have come meanwhile and that no
task has seen yet.  Who fires late gives them some turns of the loop, and tells how late it was.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio

from asyncrouter.engine.clock import running_loop, time_of_running_loop
from asyncrouter.engine.timers import Timers

LATE_S = 0.1
"""A timer that fires so much too late has waited for a blocked loop (asyncio's own ``slow_callback_duration``)."""
TURNS = 20
"""Turns of the loop that an answer which came while it was blocked has to reach its task; over HTTP it takes about six.

Turns and no time: on a busy machine each may take long.
"""


class AsyncioCutOff:
    """A bound in *task*; *cancels_before*: what ``task.cancelling()`` told when it began.

    As a context manager it begins on entering, with *delay_s* seconds; else with :meth:`begin_at`.
    """

    __slots__ = ("_cancels_before", "_delay_s", "_more_s", "_task", "_timer", "_timers", "fired", "late_s",
                 "when")  # fmt: skip

    may_follow = True
    """Whether it may be entered when what it bounds has begun already."""

    def __init__(
        self,
        task: asyncio.Task[object],
        cancels_before: int,
        more_s: Callable[[], float] | None = None,
        delay_s: float = math.inf,
        timers: Timers | None = None,
    ) -> None:
        self.fired = False
        self.late_s = 0.0
        self.when = math.inf
        self._cancels_before = cancels_before
        self._delay_s = delay_s
        self._more_s = more_s
        self._task: asyncio.Task[object] | None = task
        self._timer: asyncio.TimerHandle | None = None
        self._timers = timers

    def __enter__(self) -> Self:
        task = self._task
        assert task is not None  # noqa: S101 - it is entered once
        if self._delay_s != math.inf:
            loop = task.get_loop()
            self.when = when = loop.time() + max(0.0, self._delay_s)
            if self._timers is None or not self._timers.keep(self, loop):
                self._timer = loop.call_at(when, self._due)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> bool:
        return self.leave(error)

    def begin_at(self, when: float) -> None:
        """Begin, to cut at that moment in the event loop's seconds."""
        self.when = when
        self.arm()

    @property
    def is_entered(self) -> bool:
        """Whether it has not been left yet."""
        return self._task is not None

    def arm(self) -> None:
        """Have the event loop cut at the moment."""
        assert self._task is not None  # noqa: S101 - on leaving, it is kept no longer
        self._timer = self._task.get_loop().call_at(self.when, self._due)

    def leave(self, error: BaseException | None) -> bool:
        """End it with what came out of it, and return whether that is its own cut: ``fired`` tells the same."""
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        elif self._timers is not None:
            self._timers.kept.discard(self)
        if task is None or not self.fired:
            return False
        self.fired = task.uncancel() <= self._cancels_before and type(error) is asyncio.CancelledError
        return self.fired

    def cut(self) -> None:
        """Cut now; nothing when it has been left or has cut already."""
        if self._task is not None and not self.fired:
            self.fired = True
            self._task.cancel()

    def _due(self) -> None:
        """Cut, unless the loop is so late that something may have come meanwhile: then some turns later."""
        task = self._task
        assert task is not None  # noqa: S101 - on leaving, the timer is cancelled
        loop = task.get_loop()
        late_s = loop.time() - self.when
        if late_s > LATE_S:
            self.late_s = late_s
            self._wait(TURNS)
        elif self._more_s is not None and (more_s := self._more_s()) > 0.0:
            self.when = loop.time() + more_s
            self._timer = loop.call_at(self.when, self._due)
        else:
            self.cut()

    def _wait(self, turns: int) -> None:
        if self._task is None:  # what came meanwhile has reached it
            return
        if turns:
            self._task.get_loop().call_soon(self._wait, turns - 1)
        else:
            self.cut()


class _AsyncioRecurring(AsyncioCutOff):
    """Waits end long before their bound, so what would cut stays where it is and finds, when it looks, a later one."""

    __slots__ = ("_blocked_at", "_is_kept", "_looks_at", "_loop", "_now")

    def __init__(self, loop: asyncio.AbstractEventLoop, timers: Timers | None) -> None:
        self.fired = False
        self.when = self._looks_at = math.inf
        self._loop = loop
        self._now = time_of_running_loop()
        self._task = self._timer = self._more_s = None
        self._timers = timers
        self._is_kept = False

    def again(self, delay_s: float) -> Self:
        """Return itself, begun for another wait of the running task, to be left with what comes out of it."""
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - it waits
        self._cancels_before = task.cancelling()
        self.fired = False
        self.late_s = 0.0
        self.when = when = self._now() + delay_s
        if when < self._looks_at or (self._is_kept and self._timers is not None and when < self._timers.until):
            self._look_at(when)
        return self

    def leave(self, error: BaseException | None) -> bool:
        """End the wait with what came out of it, and return whether that is its own cut; what would cut stays."""
        task, self._task = self._task, None
        if task is None or not self.fired:
            return False
        self.fired = task.uncancel() <= self._cancels_before and type(error) is asyncio.CancelledError
        return self.fired

    def close(self) -> None:
        """Have nothing left that would cut."""
        if self._timer is not None:
            self._timer.cancel()
        elif self._is_kept and self._timers is not None:
            self._timers.kept.discard(self)
        self._timer = None
        self._is_kept = False
        self._looks_at = math.inf

    def arm(self) -> None:
        """Look whether the wait under way ends in this second."""
        self._is_kept = False
        self._looks_at = math.inf
        if self._task is not None:
            self._look_at(self.when)

    def _look_at(self, when: float) -> None:
        self.close()
        if when == math.inf:
            return
        if self._timers is not None and self._timers.keep(self, self._loop):
            self._is_kept = True
            self._looks_at = -math.inf
        else:
            self._looks_at = when
            self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        self._looks_at = math.inf
        if self._task is None:
            return
        if self.when > self._now():
            self._look_at(self.when)
        else:
            self._blocked_at = self.when
            super()._due()

    def _wait(self, turns: int) -> None:
        if self.when == self._blocked_at:  # else it is another wait
            super()._wait(turns)


class AnyioCutOff:
    """The same where no asyncio loop runs."""

    __slots__ = ("_is_entered", "_scope")

    late_s = 0.0
    may_follow = False  # scopes must end in the reverse order, and one may have been entered in what has begun

    def __init__(self, delay_s: float) -> None:
        self._scope = anyio.move_on_after(delay_s)
        self._is_entered = False

    @property
    def fired(self) -> bool:
        """Whether it has cut."""
        return self._scope.cancelled_caught

    @property
    def is_entered(self) -> bool:
        """Whether it has not been left yet."""
        return self._is_entered

    def cut(self) -> None:
        """Cut now; nothing when it has been left."""
        self._scope.cancel()

    def leave(self, error: BaseException | None) -> bool:
        """End it with what came out of it, and return whether that is its own cut."""
        swallowed = self.__exit__(None if error is None else type(error), error, None)
        return swallowed and error is not None  # trio's scope "swallows" where nothing came out of it, too

    def __enter__(self) -> Self:
        self._is_entered = True
        self._scope.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        self._is_entered = False
        return bool(self._scope.__exit__(kind, error, tb))


class _AnyioRecurring:
    __slots__ = ("_last",)

    may_follow = False

    def __init__(self) -> None:
        self._last = AnyioCutOff(math.inf)

    @property
    def is_entered(self) -> bool:
        return self._last.is_entered

    def again(self, delay_s: float) -> AnyioCutOff:
        """Return what has been entered for another wait, to be left with what comes out of it."""
        self._last = AnyioCutOff(delay_s)
        return self._last.__enter__()

    def cut(self) -> None:
        """Cut the wait under way."""
        self._last.cut()

    def close(self) -> None:
        """Nothing is left: each wait had a bound of its own."""


CutOff = AsyncioCutOff | AnyioCutOff
Recurring = _AsyncioRecurring | _AnyioRecurring


def cut_off_after(delay_s: float, timers: Timers | None = None) -> CutOff:
    """Return a context manager that cancels what is awaited in it after *delay_s* seconds, or when ``cut()`` is called.

    ``math.inf`` is no time bound.  It swallows its own cancellation and no other; afterwards ``fired`` is true exactly
    when it did, and ``late_s`` is by how much the event loop was too late to do so, 0 unless more than :data:`LATE_S`.
    *timers* keep bounds that are hardly ever reached.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no asyncio loop runs
        task = None
    return AnyioCutOff(delay_s) if task is None else AsyncioCutOff(task, task.cancelling(), None, delay_s, timers)


def recurring_cut_off(timers: Timers | None = None) -> Recurring:
    """Return what bounds one wait after another, as a stream's for its chunks.

    ``cut = it.again(5.0)`` begins each; ``cut.leave(error)``, with what came out of it, ends it and tells whether it
    was cut.  Otherwise it is as :func:`cut_off_after`, at a quarter of the opcodes a wait.  Close it after the last.
    """
    loop = running_loop()
    return _AnyioRecurring() if loop is None else _AsyncioRecurring(loop, timers)
