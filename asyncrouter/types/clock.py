"""The one source of time: monotonic seconds, injected everywhere."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Monotonic time in seconds; the zero is arbitrary.  The wall clock is never asked."""

    def now(self) -> float:
        """Return the present moment."""
        ...
