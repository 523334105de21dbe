"""Attempts side by side: hedges after a delay, races at once; one answer, the losers cancelled and accounted for."""

from __future__ import annotations

import anyio
import pytest
from routed import routed

from asyncrouter import AllAttemptsFailed, PluginContractError, Selection, ServerError, hookimpl
from asyncrouter.testing import Fail, Hang, Reply, Slow

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
        assert reply.trace.duration_s == pytest.approx(0.1, rel=0.06)  # the histogram's own error


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
