"""A bound in time: it cuts what is awaited, tells it, and swallows no cancellation but its own."""

from __future__ import annotations

import asyncio
import math

import anyio
import pytest
import trio
from trio.testing import MockClock

from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.testing import VirtualClockLoop, run_virtual


def on_both(function):
    run_virtual(function)
    trio.run(function, clock=MockClock(autojump_threshold=0))


def test_it_cuts_what_takes_longer_at_its_very_moment():
    async def main():
        started = anyio.current_time()
        with cut_off_after(5.0) as cut:
            await anyio.sleep(60)
        assert cut.fired
        assert anyio.current_time() - started == pytest.approx(5.0)

    on_both(main)


def test_it_leaves_alone_what_is_done_before():
    async def main():
        with cut_off_after(5.0) as cut:
            await anyio.sleep(1)
        await anyio.sleep(60)
        assert not cut.fired

    on_both(main)


def test_without_a_bound_nothing_is_cut():
    async def main():
        with cut_off_after(math.inf) as cut:
            await anyio.sleep(10**6)
        assert not cut.fired

    on_both(main)


def test_no_time_left_cuts_the_first_await():
    async def main():
        with cut_off_after(-1.0) as cut:
            await anyio.sleep(1)
        assert cut.fired

    on_both(main)


def test_errors_pass_through():
    async def main():
        with pytest.raises(KeyError), cut_off_after(5.0):
            raise KeyError

    on_both(main)


@pytest.mark.parametrize("bounds", [(1, 2), (2, 1)])
def test_nested_bounds_fire_for_themselves(bounds):
    outer_s, inner_s = bounds

    async def main():
        with cut_off_after(outer_s) as outer:
            with cut_off_after(inner_s) as inner:
                await anyio.sleep(60)
            await anyio.lowlevel.checkpoint()
        assert (outer.fired, inner.fired) == (outer_s < inner_s, inner_s < outer_s)

    on_both(main)


def test_a_cancellation_from_outside_is_not_swallowed():
    async def main():
        ended = []

        async def work():
            try:
                with cut_off_after(5.0):
                    await anyio.sleep(60)
            finally:
                ended.append("left")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        assert ended == ["left"]

    on_both(main)


def test_a_cancellation_at_the_moment_of_the_cut_passes_through():
    """Both in one tick: who cancels from outside must be obeyed, whatever the bound does."""

    async def main():
        async def work():
            with cut_off_after(5.0):
                await asyncio.sleep(60)
            await asyncio.sleep(60)

        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_later(5.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == 5.0

    run_virtual(main)


def test_an_error_that_replaces_the_cut_is_raised_and_told_as_such():
    async def main():
        cut = cut_off_after(1.0)

        async def replaced():
            with cut:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    raise KeyError from None

        with pytest.raises(KeyError):
            await replaced()
        assert not cut.fired
        assert asyncio.current_task().cancelling() == 0

    run_virtual(main)


def test_it_works_inside_of_anyios_scopes_and_task_groups():
    async def main():
        with anyio.move_on_after(2) as outer:
            with cut_off_after(5) as cut:
                await anyio.sleep(60)
        assert outer.cancelled_caught
        assert not cut.fired
        with cut_off_after(1) as cut:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep, 60)
                await anyio.sleep(60)
        assert cut.fired

    on_both(main)


class BlockedLoop(VirtualClockLoop):
    """A loop in virtual time that something can block."""

    def block(self, seconds):
        self._now += seconds


def blocked(scenario):
    return anyio.run(scenario, backend_options={"loop_factory": BlockedLoop})


def test_an_answer_that_came_while_the_loop_was_blocked_is_not_cut():
    async def main():
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        loop.call_later(1.0, loop.block, 10.0)
        loop.call_later(2.0, answer.set_result, "in time")
        with cut_off_after(1.5) as cut:  # due before the answer, and fired after the same block
            assert await answer == "in time"
        assert not cut.fired
        assert cut.late_s == pytest.approx(9.5)

    blocked(main)


@pytest.mark.parametrize(("bound_s", "late_s"), [(1.5, 9.5), (-1.0, 0.0), (0.0, 0.0)])
def test_a_cut_tells_how_late_a_blocked_loop_was(bound_s, late_s):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, loop.block, 10.0)
        with cut_off_after(bound_s) as cut:
            await asyncio.sleep(60)
        assert cut.fired
        assert cut.late_s == pytest.approx(late_s)
        assert loop.time() == pytest.approx(11.0 if late_s else 0.0)

    blocked(main)


def test_a_loop_that_is_a_little_late_is_not_blocked():
    async def main():
        asyncio.get_running_loop().call_later(1.0, asyncio.get_running_loop().block, 0.59)
        with cut_off_after(1.5) as cut:
            await asyncio.sleep(60)
        assert (cut.fired, cut.late_s) == (True, 0.0)

    blocked(main)
