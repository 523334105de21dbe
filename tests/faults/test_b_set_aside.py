"""Rows B03 and B04: everything is set aside, and cooldowns that are never shortened.  Virtual time throughout."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from outages import ALONE, began, down, now, traffic

from asyncrouter import AllAttemptsFailed, AsyncRouterError, NoDeploymentAvailable, RateLimited, ServerError
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.types.metrics import BreakerState

# ---------------------------------------------------------------- B03: everything is set aside


async def test_b03_one_forced_probe_and_a_typed_error_for_the_others(faults):
    async with faults(Fail(ServerError), breaker={"failures": 1, "open_s": 20.0}, retry="none") as f:
        await f.fails(AllAttemptsFailed)
        assert f.called == ["a", "b"]
        f.provider.play(Slow(0.5, then=Fail(ServerError)))
        await asyncio.sleep(5.0)
        for one in await f.many(20, deadline_s=3.0):  # neither has rested for half of open_s
            assert type(one) is NoDeploymentAvailable
            assert 0.0 < one.retry_after_s <= 15.0
        assert now() == 5.0
        await asyncio.sleep(5.0)
        ends = await f.many(20, deadline_s=3.0)
        assert Counter(type(one) for one in ends) == {AllAttemptsFailed: 1, NoDeploymentAvailable: 19}
        assert f.timeline[2:] == [("a", 10.0), ("b", 10.5)]  # one after the other, by the same request
        assert now() <= 13.0
        assert type(await f.fails(NoDeploymentAvailable, deadline_s=3.0)) is NoDeploymentAvailable
        assert len(f.called) == 4


async def test_b03_a_fleet_that_is_back_is_found_out_before_the_breakers_time_is_over(faults):
    """The breakers' own times have grown to 20 s; the first call after half of open_s finds the fleet."""
    async with faults(down((0.0, 300.0), names="ab")) as f:
        await traffic(f, 1, 300.0, deadline_s=1.0)
        answers = await traffic(f, 10, 310.0, deadline_s=1.0)
        lost = [number for number, answer in enumerate(answers) if isinstance(answer, AsyncRouterError)]
        assert max(lost, default=0) <= 25  # 2.5 s
        assert len(began(f, "a", 60.0, 300.0)) + len(began(f, "b", 60.0, 300.0)) <= 240


async def test_b03_a_forced_probe_costs_its_request_nothing(faults):
    """Chosen to look after half of open_s, it fails, and waits on as if it had never looked."""
    script = [*[Fail(ServerError)] * 4, Reply("back")]
    async with faults(script, breaker={"failures": 1, "open_s": 8.0}, retry="none") as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(4.0)
        reply = await f.ask()
        assert reply.text == "back"
        assert [one.reason for one in reply.trace.attempts[:2]] == ["every deployment is set aside"] * 2
        assert (reply.trace.waits, len(reply.trace.attempts)) == (1, 3)


async def test_b03_who_waits_is_woken_when_one_is_back(faults):
    async with faults(
        {"a": [Fail(ServerError), Reply("a")], "b": Fail(ServerError)},
        breaker={"failures": 1, "open_s": 20.0, "open_cap_s": 20.0},
        retry="none",
    ) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(1.0)
        waiting = asyncio.create_task(f.many(3))
        await asyncio.sleep(9.0)
        assert (await f.ask()).text == "a"  # a forced probe
        assert [one.text for one in await waiting] == ["a"] * 3
        assert now() == 10.0


async def test_b03_nobody_waits_for_ever(faults):
    async with faults(Hang(), timeouts={"attempt_s": 5.0}, breaker={"failures": 1}) as f:
        ends = await f.many(50, deadline_s=40.0)
        assert all(isinstance(one, AsyncRouterError) for one in ends)
        assert now() <= 40.0


