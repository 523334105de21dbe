"""Retry-After: obeyed, never shortened, never a reason to wait in vain."""

from __future__ import annotations

import anyio
import pytest
from routed import EXACT, routed

from asyncrouter import AllAttemptsFailed, Overloaded, RateLimited, ServerError
from asyncrouter.testing import Fail, Reply, Slow
from asyncrouter.types.errors import Disposition


async def test_the_deployment_is_set_aside_for_the_time_it_asked_for():
    async with routed({"a": Fail(RateLimited, retry_after_s=20), "b": Reply()}) as r:
        await r.ask()
        assert r.state("a").ready_at == 20.0
        await r.ask()
        assert r.called == ["a", "b", "b"], "no call while it cools"
        await anyio.sleep(20)
        await r.ask()
    assert r.called[3] == "a"


async def test_that_is_no_sign_of_a_broken_deployment():
    async with routed(Fail(Overloaded, retry_after_s=0.5), breaker={"failures": 2}, retry="none") as r:
        for _ in range(6):
            await r.fails(AllAttemptsFailed)
            await anyio.sleep(1)
        assert r.router.metrics().deployments["a"].breaker == "closed"


@pytest.mark.parametrize(("first", "second", "until"), [(30, 5, 31.0), (5, 30, 32.0)])
async def test_a_cooldown_that_runs_is_never_shortened(first, second, until):
    script = [
        Slow(1, then=Fail(RateLimited, retry_after_s=first)),
        Slow(2, then=Fail(RateLimited, retry_after_s=second)),
    ]
    async with routed(script, groups={"chat": {"deployments": ["a"], "retry": "none"}}) as r:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.fails, AllAttemptsFailed)
            tasks.start_soon(r.fails, AllAttemptsFailed)
        assert anyio.current_time() == 2.0
        assert r.state("a").cooldown_until == until


async def test_a_cooldown_is_capped():
    async with routed({"a": Fail(RateLimited, retry_after_s=10**9), "b": Reply()}) as r:
        await r.ask()
        assert r.state("a").ready_at == 300.0


async def test_a_rate_limit_that_names_no_time_sets_aside_for_a_second():
    async with routed({"a": [Fail(RateLimited), Reply("a")], "b": Reply()}) as r:
        await r.ask()
        assert r.state("a").ready_at == 1.0
        await r.ask()
        assert r.called == ["a", "b", "b"], "no call while it cools"
        await anyio.sleep(1)
        assert (await r.ask()).text == "a"


async def test_one_that_another_try_would_not_cure_sets_nothing_aside():
    too_large = Fail(RateLimited("too large", disposition=Disposition.FALLBACK))
    async with routed({"a": too_large, "b": Reply()}) as r:
        for _ in range(2):
            await r.ask()
        assert r.called == ["a", "b", "a", "b"]


async def test_a_rate_limit_that_lasts_opens_the_breaker_in_the_end():
    async with routed({"a": Fail(RateLimited), "b": Reply()}, breaker={"failures": 3}) as r:
        for _ in range(3):
            await r.ask()
            await anyio.sleep(1)
        assert r.router.metrics().deployments["a"].breaker == "open"


async def test_the_wait_is_never_shorter_than_asked_for():
    async with routed(
        [Fail(RateLimited, retry_after_s=2.0), Reply("ok")], groups={"chat": {"deployments": ["a"]}}
    ) as r:
        reply = await r.ask()
    assert 2.0 <= r.timeline[1][1] <= 2.2
    assert reply.trace.waits == 1


async def test_the_wait_is_the_backoff_where_that_is_longer():
    retry = {**EXACT, "initial_delay_s": 10.0}
    script = [Fail(RateLimited, retry_after_s=2.0), Reply("ok")]
    async with routed(script, groups={"chat": {"deployments": ["a"], "retry": retry}}) as r:
        await r.ask()
    assert 10.0 <= r.timeline[1][1] <= 10.2


async def test_two_deployments_that_both_ask_for_a_second_of_patience_succeed():
    script = {name: [Fail(RateLimited, retry_after_s=1.0), Reply(name)] for name in "ab"}
    async with routed(script, fallbacks=[]) as r:
        reply = await r.ask()
    assert reply.text == "b"
    assert [name for name, _ in r.timeline[:3]] == ["a", "b", "b"]
    assert 1.0 <= r.timeline[2][1] <= 1.1


async def test_both_are_waited_for_again_in_the_next_round():
    script = {
        "a": [Fail(RateLimited, retry_after_s=1.0), Reply("a")],
        "b": [Fail(RateLimited, retry_after_s=1.0), Fail(RateLimited, retry_after_s=30.0), Reply("b")],
    }
    async with routed(script, retry=EXACT) as r:
        reply = await r.ask()
    assert reply.text == "a", "b is out for 30 s, a is back"
    assert [name for name, _ in r.timeline[:4]] == ["a", "b", "b", "a"]


async def test_a_time_longer_than_the_cap_is_not_waited_for():
    script = {"a": Fail(RateLimited, retry_after_s=61), "b": Fail(RateLimited, retry_after_s=61)}
    async with routed(script, deadline_s=1000) as r:
        await r.fails(AllAttemptsFailed)
        assert anyio.current_time() == 0.0


async def test_a_time_beyond_the_deadline_is_not_waited_for():
    script = {"a": Fail(RateLimited, retry_after_s=20), "b": Fail(RateLimited, retry_after_s=20)}
    async with routed(script) as r:
        error = await r.fails(AllAttemptsFailed, deadline_s=10)
        assert anyio.current_time() == 0.0
    assert any("does not fit the deadline" in note for note in error.trace.notes)


async def test_too_long_a_time_skips_to_the_next_group_at_once():
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["other"]}, "other": {"deployments": ["x"]}}
    async with routed({"a": Fail(RateLimited, retry_after_s=3.0), "x": Reply("x")}, groups=groups) as r:
        assert (await r.ask()).text == "x"
        assert anyio.current_time() == 0.0
        assert r.state("a").ready_at == 3.0


async def test_a_longer_time_of_one_does_not_keep_the_others_from_a_round():
    script = {"a": [Fail(RateLimited, retry_after_s=5.0), Reply("a")], "b": Fail(RateLimited, retry_after_s=100.0)}
    async with routed(script) as r:
        reply = await r.ask()
    assert reply.text == "a"
    assert 5.0 <= r.timeline[2][1] <= 5.5


@pytest.mark.parametrize("bad", [float("nan"), -5.0, 0.0])
async def test_a_time_that_is_no_time_counts_as_none(bad):
    script = {"a": [Fail(ServerError, retry_after_s=bad), Reply("a")]}
    async with routed(script, groups={"chat": {"deployments": ["a"], "retry": EXACT, "breaker": {"failures": 2}}}) as r:
        await r.ask()
        assert r.timeline == [("a", 0.0), ("a", 1.0)]
        assert r.state("a").cooldown_until == float("-inf")


async def test_such_a_failure_counts_for_the_breaker():
    async with routed({"a": Fail(ServerError, retry_after_s=-1.0), "b": Reply()}, breaker={"failures": 1}) as r:
        await r.ask()
        assert r.router.metrics().deployments["a"].breaker == "open"
