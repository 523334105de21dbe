"""The instruments of the clauses: snapshots, shifted clocks, counted lines."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

from asyncrouter.types.trace import TraceBuilder

CLOCKS = ("time", "monotonic", "perf_counter")
AN_HOUR_S = 3600.0


def snapshot(value: Any) -> Any:
    """Return a copy of *value*, all the way down, that compares by contents.

    Random numbers drawn do not count, nor do fields that nobody gives: what an object has worked out itself.
    """
    if isinstance(value, random.Random):
        return None
    attributes = _attributes(value)
    if attributes is not None:
        return type(value), snapshot(attributes)
    if isinstance(value, Mapping):
        return [(key, snapshot(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [snapshot(one) for one in value]
    return value


def _attributes(value: Any) -> dict[str, Any] | None:
    if isinstance(value, BaseException):
        return {"args": value.args, **vars(value)}
    if isinstance(value, TraceBuilder):
        return {name: getattr(value, name) for name in TraceBuilder.__slots__}
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value)) if field.init}
    return None


@contextmanager
def clocks_moved_on() -> Iterator[None]:
    """Let the clocks of module ``time`` be an hour ahead."""
    real = {name: getattr(time, name) for name in CLOCKS}
    for name, clock in real.items():
        setattr(time, name, lambda clock=clock: clock() + AN_HOUR_S)
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)


class LineCount:
    """How many lines of Python have run."""

    def __init__(self) -> None:
        self.lines = 0

    def trace(self, _frame: FrameType, event: str, _argument: object) -> Any:  # pragma: no cover - nobody traces it
        """Count one event; for ``sys.settrace``."""
        self.lines += event == "line"
        return self.trace


@contextmanager
def counted_lines() -> Iterator[LineCount]:
    """Count the lines of Python run in functions called from here: the same on every machine, however busy it is."""
    count = LineCount()
    before = sys.gettrace()
    sys.settrace(count.trace)
    try:
        yield count
    finally:
        sys.settrace(before)  # pragma: no cover - the tracer of coverage is not back yet
