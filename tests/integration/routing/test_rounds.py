"""The last step of recovery, with exact times: rounds after growing waits, as far as bounds and budget allow."""

from __future__ import annotations

import anyio
from recovery import TWO_GROUPS, kinds
from routed import EXACT, routed

from asyncrouter import (
    AllAttemptsFailed,
    AuthenticationFailed,
    GiveUp,
    ModelNotFound,
    RateLimited,
    Retry,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, Reply, Slow


async def test_further_rounds_come_after_growing_waits():
    async with routed(
        {"a": [Fail(ServerError)] * 3 + [Reply("at last")], "b": Fail(ServerError)}, retry=EXACT, max_attempts=20
    ) as r:
        reply = await r.ask()
    # patience of 1 s once; then rounds of both deployments after 2, 4 and 8 s
    assert r.timeline[:8] == [("a", 0), ("b", 0), ("b", 1), ("a", 3), ("b", 3), ("a", 7), ("b", 7), ("a", 15)]
    assert (reply.trace.waits, reply.trace.waited_s) == (4, 15.0)
    assert kinds(reply)[2:5] == [("b", "retry"), ("a", "retry"), ("b", "fallback")]


async def test_max_retries_counts_the_waits():
    async with routed(Fail(ServerError), retry={**EXACT, "max_retries": 2}, max_attempts=20) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:5] == [("a", 0), ("b", 0), ("b", 1), ("a", 3), ("b", 3)]
    assert len(error.errors) == 5
    assert error.trace.waits == 2


async def test_max_attempts_counts_the_calls():
    async with routed(Fail(ServerError), retry=EXACT, max_attempts=4) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:3] == [("a", 0), ("b", 0), ("b", 1)]
    assert r.timeline[3][0] == "a"
    assert 30.5 <= r.timeline[3][1] <= 31.5, "the last one is kept for the middle of the time that is left"
    assert len(error.trace.attempts) == 4
    assert "max_attempts = 4 reached" in error.trace.notes


async def test_nothing_is_retried_when_retries_are_off():
    async with routed(Fail(ServerError), retry="none") as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:2] == [("a", 0), ("b", 0)]
    assert error.trace.waits == 0


async def test_a_round_visits_the_fallback_groups_too():
    script = {
        "a": Fail(ServerError),
        "b": Fail(ServerError),
        "x": [Fail(ServerError), Reply("x")],
        "y": Fail(ServerError),
    }
    groups = {
        "chat": {**TWO_GROUPS["chat"], "patience_s": 0.0},
        "other": {"deployments": ["x", "y"], "retry": EXACT, "patience_s": 0.0},
    }
    async with routed(script, groups=groups, settings={"max_attempts": 20}) as r:
        reply = await r.ask()
    assert r.timeline[:7] == [("a", 0), ("b", 0), ("x", 0), ("y", 0), ("a", 1), ("b", 1), ("x", 1)]
    assert reply.text == "x"


async def test_what_cannot_be_cured_by_waiting_is_left_out_of_further_rounds():
    script = {"a": Fail(AuthenticationFailed), "b": [Fail(ServerError), Fail(ServerError), Reply("b")]}
    async with routed(script, retry=EXACT, patience_s=0) as r:
        assert (await r.ask()).text == "b"
    assert r.timeline[:4] == [("a", 0), ("b", 0), ("b", 1), ("b", 3)]


async def test_a_failure_without_a_cure_does_not_keep_the_others_from_a_further_round():
    script = {"a": [Fail(ServerError), Reply("from a")], "b": Fail(AuthenticationFailed)}
    async with routed(script, retry=EXACT) as r:
        assert (await r.ask()).text == "from a"
    assert r.timeline[:3] == [("a", 0), ("b", 0), ("a", 1)]


async def test_no_round_without_anybody_whom_waiting_may_cure():
    async with routed({"a": Fail(AuthenticationFailed), "b": Fail(ModelNotFound)}, retry=EXACT) as r:
        error = await r.fails(AllAttemptsFailed)
        assert anyio.current_time() == 0.0
    assert [type(one) for one in error.errors] == [AuthenticationFailed, ModelNotFound]
    assert isinstance(error.__cause__, ModelNotFound)


async def test_rounds_need_the_shared_budget():
    async with routed(Fail(ServerError), retry=EXACT, settings={"retry_budget": 0.0, "retry_floor": 0}) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:2] == [("a", 0), ("b", 0)]
    assert len(error.errors) == 2


async def test_what_the_budget_refuses_waits_until_it_allows_one_more():
    """Two requests and a floor of one: while nobody answers, one extra attempt in two seconds; an answer opens it."""
    fail = Fail(ServerError)
    script = {"a": [fail, fail, Slow(5, then=Reply("a"))], "b": Fail(ServerError)}
    async with routed(
        script, retry=EXACT, patience_s=0, settings={"retry_budget": 0.0, "retry_floor": 1}, breaker={"failures": 9}
    ) as r:
        replies = []

        async def ask():
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert [reply.text for reply in replies] == ["a", "a"]
        assert all("retry budget exhausted" in reply.trace.notes for reply in replies)
    assert sum(moment < 2.0 for _, moment in r.timeline) == 2 + 1  # the first attempts, and the floor


async def test_what_the_budget_refuses_ends_where_no_time_is_left_for_it():
    settings = {"retry_budget": 0.0, "retry_floor": 1, "deadline_s": 1.9}
    async with routed(Fail(ServerError), retry=EXACT, patience_s=0, settings=settings, breaker={"failures": 9}) as r:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.fails, AllAttemptsFailed)
            tasks.start_soon(r.fails, AllAttemptsFailed)
        assert len(r.called) <= 2 + 1 + 2  # the first ones, the floor, and the one that is left alone at the end
        assert anyio.current_time() < 1.9


async def test_a_retry_that_the_budget_refuses_goes_elsewhere():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(1.0, before_fallback=True) if trace.waits == 0 else GiveUp()

    fail = Fail(ServerError)
    script = {"a": [fail, fail, Slow(5, then=Reply("a")), Reply("too much")], "b": Reply("b")}
    settings = {"retry_budget": 0.0, "retry_floor": 1}
    async with routed(script, settings=settings, plugins=[First()]) as r:
        replies = []

        async def ask():
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert [reply.text for reply in replies] == ["b", "a"]
        assert kinds(replies[0]) == [("a", "first"), ("b", "fallback")]
        assert replies[0].trace.attempts[1].reason == "after ServerError on a"


async def test_the_error_names_every_attempt_and_the_last_as_its_cause():
    async with routed(
        {"a": Fail(RateLimited, message="slow down"), "b": Fail(ServerError, message="boom")}, retry="none"
    ) as r:
        error = await r.fails(AllAttemptsFailed)
    assert str(error) == "all 2 attempts failed: a: RateLimited: slow down; b: ServerError: boom"
    assert error.__cause__ is error.errors[-1]
    assert [one.deployment for one in error.errors] == ["a", "b"]
    assert [one.error for one in error.trace.attempts] == list(error.errors)


async def test_a_wait_spends_the_permission_for_it():
    retry = {**EXACT, "max_retries": 1}
    async with routed(Fail(ServerError), groups={"chat": {"deployments": ["a"], "retry": retry}}) as r:
        error = await r.fails(AllAttemptsFailed)
        assert r.called == ["a", "a"]
        assert error.trace.waits == 1
