"""Who may be called: breakers and their probes; what happens when nobody is ready."""

from __future__ import annotations

import anyio
import pytest
from routed import ALONE, routed, together

from asyncrouter import (
    AllAttemptsFailed,
    ContentFiltered,
    DeadlineExceeded,
    InvalidRequest,
    NoDeploymentAvailable,
    RateLimited,
    ServerError,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow

# ---------------------------------------------------------------- open breakers, and their probes


async def test_an_open_breaker_skips_without_a_call():
    async with routed({"a": Fail(ServerError), "b": Reply("b")}, breaker={"failures": 3}) as r:
        for _ in range(10):
            assert (await r.ask()).text == "b"
        assert r.called.count("a") == 3
        assert r.recorder.breaker_changes == [("a", "closed", "open")]


async def test_one_probe_brings_it_back():
    script = {"a": [Fail(ServerError)] * 3 + [Reply("back")], "b": Reply("b")}
    async with routed(script, breaker={"failures": 3, "open_s": 5.0}) as r:
        for _ in range(3):
            await r.ask()
        await anyio.sleep(5.0)
        assert (await r.ask()).text == "back"
        assert r.recorder.breaker_changes == [
            ("a", "closed", "open"),
            ("a", "open", "half_open"),
            ("a", "half_open", "closed"),
        ]
        assert (await r.ask()).text == "back"


async def test_one_probe_at_a_time():
    script = {"a": [Fail(ServerError), Slow(10, then=Reply("back"))], "b": Reply("b")}
    async with routed(script, breaker={"failures": 1, "open_s": 5.0}) as r:
        await r.ask()
        await anyio.sleep(5.0)
        answers = []

        async def ask():
            answers.append((await r.ask()).deployment)

        await together(*[ask] * 20)
        assert sorted(answers) == ["a"] + ["b"] * 19
        assert r.called.count("a") == 2


async def test_others_wait_for_a_slow_probe_where_nothing_else_is_left():
    script = [Fail(ServerError), Slow(4, then=Reply("back")), Reply("back")]
    async with routed(
        script,
        groups=ALONE | {"chat": {"deployments": ["a"], "retry": "none", "breaker": {"failures": 1, "open_s": 5.0}}},
    ) as r:
        await r.fails(AllAttemptsFailed)
        await anyio.sleep(5.0)
        replies = []

        async def ask():
            replies.append((await r.ask()).text)

        await together(*[ask] * 5)
        assert replies == ["back"] * 5
        assert r.router.metrics().deployments["a"].failures == 1


async def test_a_failed_probe_opens_it_for_longer():
    async with routed(
        {"a": Fail(ServerError), "b": Reply()}, breaker={"failures": 1, "open_s": 5, "open_cap_s": 20}
    ) as r:
        opened = []
        for _ in range(5):
            await r.ask()
            state = r.state("a")
            opened.append(state.ready_at - anyio.current_time())
            await anyio.sleep(state.ready_at - anyio.current_time())
        for seconds, bound in zip(opened, [5, 10, 20, 20, 20], strict=True):
            assert bound / 2 <= seconds <= bound


async def test_a_probe_that_a_caller_leaves_is_given_back():
    script = {"a": [Fail(ServerError), Hang(), Reply("back")], "b": Reply("b")}
    async with routed(script, breaker={"failures": 1, "open_s": 5.0}) as r:
        await r.ask()
        await anyio.sleep(5.0)
        with anyio.move_on_after(1.0):
            await r.ask()
        assert (await r.ask()).text == "back"


@pytest.mark.parametrize("error", [InvalidRequest, ContentFiltered])
async def test_a_probe_that_meets_a_fault_of_the_request_is_given_back(error):
    script = {"a": [Fail(ServerError), Fail(error), Reply("back")], "b": Reply("b")}
    async with routed(script, breaker={"failures": 1, "open_s": 5.0}) as r:
        await r.ask()
        await anyio.sleep(5.0)
        await r.fails(error)
        assert r.router.metrics().deployments["a"].breaker == "half_open"
        assert (await r.ask()).text == "back"


async def test_a_probe_that_is_told_to_wait_is_given_back():
    script = {"a": [Fail(ServerError), Fail(RateLimited, retry_after_s=3.0), Reply("back")], "b": Reply("b")}
    async with routed(script, breaker={"failures": 1, "open_s": 5.0}) as r:
        await r.ask()
        await anyio.sleep(5.0)
        assert (await r.ask()).text == "b"
        assert r.state("a").ready_at - anyio.current_time() == pytest.approx(3.0)
        await anyio.sleep(3.0)
        assert (await r.ask()).text == "back"


async def test_many_callers_that_leave_do_not_wedge_a_half_open_breaker():
    script = [Fail(ServerError), *[Hang()] * 100, Reply("back")]
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}}}
    async with routed(script, groups=groups) as r:
        await r.fails(AllAttemptsFailed)
        await anyio.sleep(5.0)

        async def leave():
            with anyio.move_on_after(0.5):
                await r.ask()

        for _ in range(100):
            await together(*[leave] * 10)
        assert (await r.ask()).text == "back"


