"""Calls at once: who is asked when a deployment is busy, who waits, how long, and in which order."""

from __future__ import annotations

import anyio
import pytest
from routed import ALONE, routed

from asyncrouter import DeadlineExceeded, NoDeploymentAvailable, ServerError
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.types.errors import AllAttemptsFailed

ONE = {"limits": {"concurrency": 1}}
FULL = {"limits": {"concurrency": 1, "queue": 0}}
SPARE = {"chat": {"deployments": ["a"], "fallbacks": ["spare"]}, "spare": {"deployments": ["b"]}}
BOTH = pytest.mark.parametrize("streamed", [False, True])


async def call(r, streamed, **arguments):
    return (await r.read(**arguments))[1] if streamed else await r.ask(**arguments)


async def one_by_one(*functions, gap_s=0.1):
    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(function)
            await anyio.sleep(gap_s)


# ---------------------------------------------------------------- another one, or the line


@BOTH
async def test_another_deployment_with_a_free_slot_is_asked_at_once(streamed):
    async with routed(Slow(3), deployments={"a": ONE}) as r:
        replies = []

        async def one():
            replies.append(await call(r, streamed))

        await one_by_one(one, one)
        assert r.timeline == [("a", 0.0), ("b", 0.1)]
    assert (replies[1].trace.attempts[0].kind, replies[1].trace.notes) == ("first", ("a: no slot is free",))


async def test_with_all_of_them_busy_the_line_is_spread_over_their_slots():
    limits = {"a": {"limits": {"concurrency": 1}}, "b": {"limits": {"concurrency": 2}}}
    async with routed(Slow(3), deployments=limits) as r:
        await one_by_one(*[r.ask] * 9)
        assert r.called[:3] == ["a", "b", "b"]
        assert (r.called.count("a"), r.called.count("b")) == (3, 6)
        assert max(call.ended_at for call in r.provider.calls) == pytest.approx(9.2)


async def test_where_an_attempt_failed_the_next_is_the_one_with_a_free_slot():
    script = {"a": [Slow(1, then=Fail(ServerError)), Reply("a")], "b": Slow(9), "c": Reply("c")}
    async with routed(script, deployments={"b": ONE}, groups={"chat": {"deployments": ["a", "b", "c"]}}) as r:

        async def occupy():
            await r.ask(model="b")

        await one_by_one(occupy, r.ask)
        assert r.timeline == [("b", 0.0), ("a", 0.1), ("c", 1.1)]


@BOTH
async def test_the_line_is_left_for_another_group_when_the_wait_is_over(streamed):
    groups = {**SPARE, "chat": {**SPARE["chat"], "timeouts": {"queue_s": 2.0}}}
    async with routed({"a": Slow(9), "b": Reply("b")}, groups=groups, deployments={"a": ONE}) as r:
        replies = []

        async def one():
            replies.append(await call(r, streamed))

        await one_by_one(one, one)
        assert r.timeline == [("a", 0.0), ("b", 2.1)]
    assert replies[0].trace.notes == ("a: no slot is free", "a: no slot was free for 2 s")
    assert replies[0].trace.attempts[0].kind == "fallback"


async def test_without_a_wait_the_other_group_is_asked_at_once():
    groups = {**SPARE, "chat": {**SPARE["chat"], "timeouts": {"queue_s": 0}}}
    async with routed({"a": Slow(9), "b": Reply("b")}, groups=groups, deployments={"a": ONE}) as r:
        await one_by_one(r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 0.1)]


async def test_the_wait_is_that_of_all_lines_together():
    groups = {
        "chat": {"deployments": ["a", "b"], "fallbacks": ["spare"], "timeouts": {"queue_s": 2.0}},
        "spare": {"deployments": ["c"]},
    }
    script = {"a": Slow(9), "b": Slow(9), "c": Reply("c")}
    async with routed(script, groups=groups, deployments={"a": ONE, "b": ONE}) as r:
        await one_by_one(r.ask, r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 0.1), ("c", 2.2)]


# ---------------------------------------------------------------- nothing else is left


@BOTH
async def test_where_nothing_else_is_left_the_place_is_kept_until_the_deadline(streamed):
    groups = {"chat": {**ALONE["chat"], "timeouts": {"queue_s": 1.0}}}
    async with routed(Slow(4), groups=groups, deployments={"a": ONE}) as r:
        served = []

        async def one(number):
            await call(r, streamed)
            served.append(number)

        await one_by_one(*[lambda number=number: one(number) for number in range(5)], gap_s=0.9)
        assert served == [0, 1, 2, 3, 4]
        assert [moment for _, moment in r.timeline] == [0.0, 4.0, 8.0, 12.0, 16.0]
        assert [end.trace.waits for end in r.recorder.finished] == [0] * 5


@BOTH
async def test_the_deadline_ends_the_wait(streamed):
    async with routed([Slow(50), Reply()], groups=ALONE, deployments={"a": ONE}) as r:

        async def late():
            with pytest.raises(DeadlineExceeded, match="attempts: none ended"):
                await call(r, streamed, deadline_s=20.0)
            assert anyio.current_time() == pytest.approx(20.1)

        await one_by_one(r.ask, late)


async def test_who_waits_for_good_goes_to_a_deployment_that_is_ready_again():
    async with routed({"a": Slow(25), "b": Reply("b")}, deployments={"a": ONE}) as r:
        r.state("b").cool_until(9.0)
        await one_by_one(r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 9.0)]


