"""Attempts side by side: hedges after a delay, races at once; one answer, the losers cancelled and accounted for."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest
from routed import ROLE, STOP, RawStreams, delta, routed
from unwilling import Unwilling

from asyncrouter import (
    AllAttemptsFailed,
    DeadlineExceeded,
    InvalidRequest,
    PluginContractError,
    Selection,
    ServerError,
    Verdict,
    hookimpl,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream

HEDGE = {"at": 0.5, "max_extra_load": 1.0}


class Racing:
    """Selects everything, the first so many at once."""

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel

    @hookimpl
    def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates, parallel=self.parallel, reason="race")


def told(reply):
    return {one.deployment: (str(one.kind), str(one.outcome)) for one in reply.trace.attempts}


async def test_a_hedge_wins_when_the_first_is_slow():
    async with routed({"a": Slow(9.0), "b": Reply("b")}, hedge=HEDGE) as r:
        reply = await r.ask()
        assert reply.text == "b"
        assert reply.trace.duration_s == pytest.approx(0.5)
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert reply.trace.attempts[0].reason == "a had not answered after 0.5 s"
        metrics = r.router.metrics()
        assert (metrics.deployments["b"].hedges, metrics.deployments["a"].cancelled, metrics.total.hedges) == (1, 1, 1)


async def test_the_first_wins_when_it_answers_after_all():
    async with routed({"a": Slow(1.0, Reply("a")), "b": Slow(9.0)}, hedge=HEDGE) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("a", pytest.approx(1.0))
        assert told(reply) == {"a": ("first", "ok"), "b": ("hedge", "cancelled")}


async def test_a_quick_answer_is_not_hedged():
    async with routed({"a": Slow(0.4), "b": Reply()}, hedge=HEDGE) as r:
        await r.ask()
        assert r.called == ["a"]


async def test_a_quick_failure_is_the_recoverys_care():
    async with routed({"a": Fail(ServerError), "b": Reply("b")}, hedge=HEDGE) as r:
        reply = await r.ask()
        assert told(reply) == {"a": ("first", "failed"), "b": ("fallback", "ok")}
        assert reply.trace.duration_s == 0


async def test_a_hedge_that_fails_leaves_the_first_to_answer():
    async with routed({"a": Slow(1.0, Reply("a")), "b": Fail(ServerError)}, hedge=HEDGE) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("a", pytest.approx(1.0))
        assert told(reply) == {"a": ("first", "ok"), "b": ("hedge", "failed")}


async def test_when_both_fail_the_order_of_recovery_goes_on():
    script = {"a": Slow(1.0, Fail(ServerError)), "b": Fail(ServerError)}
    async with routed(script, hedge=HEDGE, retry="none") as r:
        error = await r.fails(AllAttemptsFailed)
        assert [(one.deployment, str(one.kind)) for one in error.trace.attempts] == [("b", "hedge"), ("a", "first")]


async def test_a_quantile_needs_twenty_answers():
    async with routed({"a": Slow(0.1), "b": Reply("b")}, hedge={"at": "p50", "max_extra_load": 1.0}) as r:
        for _ in range(20):
            await r.ask()
        assert r.called == ["a"] * 20
        r.provider.play({"a": Hang(), "b": Reply("b")})
        reply = await r.ask()
        assert reply.text == "b"
        assert reply.trace.duration_s == pytest.approx(0.1, rel=0.11)  # the histogram's own error


async def test_the_quantile_is_that_of_late():
    hedge = {"at": "p95", "max_extra_load": 1.0}
    async with routed({"a": Slow(5.0), "b": Slow(9.0)}, hedge=hedge) as r:
        for _ in range(40):
            await r.ask()
        r.provider.play({"a": Slow(0.1), "b": Slow(9.0)})
        for _ in range(250):
            await r.ask()
        r.provider.play({"a": Hang(), "b": Reply("b")})
        assert (await r.ask()).trace.duration_s == pytest.approx(0.1, rel=0.11), "nothing of the 5 s is left"


async def test_the_quantile_of_streams_is_that_of_their_first_output():
    hedge = {"at": "p95", "max_extra_load": 1.0}
    slowly = Slow(0.2, Stream(["one ", "two"], pause_s=7.0))
    async with routed({"a": Slow(4.0), "b": Reply("b")}, hedge=hedge) as r:
        for _ in range(20):
            await r.ask()
        r.provider.play({"a": slowly, "b": Reply("b")})
        for _ in range(20):
            await r.read()
        r.provider.play({"a": Hang(), "b": Reply("b")})
        began = anyio.current_time()
        await r.read()
        assert anyio.current_time() - began == pytest.approx(0.2, rel=0.11)
        assert (await r.ask()).trace.duration_s == pytest.approx(4.0, rel=0.11)


async def test_losers_count_as_slow_so_that_the_quantile_does_not_sink():
    """The slowest lose.  Were only what finishes counted, the next slowest would be the slowest, and so on down."""
    hedge = {"at": "p95", "max_extra_load": 1.0}

    def slowly(_request, _deployment, number):
        return Slow(2.0 + number * 7 % 40 / 5 if number % 5 == 0 else 1.0)

    async with routed({"a": slowly, "b": Reply("b")}, hedge=hedge, alive=False) as r:
        for _ in range(600):
            await r.ask()
        assert r.called.count("b") > 10
        delay_s = r.router._routes.find("chat").hedge.delay_s("a", r.router.fleet.now(), streamed=False)
        assert delay_s > 4.0, "a fifth takes 2 to 10 s"


async def test_nothing_is_hedged_while_all_answers_take_the_same_time():
    async with routed({"a": Slow(0.9), "b": Reply("b")}, hedge={"at": "p95", "max_extra_load": 1.0}) as r:
        for _ in range(100):
            await r.ask()
        assert r.called == ["a"] * 100


async def test_no_hedge_starts_within_a_millisecond():
    async with routed({"a": Reply(), "b": Reply("b")}, hedge={"at": "p95", "max_extra_load": 1.0}) as r:
        for _ in range(20):
            await r.ask()
        r.provider.play({"a": Hang(), "b": Reply("b")})
        assert (await r.ask()).trace.duration_s == pytest.approx(0.001)


async def test_a_call_that_may_not_be_made_twice_is_neither_hedged_nor_raced():
    hedged = {"deployments": ["a", "b"], "hedge": HEDGE}
    raced = {"deployments": ["a", "b"], "select": Racing(2)}
    async with routed({"a": Slow(9.0, Reply("a")), "b": Reply("b")}, groups={"chat": hedged, "race": raced}) as r:
        for model in ("chat", "race"):
            reply = await r.ask(model=model, metadata={"idempotent": False})
            assert (reply.text, reply.trace.duration_s) == ("a", pytest.approx(9.0))
            assert (await r.ask(model=model, metadata={"idempotent": True})).text == "b"


@pytest.mark.parametrize(("most", "called"), [(1, 1), (2, 2), (3, 3), (9, 3)])
async def test_no_more_are_sent_than_attempts_are_allowed(most, called):
    group = {"deployments": ["a", "b", "c"], "select": Racing(3), "max_attempts": most}
    async with routed(Slow(1.0), groups={"chat": group}) as r:
        await r.ask()
        assert len(r.called) == called


async def test_hedges_stay_within_the_extra_load():
    async with routed({"a": Slow(1.0), "b": Reply("b")}, hedge={"at": 0.5, "max_extra_load": 0.1}) as r:
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(r.ask)
        assert r.called.count("b") == 4


async def test_the_shared_budget_bounds_hedges_too():
    async with routed(
        {"a": Slow(1.0), "b": Slow(0.2)}, hedge=HEDGE, settings={"retry_budget": 0.0, "retry_floor": 2}
    ) as r:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(r.ask)
        assert r.called.count("b") == 2


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_hedge_that_cannot_begin_costs_nothing(streamed):
    """The second deployment has no free slot, and a hedge stands in no line."""
    hedge = {"at": 0.5, "max_extra_load": 0.05}
    groups = {"chat": {"deployments": ["a", "b"], "hedge": hedge}}
    limited = {"b": {"limits": {"concurrency": 1}}}
    async with (
        routed({"a": Slow(1.0), "b": Slow(5.0)}, groups=groups, deployments=limited, alive=False) as r,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(lambda: r.ask(model="b"))
        await anyio.lowlevel.checkpoint()
        budget = r.router._routes.find("chat").hedge.budget
        budget._earned = 1.0
        assert told(await ask_or_read(r, streamed)) == {"a": ("first", "ok")}
        assert budget._earned == pytest.approx(1.0)


async def test_without_a_second_deployment_nothing_is_hedged():
    async with routed(Slow(1.0), groups={"chat": {"deployments": ["a"], "hedge": HEDGE}}) as r:
        await r.ask()
        assert r.called == ["a"]


async def test_a_deadline_ends_both():
    async with routed(Hang(), hedge=HEDGE) as r:
        with pytest.raises(TimeoutError):
            await r.ask(deadline_s=2.0)
        assert sorted(r.called) == ["a", "b"]


async def test_a_race_takes_the_first_answer():
    script = {"a": Slow(3.0), "b": Slow(1.0, Reply("b")), "c": Reply("c")}
    async with routed(script, groups={"chat": {"deployments": ["a", "b", "c"], "select": Racing(2)}}) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(1.0))
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert sorted(r.called) == ["a", "b"]


async def test_a_race_lost_by_all_falls_back_to_the_rest():
    script = {"a": Fail(ServerError), "b": Slow(1.0, Fail(ServerError)), "c": Reply("c")}
    async with routed(script, groups={"chat": {"deployments": ["a", "b", "c"], "select": Racing(2)}}) as r:
        assert (await r.ask()).text == "c"
        assert sorted(r.called[:2]) == ["a", "b"]


async def test_a_plugin_that_breaks_ends_the_race():
    class Breaks:
        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            if deployment.name == "b":
                raise LookupError("mine")
            return await call(request, deployment)

    async with routed(Hang(), hedge=HEDGE, plugins=[Breaks()], alive=False) as r:
        error = await r.fails(PluginContractError)
        assert error.hook == "asyncrouter_around_attempt"
        assert {str(one.outcome) for one in error.trace.attempts} == {"failed", "cancelled"}


# ---------------------------------------------------------------- the judge


class Judge:
    """Accepts what begins with "good", scores the rest by its length, and takes its time."""

    def __init__(self, takes_s=0.0):
        self.takes_s = takes_s

    @hookimpl
    async def asyncrouter_judge(self, response):
        await anyio.sleep(self.takes_s)
        return Verdict(accept=response.text.startswith("good"), score=len(response.text) / 100, reason="weak")


def racing(parallel, *names, **settings):
    return {"chat": {"deployments": list(names), "select": Racing(parallel), **settings}}


async def test_a_rejected_answer_does_not_end_a_race():
    script = {"a": Slow(1.0, Reply("bad")), "b": Slow(2.0, Reply("good b")), "c": Slow(9.0)}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge())) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good b", pytest.approx(2.0))
        assert told(reply) == {"a": ("first", "rejected"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}
        assert r.router.metrics().deployments["a"].rejected == 1


async def test_while_one_is_judged_another_may_win():
    script = {"a": Slow(1.0, Reply("good a")), "b": Slow(1.5, Reply("good b")), "c": Slow(9.0)}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge(2.0))) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good a", pytest.approx(3.0))
        assert told(reply) == {"a": ("first", "ok"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}


async def test_when_all_are_rejected_a_stronger_one_is_asked():
    script = {"a": Reply("bad a"), "b": Slow(1.0, Reply("bad")), "c": Slow(1.0, Reply("good c"))}
    async with routed(script, groups=racing(2, "a", "b", "c", judge=Judge())) as r:
        reply = await r.ask()
        assert reply.text == "good c"
        assert told(reply) == {"a": ("first", "rejected"), "b": ("hedge", "rejected"), "c": ("cascade", "ok")}


async def test_a_weaker_one_is_not():
    class StrongestFirst(Racing):
        @hookimpl
        def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[::-1], parallel=self.parallel, reason="race")

    script = {"a": Reply("good a"), "b": Reply("bad b"), "c": Slow(1.0, Reply("bad"))}
    groups = {"chat": {"deployments": ["a", "b", "c"], "select": StrongestFirst(2), "judge": Judge()}}
    async with routed(script, groups=groups, alive=False) as r:
        assert (await r.ask()).text == "bad b"
        assert sorted(r.called) == ["b", "c"]


async def test_without_one_the_best_of_the_rejected_is_returned():
    script = {"a": Reply("bad"), "b": Slow(1.0, Reply("not so bad")), "c": Slow(2.0, Fail(ServerError))}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge()), alive=False) as r:
        assert (await r.ask()).text == "not so bad"


async def test_a_rejected_answer_is_no_reason_to_hedge_but_to_go_on():
    async with routed({"a": Slow(0.2, Reply("bad")), "b": Reply("good")}, hedge=HEDGE, judge=Judge()) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good", pytest.approx(0.2))
        assert told(reply) == {"a": ("first", "rejected"), "b": ("cascade", "ok")}


# ---------------------------------------------------------------- streams


def words(chunks):
    return "".join(chunk.text for chunk in chunks)


async def test_a_hedge_of_a_stream_wins_with_its_first_output():
    script = {"a": Slow(9.0, Stream(["from ", "a"])), "b": Slow(0.3, Stream(["from ", "b"], pause_s=1.0))}
    async with routed(script, hedge=HEDGE) as r:
        async with r.stream() as stream:
            assert anyio.current_time() == pytest.approx(0.8)
            assert r.provider.in_flight == 1, "the loser is gone before the first chunk is seen"
            chunks = [chunk async for chunk in stream]
        assert words(chunks) == stream.response.text == "from b"
        assert [chunk.delta.get("role") for chunk in chunks].count("assistant") == 1
        assert told(stream.response) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert r.provider.calls[0].outcome == "cancelled"
        assert r.router.metrics().total.hedges == 1


async def test_the_first_stream_may_win_after_all():
    script = {"a": Slow(1.0, Stream(["from ", "a"], pause_s=1.0)), "b": Slow(9.0)}
    async with routed(script, hedge=HEDGE) as r:
        chunks, response = await r.read()
        assert words(chunks) == response.text == "from a"
        assert told(response) == {"a": ("first", "ok"), "b": ("hedge", "cancelled")}


async def test_a_stream_that_speaks_in_time_is_not_hedged_however_slow_it_goes_on():
    async with routed({"a": Stream(["one ", "two ", "three"], pause_s=5.0), "b": Reply("b")}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert response.text == "one two three"
        assert r.called == ["a"]


async def test_a_role_is_no_output_and_what_the_loser_held_back_is_not_seen():
    provider = RawStreams(
        a=[[ROLE, delta(""), 9.0, delta("a"), STOP]], b=[[0.2, ROLE, delta(vendor=None), 0.2, delta("b"), STOP]]
    )
    async with routed(provider, hedge=HEDGE) as r:
        chunks, response = await r.read()
        assert [chunk.raw for chunk in chunks] == [ROLE, delta(vendor=None), delta("b"), STOP]
        assert response.text == "b"


async def test_a_raced_stream_takes_the_first_that_speaks():
    script = {"a": Slow(3.0), "b": Slow(1.0, Stream(["from ", "b"])), "c": Slow(2.0)}
    async with routed(script, groups=racing(3, "a", "b", "c")) as r:
        _, response = await r.read()
        assert response.text == "from b"
        assert told(response) == {"a": ("first", "cancelled"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}
        assert {call.outcome for call in r.provider.calls} == {"ok", "cancelled"}


async def test_a_stream_that_fails_before_its_hedge_is_the_recoverys_care():
    async with routed({"a": Slow(0.1, Fail(ServerError)), "b": Stream(["b"])}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert told(response) == {"a": ("first", "failed"), "b": ("fallback", "ok")}


async def test_a_hedged_stream_that_fails_leaves_the_other():
    async with routed({"a": Slow(2.0, Stream(["a"])), "b": Stream(["b"], cut_after=0)}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert (response.text, told(response)) == ("a", {"a": ("first", "ok"), "b": ("hedge", "failed")})


async def test_when_both_streams_fail_the_order_of_recovery_goes_on():
    script = {"a": Slow(2.0, Fail(ServerError)), "b": Fail(ServerError), "c": Stream(["c"])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "hedge": HEDGE}}
    async with routed(script, groups=groups) as r:
        _, response = await r.read()
        assert response.text == "c"


async def test_after_its_first_output_a_hedged_stream_is_like_any_other():
    script = {"a": Slow(9.0), "b": Stream(["one ", "two"], cut_after=1), "c": Stream(["two"])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "hedge": HEDGE, "on_interrupt": "continue"}}
    async with routed(script, groups=groups) as r:
        chunks, response = await r.read()
        assert words(chunks) == response.text == "one two"
        assert r.called == ["a", "b", "c"]


async def test_a_hedged_stream_keeps_the_deadline():
    async with routed(Hang(), hedge=HEDGE) as r:
        with pytest.raises(DeadlineExceeded, match=r"attempts: . AttemptTimedOut, . AttemptTimedOut"):
            await r.read(deadline_s=2.0)
        assert anyio.current_time() == 2.0


async def test_the_request_itself_at_fault_ends_a_hedged_stream():
    async with routed({"a": Fail(InvalidRequest), "b": Reply("never")}, hedge=HEDGE) as r:
        with pytest.raises(InvalidRequest):
            await r.read()
        assert r.called == ["a"]


async def test_a_plugin_that_breaks_ends_a_raced_stream():
    class Breaks:
        @hookimpl
        async def asyncrouter_around_attempt_stream(self, chunks, request, deployment):
            async with aclosing(chunks):
                async for chunk in chunks:
                    if deployment.name == "b":
                        raise LookupError("mine")
                    yield chunk

    async with routed({"a": Hang(), "b": Reply()}, groups=racing(2, "a", "b"), plugins=[Breaks()], alive=False) as r:
        with pytest.raises(PluginContractError):
            await r.read()
        assert r.provider.in_flight == 0


async def test_leaving_while_hedged_streams_are_silent_closes_both():
    async with routed(Hang(), hedge=HEDGE) as r:
        with anyio.move_on_after(1.0):
            await r.read()
        assert [call.outcome for call in r.provider.calls] == ["cancelled", "cancelled"]
        assert r.router.metrics().total.cancelled == 1


async def test_an_answer_without_a_word_may_win_too():
    provider = RawStreams(a=[[ROLE, 9.0, delta("a"), STOP]], b=[[ROLE, delta(finish="length")]])
    async with routed(provider, hedge=HEDGE) as r:
        _, response = await r.read()
        assert (response.text, response.finish_reason) == ("", "length")


# ---------------------------------------------------------------- losers that make trouble


async def ask_or_read(r, streamed, **arguments):
    return (await r.read(**arguments))[1] if streamed else await r.ask(**arguments)


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_loser_that_does_not_end_is_waited_for_a_second_and_no_longer(streamed):
    provider = Unwilling({"a": Hang(), "b": Reply("b")}, after_s=30.0)
    async with routed(provider, hedge=HEDGE, deployments={"a": {"limits": {"concurrency": 1}}}, alive=False) as r:
        reply = await ask_or_read(r, streamed)
        assert reply.text == "b"
        assert anyio.current_time() == pytest.approx(1.5)
        assert reply.trace.notes == ("a did not end within 1 s of its cancellation",)
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        r.check_quiet()
        assert len(r.router.fleet.strays) == 1
        await anyio.sleep(30.0)
        assert r.router.fleet.strays == set()


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("after_s", [0.3, 30.0])
async def test_a_loser_that_raises_when_it_is_cancelled_harms_nobody(streamed, after_s):
    provider = Unwilling({"a": Hang(), "b": Reply("b")}, after_s, ServerError("late"))
    async with routed(provider, hedge=HEDGE, alive=False) as r:
        reply = await ask_or_read(r, streamed)
        assert reply.text == "b"
        await anyio.sleep(40.0)
        assert r.router.fleet.strays == set()
        assert r.state("b").breaker.state == "closed"


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_who_leaves_is_not_held_by_a_call_that_does_not_end(streamed):
    async with routed(Unwilling(Hang(), after_s=30.0), hedge=HEDGE, alive=False) as r:
        with anyio.move_on_after(1.0):
            await ask_or_read(r, streamed)
        assert anyio.current_time() <= 3.0
        await anyio.sleep(40.0)
        assert r.router.fleet.strays == set()


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_of_two_that_end_in_the_same_turn_one_is_delivered(streamed):
    for _ in range(5):
        async with routed(Slow(1.0, Stream(["an ", "answer"])), groups=racing(3, "a", "b", "c"), alive=False) as r:
            reply = await ask_or_read(r, streamed)
            outcomes = [outcome for _, outcome in told(reply).values()]
            assert sorted(outcomes) == ["cancelled", "cancelled", "ok"]
            assert told(reply)["a"] == ("first", "ok"), "the selection's order decides"
            assert reply.deployment == "a"
