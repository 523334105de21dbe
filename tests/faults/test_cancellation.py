"""A caller that goes: at every single await of every kind of call."""

from __future__ import annotations

import asyncio

import pytest
from cancelling import Driven, pending, too_late

from asyncrouter.testing import Hang, Slow, Stream, VirtualClockLoop

OK = Slow(1.0, then=Stream(["one ", "two"], pause_s=1.0))
HEDGED = {"script": {"a": Slow(9.0, then=OK), "b": OK}, "hedge": {"at": 1.0, "max_extra_load": 1.0}}
QUEUED = {
    "script": [Slow(2.0), OK],
    "groups": {"chat": {"deployments": ["a"]}},
    "deployments": {"a": {"limits": {"concurrency": 1}}},
}
KINDS = {
    "plain": ({"script": OK}, False),
    "streamed": ({"script": OK}, True),
    "hedged": (HEDGED, False),
    "hedged stream": (HEDGED, True),
    "queued": (QUEUED, False),
    "queued stream": (QUEUED, True),
    "recovering": ({"script": {"a": Hang(), "b": OK}, "timeouts": {"attempt_s": 4.0, "first_token_s": 2.0}}, False),
    "recovering stream": ({"script": {"a": Hang(), "b": OK}, "timeouts": {"first_token_s": 2.0}}, True),
}


class TurningLoop(VirtualClockLoop):
    """A loop in virtual time that cancels its ``victim`` before turn number ``at`` of those since it is known."""

    victim = None
    turns = at = 0

    def _run_once(self):
        if self.victim is not None and not self.victim.done():
            self.turns += 1
            if self.turns == self.at:
                self.victim.cancel()
        super()._run_once()


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": TurningLoop}


def nobody(_awaited):
    """Cancel nothing."""


async def one_call(faults, kind, cancel, number, turn=0):
    """Make a call of *kind* and cancel it at await *number*; return its awaits and how it ended."""
    settings, streamed = KINDS[kind]
    settings = dict(settings)
    awaits = 0
    outcome = "ended"

    def at_await(awaited):
        nonlocal awaits
        awaits += 1
        if awaits == number:
            cancel(awaited)

    async with faults(settings.pop("script"), **settings) as f:
        before = f.begin() if "queued" in kind else None
        await asyncio.sleep(0)

        async def driven():
            return await Driven(f.read() if streamed else f.ask(), at_await)

        loop = asyncio.get_running_loop()
        task = loop.create_task(driven())
        loop.victim, loop.turns, loop.at = task, 0, turn
        try:
            await task
        except asyncio.CancelledError:
            outcome = "cancelled"
        turns = loop.turns
        if before is not None:
            await before
        breakers = {one.breaker for one in f.router.metrics().deployments.values()}
        assert breakers == {"closed"}, "the deployment has done nothing"
        assert f.router.metrics().total.failures == 0
    return awaits, turns, outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cancel", [pending, too_late])
async def test_c03_a_task_cancelled_at_any_await_ends_cancelled_and_leaves_nothing(faults, kind, cancel):
    awaits, _turns, outcome = await one_call(faults, kind, nobody, 0)
    assert (awaits > 0, outcome) == (True, "ended")
    outcomes = [(await one_call(faults, kind, cancel, number))[2] for number in range(1, awaits + 1)]
    assert set(outcomes) == {"cancelled"}


@pytest.mark.parametrize("kind", KINDS)
async def test_c03_a_task_cancelled_at_any_turn_of_the_loop_ends_cancelled_and_leaves_nothing(faults, kind):
    """Its attempts run in tasks of their own where they are hedged: what happens in those is in between its awaits."""
    _awaits, turns, outcome = await one_call(faults, kind, nobody, 0)
    assert (turns > 0, outcome) == (True, "ended")
    outcomes = [(await one_call(faults, kind, nobody, 0, turn))[2] for turn in range(1, turns + 1)]
    assert set(outcomes) <= {"cancelled", "ended"}
    assert outcomes.count("ended") <= 1, "only in the turn in which it ends can a cancellation come too late"
