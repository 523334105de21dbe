"""Hedges: a second attempt after a delay, when it begins, what it may cost, and losers that make trouble."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from routed import routed
from side_by_side import HEDGE, Racing, ask_or_read, told
from unwilling import Unwilling

from asyncrouter import AllAttemptsFailed, PluginContractError, Selection, ServerError, hookimpl
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream
from asyncrouter.types.ranking import Ranking


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


class Lazy:
    """Selects the first; counts how often the order of the rest is asked for."""

    def __init__(self):
        self.asked = 0

    @hookimpl
    async def asyncrouter_select(self, candidates):
        def order():
            self.asked += 1
            return candidates

        return Selection(deployments=Ranking(candidates, 0, order))


@pytest.mark.parametrize("hedge", [None, HEDGE])
async def test_nobody_asks_for_the_order_of_the_rest_while_the_first_answers(hedge):
    lazy = Lazy()
    async with routed(Slow(0.4), select=lazy, observed=False, **({"hedge": hedge} if hedge else {})) as r:
        await r.ask()
        assert lazy.asked == 0


async def test_a_hedge_goes_to_the_next_in_an_order_that_is_made_for_it():
    lazy = Lazy()
    async with routed({"a": Slow(9.0), "b": Reply("b")}, select=lazy, observed=False, hedge=HEDGE) as r:
        assert (await r.ask()).text == "b"
        assert lazy.asked == 1


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


# ---------------------------------------------------------------- losers that make trouble


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
