"""Who may be called: breakers, cooldowns, limits and slots; what happens when nobody may."""

from __future__ import annotations

import anyio
import pytest
from routed import EXACT, routed

from asyncrouter import (
    AllAttemptsFailed,
    ContentFiltered,
    DeadlineExceeded,
    InvalidRequest,
    NoDeploymentAvailable,
    RateLimited,
    ServerError,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream

ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}


async def together(*functions):
    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(function)


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


# ---------------------------------------------------------------- concurrency


async def test_slots_are_had_in_the_order_of_arrival():
    async with routed(Slow(1), groups=ALONE, deployments={"a": {"limits": {"concurrency": 2}}}) as r:
        served = []

        async def ask(number):
            await anyio.sleep(number * 0.01)
            await r.ask(metadata={"number": number})
            served.append((number, round(anyio.current_time(), 6)))

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(ask, number)
        assert max(_concurrency(r.provider.calls)) == 2
        assert [call.request.metadata["number"] for call in r.provider.calls] == [0, 1, 2, 3, 4, 5]
        assert served == [(0, 1.0), (1, 1.01), (2, 2.0), (3, 2.01), (4, 3.0), (5, 3.01)]


def _concurrency(calls):
    moments = sorted([(one.started_at, 1) for one in calls] + [(one.ended_at, -1) for one in calls])
    running = 0
    for _moment, change in moments:
        running += change
        yield running


async def test_a_slot_is_free_again_after_a_failure_a_timeout_and_a_caller_who_left():
    script = [Fail(ServerError), Hang(), Hang(), Reply("ok")]
    groups = {"chat": {"deployments": ["a"], "retry": "none", "timeouts": {"attempt_s": 2.0}}}
    async with routed(script, groups=groups, deployments={"a": {"limits": {"concurrency": 1}}}) as r:
        await r.fails(AllAttemptsFailed)
        await r.fails(AllAttemptsFailed)
        with anyio.move_on_after(1.0):
            await r.ask()
        assert (await r.ask()).text == "ok"


async def test_who_leaves_the_queue_does_not_hold_it_up():
    async with routed(Slow(2), groups=ALONE, deployments={"a": {"limits": {"concurrency": 1}}}) as r:

        async def impatient():
            with anyio.move_on_after(1.0):
                await r.ask()

        async with anyio.create_task_group() as tasks:
            for function in (r.ask, impatient, r.ask):
                tasks.start_soon(function)
                await anyio.sleep(0.1)
        assert anyio.current_time() == 4.0
        assert len(r.provider.calls) == 2


async def test_a_stream_holds_its_slot_until_it_is_left():
    async with routed(
        Stream(["a ", "b ", "c"], pause_s=1.0), groups=ALONE, deployments={"a": {"limits": {"concurrency": 1}}}
    ) as r:

        async def stream():
            async with r.stream() as stream:
                async for chunk in stream:
                    if chunk.text == "b ":
                        break

        await together(stream, stream)
        assert r.timeline == [("a", 0.0), ("a", 1.0)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_deployment_set_aside_while_its_slot_was_waited_for_is_passed_over(streamed):
    script = {"a": [Slow(3, then=Fail(ServerError)), Reply("a")], "c": Reply("c")}
    groups = {
        "chat": {"deployments": ["a"], "retry": "none", "breaker": {"failures": 1}, "fallbacks": ["last"]},
        "last": {"deployments": ["c"]},
    }
    async with routed(script, groups=groups, deployments={"a": {"limits": {"concurrency": 1}}}) as r:

        async def later():
            await anyio.sleep(1.0)
            reply = (await r.read())[1] if streamed else await r.ask()
            assert reply.text == "c"
            assert reply.trace.notes == ("a: no slot is free", "a was set aside meanwhile")

        await together(r.ask, later)
        assert anyio.current_time() == 3.0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_deployment_alone_that_was_set_aside_meanwhile_is_waited_for(streamed):
    script = [Slow(3, then=Fail(ServerError)), Reply("back")]
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 4.0, "open_cap_s": 4.0}}}
    async with routed(script, groups=groups, deployments={"a": {"limits": {"concurrency": 1}}}) as r:

        async def first():
            await r.fails(AllAttemptsFailed)

        async def second():
            await anyio.sleep(1.0)
            reply = (await r.read())[1] if streamed else await r.ask()
            assert reply.text == "back"
            assert reply.trace.waits == 1

        await together(first, second)
        assert 5.0 <= anyio.current_time() <= 7.0


