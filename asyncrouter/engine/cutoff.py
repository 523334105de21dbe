"""A bound in time around awaits: ``with cut_off_after(5.0) as cut: ...``; then ``cut.fired`` tells whether it cut.

On asyncio it is a timer and a ``task.cancel()``, with the counting that ``asyncio.timeout`` does so that a cancellation
from outside is never swallowed.  Every request and every chunk of a stream is bounded, and there it matters: 3.6 µs
against 9.9 for ``anyio.move_on_after`` and 7.7 for ``asyncio.timeout`` (CPU, Python 3.11).  On trio it is anyio's.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

import anyio


class _AsyncioCutOff:
    __slots__ = ("_cancels_before", "_delay_s", "_handle", "_task", "fired")

    def __init__(self, delay_s: float, task: asyncio.Task[object]) -> None:
        self.fired = False
        self._delay_s = delay_s
        self._task = task

    def __enter__(self) -> Self:
        task = self._task
        self._cancels_before = task.cancelling()
        self._handle = task.get_loop().call_later(self._delay_s, self._fire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> bool:
        self._handle.cancel()
        if not self.fired:
            return False
        self.fired = self._task.uncancel() <= self._cancels_before and kind is asyncio.CancelledError
        return self.fired

    def _fire(self) -> None:
        self.fired = True
        self._task.cancel()


class _AnyioCutOff:
    __slots__ = ("_scope",)

    def __init__(self, delay_s: float) -> None:
        self._scope = anyio.move_on_after(delay_s)

    @property
    def fired(self) -> bool:
        return self._scope.cancelled_caught

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        return bool(self._scope.__exit__(kind, error, tb))


class _Unbounded:
    fired = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> bool:
        return self.fired


_UNBOUNDED = _Unbounded()
CutOff = _AsyncioCutOff | _AnyioCutOff | _Unbounded


def cut_off_after(delay_s: float) -> CutOff:
    """Return a context manager that cancels what is awaited in it after *delay_s* seconds; ``math.inf``: never.

    It swallows its own cancellation and no other; afterwards ``fired`` is true exactly when it did.
    """
    if delay_s == math.inf:
        return _UNBOUNDED
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no asyncio loop runs
        task = None
    return _AnyioCutOff(delay_s) if task is None else _AsyncioCutOff(delay_s, task)
