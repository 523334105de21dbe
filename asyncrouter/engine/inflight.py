"""The calls under way in one version of a router's configuration: waited for, or ended, when it is done with."""

from __future__ import annotations

from typing import Protocol

import anyio

from asyncrouter.engine.timers import Timers

CLOSED = "the router was closed while the call was under way"


class Endable(Protocol):
    """A call under way, as far as its end is concerned."""

    def cut(self) -> None:
        """End it at its next await, or now when it awaits something."""
        ...


class InFlight:
    """See the module.  ``closing`` tells a call that was cut why; ``timers`` keep the bounds of the calls."""

    __slots__ = ("_calls", "_quiet", "closing", "timers")

    def __init__(self) -> None:
        self.closing = False
        self.timers = Timers()
        self._calls: set[Endable] = set()
        self._quiet: anyio.Event | None = None

    def __len__(self) -> int:
        """Return how many calls are under way."""
        return len(self._calls)

    def begin(self, call: Endable) -> None:
        """Count *call* as under way."""
        self._calls.add(call)

    def end(self, call: Endable) -> None:
        """Count *call* as ended."""
        self._calls.discard(call)
        if not self._calls:
            self._calls.clear()  # it would keep the table of its largest size, half a mebibyte after ten thousand
            if self._quiet is not None:
                self._quiet.set()
                self._quiet = None

    async def quiet(self) -> None:
        """Wait until no call is under way; none will begin any more."""
        while self._calls:
            self._quiet = self._quiet or anyio.Event()
            await self._quiet.wait()
        self.timers.close()

    def cut_all(self) -> None:
        """End every call that is under way."""
        self.closing = True
        for call in tuple(self._calls):
            call.cut()
