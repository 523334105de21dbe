"""The clock follows whatever event loop runs, and the machine's monotonic time outside of any."""

from __future__ import annotations

import time

import anyio
import trio
from trio.testing import MockClock

from asyncrouter.engine.clock import LoopClock
from asyncrouter.testing import run_virtual
from asyncrouter.types.clock import Clock


def test_it_is_a_clock():
    assert isinstance(LoopClock(), Clock)


def test_outside_of_any_loop_it_is_monotonic_time():
    before = time.monotonic()
    now = LoopClock().now()
    assert before <= now <= time.monotonic()


def test_it_follows_a_loop_in_virtual_time():
    async def main():
        clock = LoopClock()
        started = clock.now()
        await anyio.sleep(3600)
        return clock.now() - started

    assert run_virtual(main) == 3600.0
    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == 3600.0
