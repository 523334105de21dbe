"""Limits in a router: of calls at once, with those who queue for a slot, and of requests and tokens a minute."""

from __future__ import annotations

import anyio
import pytest
from routed import ALONE, EXACT, routed, together

from asyncrouter import AllAttemptsFailed, RateLimited, ServerError
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, Stream, fake_router

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


class EverLater:
    """As real time goes: no two looks at it tell the same moment."""

    looks = 0

    def now(self):
        self.looks += 1
        return anyio.current_time() + self.looks * 1e-3


@pytest.mark.parametrize("limits", [{"rpm": 2}, {"rpm": 2, "tpm": 10**6}, {"rpm": 2, "concurrency": 1}])
async def test_a_rate_is_used_though_time_goes_on_between_two_looks_at_it(limits):
    provider = FakeProvider()
    async with fake_router(provider, deployments={"a": {"limits": limits}}, clock=EverLater()) as router:
        for _ in range(4):
            await router.generate("hi", deadline_s=100)
    assert [round(call.started_at) for call in provider.calls] == [0, 0, 30, 60]


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