async def test_a_wait_for_good_may_end_at_a_deployment_that_suits_nobody():
    """It is ready again, but cannot serve this request: the line is the only place left."""
    tables = {"a": ONE, "b": {"capabilities": ["streaming"]}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    async with routed({"a": Slow(20), "b": Reply("b")}, deployments=tables, alive=False) as r:
        r.state("b").cool_until(9.0)
        await one_by_one(r.ask, lambda: r.ask(tools=tools))
        assert r.timeline == [("a", 0.0), ("a", 20.0)]


@BOTH
async def test_a_full_line_is_told_at_once(streamed):
    async with routed(Slow(9), groups=ALONE, deployments={"a": FULL}) as r:

        async def refused():
            with pytest.raises(NoDeploymentAvailable, match="every deployment of chat is busy") as caught:
                await call(r, streamed)
            assert caught.value.retry_after_s is None
            assert caught.value.trace.notes == ("a: no slot is free", "a: its line of 0 was full")
            assert anyio.current_time() == 0.1

        await one_by_one(r.ask, refused)


async def test_the_next_slot_is_told_by_the_answers_so_far():
    slots = {"limits": {"concurrency": 4, "queue": 0}}
    async with routed([Slow(2), Slow(9)], groups=ALONE, deployments={"a": slots}) as r:
        await r.ask()

        async def refused():
            error = await r.fails(NoDeploymentAvailable)
            assert error.retry_after_s == pytest.approx(0.5)

        await one_by_one(*[r.ask] * 4, refused)


async def test_a_full_line_sends_the_call_elsewhere():
    async with routed({"a": Slow(9), "b": Reply("b")}, groups=SPARE, deployments={"a": FULL}) as r:
        await one_by_one(r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 0.1)]


async def test_the_line_holds_no_more_than_it_may():
    async with routed(Slow(1), groups=ALONE, deployments={"a": {"limits": {"concurrency": 2, "queue": 3}}}) as r:
        ends = []

        async def one():
            try:
                ends.append((await r.ask()).deployment)
            except NoDeploymentAvailable as error:
                ends.append(type(error))

        await one_by_one(*[one] * 8, gap_s=0.01)
        assert ends[:3] == [NoDeploymentAvailable] * 3
        assert ends[3:] == ["a"] * 5


async def test_after_a_failure_a_full_line_ends_with_what_failed():
    script = {"a": Slow(9), "b": Fail(ServerError)}
    settings = {"retry": "none", "deployments": ["a", "b"]}
    async with routed(script, groups={"chat": settings}, deployments={"a": FULL}, alive=False) as r:

        async def second():
            error = await r.fails(AllAttemptsFailed)
            assert [one.deployment for one in error.errors] == ["b"]

        await one_by_one(r.ask, second)


async def test_with_one_line_full_and_one_cooling_down_the_cooldown_is_waited_for():
    async with routed({"a": Slow(25), "b": Reply("b")}, deployments={"a": FULL}) as r:
        r.state("b").cool_until(9.0)
        await one_by_one(r.ask, r.ask)
        assert r.timeline == [("a", 0.0), ("b", 9.0)]
    assert r.recorder.finished[0].trace.waits == 1


# ---------------------------------------------------------------- nothing is lost


@BOTH
async def test_callers_who_leave_the_line_at_the_moment_they_are_called_lose_no_slot(streamed):
    """Slots are handed on at whole seconds, and that is when these callers leave."""
    async with routed(Slow(1), groups=ALONE, deployments={"a": ONE}) as r:

        async def leaves_after(seconds):
            with anyio.move_on_after(seconds):
                await call(r, streamed)

        await one_by_one(*[lambda s=s: leaves_after(s) for s in (1.0, 1.0, 2.0, 2.0, 3.0, 1.0, 9.0)], gap_s=0.0)
        slots = r.state("a").slots
        assert (slots.in_use, slots.waiting) == (0, 0)


async def test_a_hedge_stands_in_no_line():
    hedge = {"at": 1.0, "max_extra_load": 1.0}
    async with routed({"a": Slow(5), "b": Slow(2)}, hedge=hedge, deployments={"b": ONE}, alive=False) as r:
        await one_by_one(lambda: r.ask(model="b"), r.ask)
        assert r.timeline == [("b", 0.0), ("a", 0.1)]


async def test_a_busy_deployment_retries_in_line_before_those_who_came_later():
    script = [Slow(1, then=Fail(ServerError)), *[Slow(3)] * 9]
    groups = {"chat": {"deployments": ["a"], "retry": {"use": "exponential", "initial_delay_s": 0.5, "jitter": False}}}
    async with routed(script, groups=groups, deployments={"a": ONE}) as r:
        served = []

        async def one(number):
            await r.ask()
            served.append(number)

        await one_by_one(*[lambda number=number: one(number) for number in range(4)])
        assert served == [1, 0, 2, 3]


async def test_metrics_tell_who_waits():
    async with routed([Hang(), Reply()], groups=ALONE, deployments={"a": ONE}) as r, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(r.ask)
        await anyio.sleep(1.0)
        shown = r.router.metrics().deployments["a"]
        assert (shown.in_flight, shown.waiting, shown.slots) == (1, 2, 1)
        tasks.cancel_scope.cancel()
