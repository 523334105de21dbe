"""N10: every slot of a deployment is taken.

Wait no longer than the pool's timeout, then another target; first come first served, in a bounded line.
"""

from __future__ import annotations

import asyncio

import attrs
import pytest

from asyncrouter import NoDeploymentAvailable
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.testing.http_script import Gate, completion
from asyncrouter.types.errors import ServerError

ONE = {"limits": {"concurrency": 1}}
PATIENT_S = 0.2


def spare(queue_s=5.0, **chat):
    """Return two groups, the second of which is asked when the first is busy."""
    return {
        "chat": {"deployments": ["a"], "fallbacks": ["spare"], "timeouts": {"queue_s": queue_s}, **chat},
        "spare": {"deployments": ["b"]},
    }


def gated(text):
    """Return an answer that is held back, and the gate that holds it."""
    gate = Gate()
    return attrs.evolve(completion(text), gate=gate), gate


async def some_turns():
    """Let the event loop run what is ready: a call that was begun then stands in line."""
    for _ in range(5):
        await asyncio.sleep(0)


# ---------------------------------------------------------------- over sockets


async def test_n10_no_slot_in_time_over_sockets_another_target_answers(wall):
    held, gate = gated("a")
    async with wall({"a": [held, completion("a")], "b": completion("b")}, deployments={"a": ONE},
                    groups=spare(PATIENT_S)) as f:  # fmt: skip
        first = f.begin()
        await f.server.received(1)
        began = f.now()
        assert (await f.ask()).text == "b"
        assert f.now() - began >= PATIENT_S
        gate.release()
        assert (await first).text == "a"
        assert f.asked == ["a", "b"]


async def test_n10_a_slot_in_time_over_sockets_is_taken_in_order(wall):
    held, gate = gated("first")
    async with wall({"a": [held, *map(completion, ["second", "third", "fourth"])], "b": completion("b")},
                    deployments={"a": ONE}, groups=spare(30.0)) as f:  # fmt: skip
        calls = []
        for number in range(4):
            calls.append(f.begin())
            await some_turns()
            assert f.router.metrics().deployments["a"].waiting == number
        gate.release()
        assert [(await one).text for one in calls] == ["first", "second", "third", "fourth"]
        assert f.asked == ["a"] * 4


async def test_n10_callers_who_leave_the_line_over_sockets_leave_their_slots(wall):
    held, gate = gated("first")
    async with wall({"a": [held, completion("last")]}, deployments={"a": ONE}) as f:
        calls = [f.begin() for _ in range(6)]
        await some_turns()
        assert f.router.metrics().deployments["a"].waiting == 5
        for one in calls[1:5]:
            one.cancel()
        gate.release()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(end, "text", "left") for end in ends] == ["first", *["left"] * 4, "last"]
        assert f.asked == ["a", "a"]


# ---------------------------------------------------------------- in virtual time, exactly


@pytest.mark.parametrize("streamed", [False, True])
async def test_n10_the_wait_is_the_pools_timeout_exactly(faults, streamed):
    async with faults({"a": Slow(10), "b": Reply("b")}, deployments={"a": ONE}, groups=spare(3.0)) as f:
        await f.many(3, streamed=streamed)
        assert f.timeline == [("a", 0.0), ("b", 3.0), ("b", 3.0)]


async def test_n10_first_come_first_served(faults):
    async with faults(Slow(1), deployments={"a": ONE}, groups=spare(99.0)) as f:
        served = []

        async def one(number):
            await asyncio.sleep(number * 0.01)
            await f.ask(deadline_s=99.0)
            served.append(number)

        await asyncio.gather(*(one(number) for number in reversed(range(50))))
        assert served == list(range(50))
        assert f.called == ["a"] * 50


async def test_n10_failures_hand_their_slots_on(faults):
    def mostly_failing(_request, _deployment, number):
        return Slow(0.1, then=Reply()) if number % 3 == 0 else Slow(0.1, then=Fail(ServerError))

    breaker = {"failures": 99, "ratio": 1.0}
    groups = {"chat": {"deployments": ["a"], "retry": "none", "breaker": breaker}}
    async with faults(mostly_failing, deployments={"a": ONE}, groups=groups) as f:
        ends = await f.many(30)
        assert sum(hasattr(end, "text") for end in ends) == 10
        assert [moment for _, moment in f.timeline] == pytest.approx([0.1 * number for number in range(30)])


async def test_n10_the_line_is_bounded(faults):
    groups = {"chat": {"deployments": ["a"]}}
    table = {"limits": {"concurrency": 2, "queue": 3}}
    async with faults(Slow(1), deployments={"a": table}, groups=groups) as f:
        ends = await f.many(20)
        assert [type(end) for end in ends[5:]] == [NoDeploymentAvailable] * 15
        assert [end.text for end in ends[:5]] == ["ok"] * 5


async def test_n10_a_pool_that_never_frees_hangs_nobody_beyond_his_deadline(faults):
    groups = {"chat": {"deployments": ["a"], "timeouts": {"attempt_s": 500.0}}}
    async with faults(Hang(), deployments={"a": ONE}, groups=groups) as f:
        holder = f.begin(deadline_s=400.0)
        await asyncio.sleep(1.0)
        await f.many(10, deadline_s=20.0)
        assert f.now() == 21.0
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
