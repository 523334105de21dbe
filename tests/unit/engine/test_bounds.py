"""The bounds of a call: its deadline and that of an attempt, which cut at their moments and for themselves alone."""

from __future__ import annotations

import asyncio
import math

import anyio
import attrs
import pytest
import trio
from trio.testing import MockClock

from asyncrouter.engine.bounds import bounds_of
from asyncrouter.engine.timers import Timers
from asyncrouter.testing import VirtualDeadlock, run_virtual


@attrs.define
class Patient:
    """Gives so many seconds more each time that it is asked."""

    more: list[float]

    def more_s(self) -> float:
        return self.more.pop(0)


async def bounded(timers, deadline_s, attempts, started=None):
    """Make attempts that never answer, each with its bound in seconds; return when what was cut."""
    began = anyio.current_time()
    told = []
    bounds = bounds_of(deadline_s, timers)
    if started is not None:
        started.append(bounds)
    try:
        for bound_s, more in attempts:
            bounds.narrow(bound_s, Patient([*more, 0.0]))
            try:
                await anyio.sleep(math.inf)
            except BaseException as error:
                if bounds.widen(error) is None:
                    raise
            told.append(("attempt", anyio.current_time() - began))
        await anyio.sleep(math.inf)
    except BaseException as error:
        if not bounds.leave(error):
            raise
    told.append(("call", anyio.current_time() - began))
    return told


CASES = [
    (5.0, [], [("call", 5.0)]),
    (0.3, [], [("call", 0.3)]),
    (-1.0, [], [("call", 0.0)]),
    (7.5, [(2.25, [])], [("attempt", 2.25), ("call", 7.5)]),
    (0.9, [(0.2, [])], [("attempt", 0.2), ("call", 0.9)]),
    (1.4, [(0.2, []), (1.1, [])], [("attempt", 0.2), ("attempt", 1.3), ("call", 1.4)]),
    (
        60.0,
        [(20.0, []), (0.5, []), (30.0, [])],
        [("attempt", 20.0), ("attempt", 20.5), ("attempt", 50.5), ("call", 60.0)],
    ),
]


@pytest.mark.parametrize(("deadline_s", "attempts", "told"), CASES)
@pytest.mark.parametrize("later_s", [0.0, 0.4, 0.9999])
def test_each_cuts_at_its_moment(deadline_s, attempts, told, later_s):
    async def main():
        timers = Timers()
        await anyio.sleep(later_s)
        found = await bounded(timers, deadline_s, attempts)
        assert [kind for kind, _ in found] == [kind for kind, _ in told]
        assert [at for _, at in found] == pytest.approx([at for _, at in told])
        assert len(timers) == 0

    run_virtual(main)
    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_an_attempt_is_given_more_time_and_no_more_than_the_call_has():
    async def main():
        assert await bounded(Timers(), 10.0, [(2.0, [3.5])]) == [("attempt", 5.5), ("call", 10.0)]
        assert await bounded(Timers(), 10.0, [(2.0, [30.0])]) == [("call", 10.0)]

    run_virtual(main)


def test_what_is_done_in_time_leaves_nothing():
    async def main():
        timers = Timers()
        bounds = bounds_of(5.0, timers)
        for _ in range(3):
            bounds.narrow(0.5, Patient([]))
            await asyncio.sleep(0.4)
            assert bounds.widen(None) is None
            bounds.narrow(2.0, Patient([]))
            assert bounds.widen(KeyError()) is None
        assert bounds.leave(None) is False
        assert len(timers) == 0
        await asyncio.sleep(60)
        assert not [one for one in asyncio.get_running_loop()._scheduled if not one.cancelled()]

    run_virtual(main)


def test_cutting_it_ends_what_is_awaited_and_is_its_own():
    async def main():
        started = []
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(bounded(Timers(), math.inf, [(50.0, [])], started))
            await asyncio.sleep(3)
            started[0].cut()
        assert call.result() == [("call", 3.0)]

    run_virtual(main)


@pytest.mark.parametrize("deadline_s", [4.0, 60.0, math.inf])
@pytest.mark.parametrize("at", [1.0, 2.0, 3.9])
def test_a_cancellation_from_outside_is_nobodys_cut(deadline_s, at):
    """At 2 s it comes at the moment at which the attempt is cut."""

    async def main():
        task = asyncio.create_task(bounded(Timers(), deadline_s, [(2.0, [])]))
        asyncio.get_running_loop().call_at(at, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main)


def test_a_deadline_cuts_an_attempt_that_does_not_heed_its_own_cut():
    async def heedless():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    async def main():
        bounds = bounds_of(5.0, Timers())
        bounds.narrow(2.0, Patient([0.0]))
        with pytest.raises(asyncio.CancelledError) as caught:
            await heedless()
        assert asyncio.get_running_loop().time() == 5.0
        assert bounds.widen(caught.value) is None
        assert bounds.leave(caught.value)
        assert asyncio.current_task().cancelling() == 0

    run_virtual(main)


def test_without_a_deadline_nothing_keeps_the_loop_busy():
    async def main():
        assert await bounded(Timers(), math.inf, [(2.0, [])]) == "never"

    with pytest.raises(VirtualDeadlock):
        run_virtual(main)


def test_an_error_that_replaces_the_cut_is_no_cut():
    async def main():
        bounds = bounds_of(9.0, Timers())
        bounds.narrow(2.0, Patient([0.0]))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert bounds.widen(KeyError()) is None
        assert not bounds.leave(None)
        assert asyncio.current_task().cancelling() == 0

    run_virtual(main)
