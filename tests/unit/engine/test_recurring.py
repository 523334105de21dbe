"""A bound for one wait after another: each has its own time, though the timer behind them stays where it was."""

from __future__ import annotations

import asyncio
import contextlib
import math

import anyio
import pytest
import trio
from trio.testing import MockClock

from asyncrouter.engine.cutoff import recurring_cut_off
from asyncrouter.engine.timers import Timers
from asyncrouter.testing import VirtualClockLoop, run_virtual


def on_both(function):
    run_virtual(function)
    trio.run(function, clock=MockClock(autojump_threshold=0))


@contextlib.contextmanager
def waiting(bound, delay_s):
    """Bound what is awaited within to *delay_s*, as a stream's reading does."""
    cut = bound.again(delay_s)
    try:
        yield cut
    except BaseException as error:
        if not cut.leave(error):
            raise
    else:
        cut.leave(None)


async def moment_of(bound, delay_s, wait_s=10**6):
    """Return after how many seconds a wait of *wait_s*, bounded to *delay_s*, has ended, and whether it was cut."""
    began = anyio.current_time()
    with waiting(bound, delay_s) as cut:
        assert bound.is_entered
        await anyio.sleep(wait_s)
    assert not bound.is_entered
    return round(anyio.current_time() - began, 6), cut.fired


@pytest.mark.parametrize("timers", [None, Timers()])
def test_every_wait_is_cut_at_its_own_moment(timers):
    async def main():
        bound = recurring_cut_off(timers)
        for _ in range(3):
            assert await moment_of(bound, 5.0, wait_s=1.7) == (1.7, False)
        assert await moment_of(bound, 5.0) == (5.0, True)
        assert await moment_of(bound, 0.25) == (0.25, True)
        assert await moment_of(bound, 100.0, wait_s=0.5) == (0.5, False)
        assert await moment_of(bound, 3.5) == (3.5, True)  # earlier than what the last one would have come to
        await anyio.sleep(1000)  # the time between waits counts for none
        assert await moment_of(bound, 60.0, wait_s=59.0) == (59.0, False)
        assert await moment_of(bound, 60.0) == (60.0, True)
        assert await moment_of(bound, math.inf, wait_s=1e5) == (1e5, False)
        assert await moment_of(bound, -1.0) == (0.0, True)
        bound.close()

    on_both(main)


@pytest.mark.parametrize("within_s", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("delay_s", [0.5, 1.0, 1.4, 7.25])
def test_a_later_wait_is_cut_at_its_moment_wherever_the_one_before_began(within_s, delay_s):
    async def main():
        bound = recurring_cut_off(Timers())
        await asyncio.sleep(within_s)
        assert await moment_of(bound, delay_s, wait_s=delay_s * 0.8) == (pytest.approx(delay_s * 0.8), False)
        assert await moment_of(bound, delay_s) == (delay_s, True)

    run_virtual(main)


def test_a_closed_one_leaves_no_timer():
    async def main():
        timers = Timers()
        bound = recurring_cut_off(timers)
        for delay_s in (60.0, 30.0, 90.0, 0.4):
            await moment_of(bound, delay_s, wait_s=0.3)
        assert len(timers) + len(scheduled()) > 0
        bound.close()
        assert len(timers) == 0
        timers.close()
        assert scheduled() == []

    run_virtual(main)


def scheduled():
    return [one for one in asyncio.get_running_loop()._scheduled if not one.cancelled()]


def test_many_waits_set_one_timer():
    async def main():
        loop = asyncio.get_running_loop()
        bound = recurring_cut_off()
        set_before = loop.set_timers
        for _ in range(100):
            with waiting(bound, 60.0):
                await asyncio.sleep(0)
        assert loop.set_timers == set_before + 1
        bound.close()

    anyio.run(main, backend_options={"loop_factory": BlockedLoop})


def test_a_cut_ends_the_wait_under_way_and_no_other():
    async def main():
        bound = recurring_cut_off(Timers())
        bound.cut()
        assert await moment_of(bound, 5.0, wait_s=1.0) == (1.0, False)
        bound.cut()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_later, bound)
            assert await moment_of(bound, 5.0) == (2.0, True)
        bound.close()

    async def cut_later(bound):
        await anyio.sleep(2.0)
        bound.cut()

    on_both(main)


def test_a_cancellation_from_outside_is_not_swallowed():
    async def main():
        bound = recurring_cut_off(Timers())
        await moment_of(bound, 5.0, wait_s=1.0)
        task = asyncio.create_task(moment_of(bound, 5.0))
        asyncio.get_running_loop().call_later(5.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == 6.0

    run_virtual(main)


class BlockedLoop(VirtualClockLoop):
    """A loop in virtual time that something can block, and that counts the timers it is given."""

    set_timers = 0

    def block(self, seconds):
        self._now += seconds

    def call_at(self, *args, **more):
        self.set_timers += 1
        return super().call_at(*args, **more)


def test_a_wait_after_an_answer_that_a_blocked_loop_delayed_is_left_alone():
    async def main():
        loop = asyncio.get_running_loop()
        bound, answer = recurring_cut_off(Timers()), loop.create_future()
        loop.call_later(1.0, loop.block, 10.0)
        loop.call_later(2.0, answer.set_result, "in time")
        with waiting(bound, 1.5) as cut:  # due before the answer, and fired after the same block
            assert await answer == "in time"
        assert (cut.fired, cut.late_s) == (False, pytest.approx(9.5))
        with waiting(bound, 1.5) as cut:
            for _ in range(100):  # more turns than the answer would have been given
                await asyncio.sleep(0)
        assert (cut.fired, cut.late_s) == (False, 0.0)
        assert await moment_of(bound, 1.5) == (1.5, True)
        assert loop.time() == 12.5

    anyio.run(main, backend_options={"loop_factory": BlockedLoop})


def test_a_cut_tells_how_late_a_blocked_loop_was():
    async def main():
        loop = asyncio.get_running_loop()
        bound = recurring_cut_off(Timers())
        await moment_of(bound, 1.5, wait_s=0.5)
        loop.call_later(1.0, loop.block, 10.0)
        with waiting(bound, 1.5) as cut:
            await asyncio.sleep(60)
        assert (cut.fired, cut.late_s) == (True, pytest.approx(9.5))

    anyio.run(main, backend_options={"loop_factory": BlockedLoop})
