"""Bounds that are looked through once a second: exact when they are reached, gone when they are not."""

from __future__ import annotations

import asyncio
import sys

import pytest

from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.timers import Timers
from asyncrouter.testing import run_virtual


def timers_of_the_loop() -> list[asyncio.TimerHandle]:
    return [one for one in asyncio.get_running_loop()._scheduled if not one.cancelled()]


async def cut_at(timers: Timers, delay_s: float) -> float:
    """Return how many seconds passed until a bound of *delay_s* has cut."""
    began = asyncio.get_running_loop().time()
    with cut_off_after(delay_s, timers=timers) as cut:
        await asyncio.get_running_loop().create_future()
    assert cut.fired
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("delay_s", [-1.0, 0.0, 0.25, 0.999, 1.0, 1.001, 3.5, 61.0, 1e4])
@pytest.mark.parametrize("later_s", [0.0, 0.4, 0.9999])
def test_a_bound_cuts_at_its_very_moment(delay_s, later_s):
    async def main():
        await asyncio.sleep(later_s)
        assert await cut_at(Timers(), delay_s) == pytest.approx(max(0.0, delay_s))

    run_virtual(main)


def test_what_is_done_before_leaves_no_bound():
    async def main():
        timers = Timers()
        with cut_off_after(5.0, timers=timers) as cut:
            assert len(timers) == 1
        assert len(timers) == 0
        await asyncio.sleep(60)
        assert not cut.fired

    run_virtual(main)


def test_bounds_that_are_not_near_share_a_timer():
    async def main():
        await asyncio.sleep(0.5)
        timers = Timers()
        before = len(timers_of_the_loop())
        moments = await asyncio.gather(*(cut_at(timers, 5.0 + tenth / 20) for tenth in range(10)), peek(timers, before))
        assert moments[:-1] == pytest.approx([5.0 + tenth / 20 for tenth in range(10)])

    async def peek(timers, before):
        await asyncio.sleep(1)
        assert len(timers) == 10
        assert len(timers_of_the_loop()) == before + 1

    run_virtual(main)


def test_what_many_bounds_took_is_given_back_by_the_next_look():
    async def main():
        timers = Timers()
        await asyncio.gather(*(early(timers) for _ in range(1000)))
        assert sys.getsizeof(timers.kept) > 1000
        await asyncio.sleep(1)
        assert sys.getsizeof(timers.kept) == sys.getsizeof(set())

    async def early(timers):
        with cut_off_after(5.0, timers=timers):
            await asyncio.sleep(0.5)

    run_virtual(main)


def test_closing_leaves_nothing_in_the_loop():
    async def main():
        timers = Timers()
        before = len(timers_of_the_loop())
        with cut_off_after(5.0, timers=timers):
            assert len(timers_of_the_loop()) == before + 1
        timers.close()
        assert len(timers_of_the_loop()) == before

    run_virtual(main)