async def test_the_ratio_of_failures_opens_it_too():
    def every_second(_request, _deployment, number):
        return Fail(ServerError) if number % 2 else Reply()

    breaker = {"failures": 100, "ratio": 0.5, "min_calls": 20, "window_s": 30.0}
    async with routed({"a": every_second, "b": Reply()}, breaker=breaker) as r:
        for _ in range(19):
            await r.ask()
        assert r.router.metrics().deployments["a"].breaker == "closed"
        await r.ask()
        await r.ask()
        assert r.router.metrics().deployments["a"].breaker == "open"


async def test_an_outage_of_everything_costs_few_calls():
    async with routed(Fail(ServerError), retry={"use": "exponential", "max_retries": 5}) as r:
        for _ in range(200):
            with pytest.raises((AllAttemptsFailed, DeadlineExceeded, NoDeploymentAvailable)):
                await r.ask(deadline_s=1.0)
            await anyio.sleep(0.05)
        assert len(r.provider.calls) <= 1.2 * 200 + 3
        assert len(r.provider.calls) < 60


# ---------------------------------------------------------------- nobody is ready


async def test_the_soonest_is_waited_for_where_that_fits():
    async with routed(Reply("ok")) as r:
        r.state("a").cool_until(9.0)
        r.state("b").cool_until(4.0)
        reply = await r.ask()
        assert r.timeline == [("b", 4.0)]
    assert (reply.trace.waits, reply.trace.waited_s) == (1, 4.0)
    assert reply.trace.attempts[0].kind == "first"


async def test_a_fallback_group_comes_before_any_wait():
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["other"]}, "other": {"deployments": ["x"]}}
    async with routed(Reply("ok"), groups=groups) as r:
        r.state("a").cool_until(9.0)
        reply = await r.ask()
        assert r.timeline == [("x", 0.0)]
    assert reply.trace.attempts[0].reason == "no deployment of chat was ready"
    assert reply.trace.attempts[0].kind == "fallback"


async def test_the_soonest_of_all_groups_is_waited_for():
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["other"]}, "other": {"deployments": ["x"]}}
    async with routed(Reply("ok"), groups=groups) as r:
        r.state("a").cool_until(9.0)
        r.state("x").cool_until(3.0)
        await r.ask()
        assert r.timeline == [("x", 3.0)]


async def test_the_wait_that_does_not_fit_is_told():
    async with routed() as r:
        r.state("a").cool_until(90.0)
        r.state("b").cool_until(70.0)
        error = await r.fails(NoDeploymentAvailable)
        assert anyio.current_time() == 0.0
    assert error.retry_after_s == 70.0
    assert str(error) == "every deployment of chat is set aside; the first may be ready in 70 s"


async def test_no_wait_can_help_when_nobody_suits():
    deployments = {name: {"capabilities": ["streaming"]} for name in "ab"}
    async with routed(deployments=deployments) as r:
        error = await r.fails(NoDeploymentAvailable, tools=[{"type": "function", "function": {"name": "f"}}])
        assert anyio.current_time() == 0.0
    assert error.retry_after_s is None
    assert "filters left none" in str(error)


async def test_a_fallback_group_may_suit():
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["other"]}, "other": {"deployments": ["x"]}}
    async with routed(groups=groups, deployments={"a": {"capabilities": []}}, alive=False) as r:
        reply = await r.ask(tools=[{"type": "function", "function": {"name": "f"}}])
    assert reply.deployment == "x"


async def test_attempts_that_failed_are_told_when_the_wait_for_the_rest_does_not_fit():
    script = {"a": Fail(RateLimited, retry_after_s=100.0), "b": Fail(RateLimited, retry_after_s=100.0)}
    async with routed(script) as r:
        error = await r.fails(AllAttemptsFailed)
        assert [one.deployment for one in error.errors] == ["a", "b"]
        error = await r.fails(NoDeploymentAvailable)
        assert error.retry_after_s == 100.0
        assert error.trace.attempts == ()
