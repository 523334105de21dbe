"""Rows B01, B02 and C05: flaps, and whatever ends a probe.  Virtual time throughout."""

from __future__ import annotations

import asyncio

import pytest
from outages import ALONE, PROBES_A_MINUTE, began, down, now, traffic

from asyncrouter import AllAttemptsFailed, ContentFiltered, InvalidRequest, RateLimited, ServerError
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.types.metrics import BreakerState

# ---------------------------------------------------------------- B01: flaps


@pytest.mark.parametrize("seed", range(8))
async def test_b01_a_minutes_outage_is_served_by_the_fallback_and_the_primary_is_back_within_30_s(faults, seed):
    async with faults(down((30.0, 90.0)), seed=seed) as f:
        answers = await traffic(f, 5, 150.0)
        assert {answer.text for answer in answers} == {"up"}
        assert len(began(f, "a", 30.0, 90.0)) <= 5 + PROBES_A_MINUTE
        back = [moment for moment in began(f, "a", 90.0) if moment < 120.0]
        assert back
        assert len(began(f, "a", 129.9, 149.9)) == 100


async def test_b01_an_upstream_that_flaps_for_ten_minutes_costs_no_call(faults):
    outages = [(60.0 * number, 60.0 * number + 30.0) for number in range(1, 10)]
    async with faults(down(*outages)) as f:
        answers = await traffic(f, 2, 630.0)
        assert {answer.text for answer in answers} == {"up"}
        for begin, end in outages:
            assert len(began(f, "a", begin, end)) <= 5 + PROBES_A_MINUTE
            assert began(f, "a", end, end + 30.0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_b01_once_the_breaker_is_open_the_fallback_adds_no_time(faults, streamed):
    """Median added: 0 ms, exactly; what is set aside is passed over without a call and without a wait."""
    async with faults({"a": Slow(3.0, then=Fail(ServerError)), "b": Slow(0.2, then=Reply("b"))}) as f:
        took = []
        for _ in range(40):
            began_at = now()
            reply = (await f.read())[1] if streamed else await f.ask()
            took.append(now() - began_at)
            assert reply.text == "b"
        assert [round(seconds, 9) for seconds in took[:5]] == [3.2] * 5
        assert sorted(took)[len(took) // 2] == pytest.approx(0.2, abs=1e-9)
        probes = [seconds for seconds in took[5:] if seconds > 0.2 + 1e-9]
        assert len(probes) <= 3
        assert all(seconds == pytest.approx(3.2) for seconds in probes)


# ---------------------------------------------------------------- B02: probes


@pytest.mark.parametrize(
    "end", [Fail(InvalidRequest), Fail(ContentFiltered), Fail(RateLimited, retry_after_s=2.0), Hang(), "cancelled"]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_b02_whatever_ends_a_probe_gives_its_slot_back(faults, end, streamed):
    probe = Hang() if end == "cancelled" else end
    timeouts = {"attempt_s": 4.0, "first_token_s": 4.0}
    script = {"a": [Fail(ServerError), probe, Reply("back")], "b": Reply("b")}
    async with faults(script, breaker={"failures": 1, "open_s": 5.0}, timeouts=timeouts) as f:
        await f.ask()
        await asyncio.sleep(5.0)
        task = asyncio.create_task(f.caught(f.read() if streamed else f.ask()))
        if end == "cancelled":
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        assert not f.state("a").breaker.is_probing
        assert len(began(f, "a")) == 2
        await asyncio.sleep(f.state("a").ready_at - now() if f.state("a").ready_at > now() else 0.0)
        assert (await f.ask()).text == "back"
        assert f.state("a").breaker.state is BreakerState.CLOSED


async def test_b02_while_a_probe_hangs_the_others_are_served_elsewhere(faults):
    script = {"a": [Fail(ServerError), Hang(), Reply("back")], "b": Reply("b")}
    async with faults(script, breaker={"failures": 1, "open_s": 5.0}, timeouts={"attempt_s": 30.0}) as f:
        await f.ask()
        await asyncio.sleep(5.0)
        probing = f.begin()
        await asyncio.sleep(1.0)
        assert [one.text for one in await f.many(50)] == ["b"] * 50
        assert len(began(f, "a")) == 2
        assert (await probing).text == "b"
        assert now() == 35.0
        assert f.state("a").breaker.state is BreakerState.OPEN


async def test_b02_where_nothing_else_is_left_a_slow_probe_is_waited_for_to_its_end(faults):
    """A probe of 12 s, longer than any row of looks would have been: whoever waits is woken when it answers."""
    script = [Fail(ServerError), Slow(12.0, then=Reply("back")), Reply("back")]
    async with faults(script, groups={"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}}}) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(5.0)
        probing = f.begin()
        await asyncio.sleep(0.5)
        replies = await f.many(5, deadline_s=15.0)
        assert [reply.text for reply in replies] == ["back"] * 5
        assert now() == 17.0
        assert (await probing).text == "back"


# ---------------------------------------------------------------- C05


@pytest.mark.parametrize("streamed", [False, True])
async def test_c05_a_thousand_callers_that_leave_a_half_open_breaker(faults, streamed):
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}}}
    async with faults([Fail(ServerError), *[Hang()] * 50, Reply("back")], groups=groups) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(5.0)
        tasks = [asyncio.create_task(f.read() if streamed else f.ask()) for _ in range(1000)]
        await asyncio.sleep(0.5)
        assert f.state("a").breaker.is_probing
        assert len(f.sent) == 2
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert not f.state("a").breaker.is_probing
        f.provider.play(Reply("back"))
        assert (await f.ask()).text == "back"
        assert f.state("a").breaker.state is BreakerState.CLOSED