@pytest.mark.parametrize("unfit", ["tools", "cooldown", "rate"])
async def test_b03_a_pass_opens_nothing_but_a_breaker(faults, unfit):
    limits = {"rpm": 1} if unfit == "rate" else {}
    deployments = {"a": {"capabilities": [] if unfit == "tools" else ["tools"], "limits": limits}}
    async with faults(
        Fail(ServerError),
        groups=ALONE | {"chat": {**ALONE["chat"], "breaker": {"failures": 1}}},
        deployments=deployments,
        alive=False,
    ) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(4.0)
        if unfit == "cooldown":
            f.state("a").cool_until(50.0)
        tools = {"tools": [{"type": "function", "function": {"name": "f"}}]} if unfit == "tools" else {}
        await f.fails(NoDeploymentAvailable, deadline_s=0.5, **tools)
        assert len(f.called) == 1


@pytest.mark.parametrize("case", ["slow", "forced", "turn"])
async def test_b03_a_pass_that_finds_no_slot_is_no_endless_errand(faults, case):
    """The one slot is taken and its line is full: the request waits for something else to change, or gives up."""
    holder = Slow(6.0, then=Reply("held"))
    first = Slow(2.0, then=Reply("slow")) if case == "slow" else Fail(ServerError)
    breaker = {"failures": 1, "open_s": 8.0, "slow_s": 1.0 if case == "slow" else None}
    groups = {"chat": {**ALONE["chat"], "breaker": breaker}}
    limits = {"a": {"limits": {"concurrency": 1, "queue": 0}}}
    script = {"slow": [first, holder], "forced": [first, holder], "turn": [first, Reply("back"), holder]}[case]
    async with faults([*script, Reply("back")], groups=groups, deployments=limits) as f:
        if case == "slow":
            await f.ask()
        else:
            await f.fails(AllAttemptsFailed)
            await asyncio.sleep(8.0)
        if case == "turn":
            await f.ask()
            for _ in range(30):
                f.state("a").breaker.take_turn(now())
        holding = f.begin(deadline_s=0.9 if case == "turn" else 60.0)
        await asyncio.sleep(0.1)
        assert len(f.sent) == len(script)
        await f.fails(NoDeploymentAvailable, deadline_s=0.5)
        assert now() <= 9.0
        await f.caught(holding)


# ---------------------------------------------------------------- B04: cooldowns are never shortened


async def test_b04_a_second_cooldown_ends_no_earlier_than_the_first(faults):
    script = {
        "a": [
            Slow(1.0, then=Fail(RateLimited, retry_after_s=30.0)),
            Slow(2.0, then=Fail(RateLimited, retry_after_s=3.0)),
            Slow(3.0, then=Fail(RateLimited, retry_after_s=40.0)),
        ],
        "b": Reply("b"),
    }
    async with faults(script) as f:
        assert [one.text for one in await f.many(3)] == ["b"] * 3
        assert f.state("a").ready_at == 43.0
        f.state("a").cool_until(5.0)
        assert f.state("a").ready_at == 43.0


async def test_b04_a_cooldown_is_kept_by_those_whose_turn_has_come(faults):
    """They have waited for their turn while the deployment came back, and meanwhile it has asked for a pause."""
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}, "retry": {"use": "exponential"}}}
    script = [Fail(ServerError), *[Reply("back")] * 8, Fail(RateLimited, retry_after_s=20.0), Reply("back")]
    async with faults(script, groups=groups) as f:
        await f.fails(AllAttemptsFailed, deadline_s=0.5)
        await asyncio.sleep(5.0)
        await f.ask()
        answers = await f.many(30)
        assert {one.text for one in answers} == {"back"}
        paused_at = began(f, "a")[9]
        assert not began(f, "a", paused_at + 1e-6, paused_at + 20.0 - 1e-6)


async def test_b04_a_cooldown_outlasts_a_breaker_and_a_breaker_a_cooldown(faults):
    script = {
        "a": [Slow(1.0, then=Fail(RateLimited, retry_after_s=30.0)), Slow(2.0, then=Fail(ServerError))],
        "b": Reply("b"),
    }
    async with faults(script, breaker={"failures": 1}) as f:
        await f.many(2)
        assert f.state("a").breaker.state is BreakerState.OPEN
        assert f.state("a").ready_at == 31.0