async def test_an_attempts_timeout_does_not_run_while_it_waits_for_a_slot():
    groups = {"chat": {"deployments": ["a"], "retry": "none", "timeouts": {"attempt_s": 3.0}}}
    async with routed(Slow(2), groups=groups, deployments={"a": {"limits": {"concurrency": 1}}}) as r:
        await together(r.ask, r.ask, r.ask)
        assert anyio.current_time() == 6.0


# ---------------------------------------------------------------- rates


async def test_requests_per_minute_are_kept():
    async with routed(groups=ALONE, deployments={"a": {"limits": {"rpm": 2}}}) as r:
        for _ in range(4):
            await r.ask(deadline_s=100)
        assert [round(moment) for _, moment in r.timeline] == [0, 0, 30, 60]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_rate_is_kept_by_those_who_queued_for_a_slot(streamed):
    limits = {"rpm": 2, "concurrency": 1}
    async with routed(Slow(0.1), groups=ALONE, deployments={"a": {"limits": limits}}) as r:

        async def one():
            await (r.read(deadline_s=1000) if streamed else r.ask(deadline_s=1000))

        await together(*[one] * 5)
        assert [round(moment) for _, moment in r.timeline] == [0, 0, 30, 60, 90]


async def test_a_cooldown_is_kept_by_those_who_queued_for_a_slot():
    script = {"a": [Slow(1, then=Fail(RateLimited, retry_after_s=20)), Reply("a")], "b": Reply("b")}
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["other"]}, "other": {"deployments": ["b"]}}
    async with routed(script, groups=groups, deployments={"a": {"limits": {"concurrency": 1}}}) as r:
        await together(r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 1.0), ("b", 1.0)]


async def test_over_its_rate_another_deployment_answers():
    async with routed(deployments={"a": {"limits": {"rpm": 2}}}) as r:
        assert [(await r.ask()).deployment for _ in range(4)] == ["a", "a", "b", "b"]


async def test_everybody_gets_through_within_the_rate_while_the_deadline_allows():
    async with routed(groups=ALONE, deployments={"a": {"limits": {"rpm": 60}}}) as r:
        await together(*[r.ask] * 80)
        assert len(r.provider.calls) == 80
        assert anyio.current_time() == pytest.approx(20.0)
        assert [end.error for end in r.recorder.finished] == [None] * 80


async def test_a_wait_for_the_rate_is_no_retry():
    script = [Reply(), Fail(ServerError), Reply("ok")]
    groups = {"chat": {"deployments": ["a"], "retry": {**EXACT, "max_retries": 1}, "patience_s": 0}}
    async with routed(script, groups=groups, deployments={"a": {"limits": {"rpm": 1}}}) as r:
        await r.ask()
        reply = await r.ask(deadline_s=200)
    assert reply.text == "ok"
    assert [round(moment) for _, moment in r.timeline[:3]] == [0, 60, 120]


async def test_tokens_per_minute_are_kept_and_settled_to_what_was_used():
    from asyncrouter import Usage

    used = Usage(input_tokens=500, output_tokens=500)
    async with routed(Reply(usage=used), groups=ALONE, deployments={"a": {"limits": {"tpm": 1200}}}) as r:
        await r.ask()  # leaves 200 of 1200
        await r.ask()  # reserves about 6, then takes 1000: 800 too many, 40 s at 20 a second
        await r.ask()
        assert r.timeline[:2] == [("a", 0.0), ("a", 0.0)]
        assert 40.0 <= r.timeline[2][1] <= 41.0


async def test_a_failed_call_gives_its_tokens_back():
    script = [Fail(ServerError), Reply()]
    async with routed(script, groups=ALONE, deployments={"a": {"limits": {"tpm": 100}}}) as r:
        await r.fails(AllAttemptsFailed, "word " * 60)
        await r.ask("word " * 60)
        assert r.timeline[1] == ("a", 0.0)


async def test_one_that_is_only_slow_and_then_fails_is_not_asked_again_at_once():
    script = [Slow(2.0), Slow(2.0), Fail(ServerError)]
    breaker = {"slow_s": 1.0, "min_calls": 2}
    async with routed(script, groups={"chat": {**ALONE["chat"], "breaker": breaker}}) as r:
        for _ in range(2):
            await r.ask()
        assert r.state("a").breaker.state == "open"
        await r.fails(AllAttemptsFailed)
        assert r.called == ["a"] * 3
