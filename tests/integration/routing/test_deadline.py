"""The deadline of the whole request: kept exactly, nothing starts after it, and the error tells what was tried."""

from __future__ import annotations

import contextlib
import math

import anyio
import pytest
from routed import EXACT, routed

from asyncrouter import (
    AllAttemptsFailed,
    ConnectionFailed,
    DeadlineExceeded,
    NoDeploymentAvailable,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, fake_router

ALONE = {"chat": {"deployments": ["a"], "retry": EXACT}}


async def test_it_ends_an_attempt_exactly():
    async with routed(Hang(), deadline_s=7.0) as r:
        error = await r.fails(DeadlineExceeded)
        assert anyio.current_time() == 7.0
        assert r.called == ["a"]
        assert r.provider.calls[0].outcome == "cancelled"
    assert isinstance(error, TimeoutError)
    assert str(error) == "no answer within the deadline of 7 s; attempts: a AttemptTimedOut"
    (attempt,) = error.trace.attempts
    assert (attempt.outcome, attempt.duration_s) == ("failed", 7.0)
    assert error.trace.duration_s == 7.0


async def test_the_callers_own_comes_before_the_groups():
    async with routed(Hang(), deadline_s=7.0) as r:
        await r.fails(DeadlineExceeded, deadline_s=3.0)
        assert anyio.current_time() == 3.0


async def test_a_deadline_shorter_than_an_attempt_ends_it():
    async with routed(Slow(30), deadline_s=10.0, timeouts={"attempt_s": 60.0}) as r:
        await r.fails(DeadlineExceeded)
        assert anyio.current_time() == 10.0


async def test_an_attempt_ends_at_its_own_timeout_where_that_is_earlier():
    script = {"a": Hang(), "b": Reply("b")}
    async with routed(script, deadline_s=10.0, timeouts={"attempt_s": 9.999}) as r:
        assert (await r.ask()).text == "b"
        assert anyio.current_time() == 9.999


async def test_in_the_last_fallback_it_names_every_attempt():
    groups = {
        "chat": {"deployments": ["a", "b"], "retry": "none", "fallbacks": ["other"]},
        "other": {"deployments": ["x"]},
    }
    script = {"a": Slow(1, then=Fail(ServerError)), "b": Slow(2, then=Fail(ServerError)), "x": Hang()}
    async with routed(script, groups=groups) as r:
        error = await r.fails(DeadlineExceeded, deadline_s=5.0)
        assert anyio.current_time() == 5.0
    assert str(error) == (
        "no answer within the deadline of 5 s; attempts: a ServerError, b ServerError, x AttemptTimedOut"
    )
    assert [one.deployment for one in error.trace.attempts] == ["a", "b", "x"]


async def test_no_backoff_begins_that_would_end_after_it():
    async with routed(Fail(ServerError), groups=ALONE) as r:
        error = await r.fails(AllAttemptsFailed, deadline_s=3.0)
        assert r.timeline == [("a", 0.0), ("a", 1.0)], "a second wait, of 2 s, would end at the deadline"
        assert anyio.current_time() == 1.0
    assert "a wait of 2 s does not fit the deadline" in error.trace.notes


async def test_a_backoff_that_ends_just_before_it_is_made_use_of():
    async with routed([Fail(ServerError), Fail(ServerError), Reply()], groups=ALONE) as r:
        await r.ask(deadline_s=3.001)
        assert r.timeline == [("a", 0.0), ("a", 1.0), ("a", 3.0)]


async def test_nothing_starts_after_it_when_a_failure_comes_at_that_very_moment():
    async with routed({"a": Slow(5, then=Fail(ServerError)), "b": Reply()}) as r:
        await r.fails(DeadlineExceeded, deadline_s=5.0)
        assert "b" not in r.called


async def test_nor_when_the_connection_is_lost_at_that_very_moment():
    lost = Fail(ConnectionFailed("gone", lost_before_answer=True))
    async with routed({"a": Slow(5, then=lost), "b": Reply()}) as r:
        await r.fails(DeadlineExceeded, deadline_s=5.0)
        assert r.called == ["a"]


@pytest.mark.parametrize("lost", [False, True])
async def test_nor_when_the_event_loop_was_blocked_until_after_it(lost):
    class Moved:
        seconds = 0.0

        def now(self):
            return self.seconds

    def block(_request, _deployment, _number):
        clock.seconds = 100.0
        return Fail(ConnectionFailed("gone", lost_before_answer=lost))

    clock = Moved()
    provider = FakeProvider({"a": block, "b": Reply()}, clock=clock)
    async with fake_router(provider, clock=clock) as router:
        with pytest.raises(DeadlineExceeded, match="attempts: a ConnectionFailed"):
            await router.generate("hi", deadline_s=5.0)
    assert len(provider.calls) == 1


async def test_waiting_for_a_slot_counts():
    async with (
        routed(
            Slow(20), groups={"chat": {"deployments": ["a"]}}, deployments={"a": {"limits": {"concurrency": 1}}}
        ) as r,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(r.ask)
        await anyio.sleep(0.5)
        error = await r.fails(DeadlineExceeded, deadline_s=6.0)
        assert anyio.current_time() == 6.5
    assert str(error).endswith("attempts: none ended")
    assert error.trace.attempts == ()


async def test_a_slow_hook_counts():
    class Slowly:
        @hookimpl
        async def asyncrouter_select(self):
            await anyio.sleep(100)

    slowly = Slowly()
    async with routed(plugins=[slowly], deadline_s=2.0) as r:
        error = await r.fails(DeadlineExceeded)
        assert anyio.current_time() == 2.0
        assert r.called == []
        r.router.unregister(slowly)
    assert error.trace.attempts == ()


async def test_waiting_for_a_cooldown_does_not_begin_when_it_does_not_fit():
    async with routed(groups=ALONE) as r:
        r.state("a").cool_until(30.0)
        error = await r.fails(NoDeploymentAvailable, deadline_s=30.0)
        assert anyio.current_time() == 0.0
    assert error.retry_after_s == 30.0


@pytest.mark.parametrize("deadline_s", [math.inf])
async def test_there_may_be_none(deadline_s):
    async with routed(Slow(86_400), deadline_s=5.0, timeouts={"attempt_s": 100_000.0}) as r:
        await r.ask(deadline_s=deadline_s)
        assert anyio.current_time() == 86_400


async def test_the_deployment_is_not_blamed_for_a_short_deadline():
    async with routed(Hang(), breaker={"failures": 1}) as r:
        for _ in range(3):
            await r.fails(DeadlineExceeded, deadline_s=0.001)
        assert r.router.metrics().deployments["a"].breaker == "closed"
        assert r.router.metrics().deployments["a"].failures == 3
        assert r.router.metrics().total.failures == 3


async def test_an_answer_at_that_very_moment_is_an_answer_or_the_error_but_never_both():
    async with routed(Slow(5)) as r:
        with contextlib.suppress(DeadlineExceeded):
            await r.ask(deadline_s=5.0)
        assert anyio.current_time() == 5.0
        assert len(r.recorder.finished) == 1
