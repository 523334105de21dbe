"""Rows G01 to G05: attempts side by side, plain and streamed; in virtual time, but for what only sockets show."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing

import anyio
import pytest
from unwilling import Unwilling

from asyncrouter import Selection, ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, Stream
from asyncrouter.testing.http_script import Gate, Sse, chunk, completion, sse_completion
from asyncrouter.testing.http_script import Hang as Silence

HEDGE = {"at": 0.5, "max_extra_load": 1.0}
EITHER = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
PRICES = {name: {"price": {"input": 1.0, "output": 2.0}} for name in "ab"}


class Racing:
    """Selects everything, the first so many at once."""

    def __init__(self, parallel):
        self.parallel = parallel

    @hookimpl
    def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates, parallel=self.parallel, reason="race")


def racing(*names, **settings):
    return {"chat": {"deployments": list(names), "select": Racing(len(names)), **settings}}


async def answer(f, streamed, **arguments):
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


def told(reply):
    return {one.deployment: (str(one.kind), str(one.outcome)) for one in reply.trace.attempts}


# ---------------------------------------------------------------- G01


@EITHER
async def test_g01_a_hedge_wins_over_a_slow_primary_that_is_cancelled_and_awaited(faults, streamed):
    ended = []

    class Tidy(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            try:
                return await super().complete(request, deployment, timeouts)
            finally:
                await tidied(deployment)

        async def stream(self, request, deployment, timeouts):
            try:
                async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                await tidied(deployment)

    async def tidied(deployment):
        if deployment.name == "a":
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.25)
        ended.append((deployment.name, anyio.current_time()))

    async with faults(Tidy({"a": Slow(9.0), "b": Slow(0.5, Reply("b"))}), hedge=HEDGE, deployments=PRICES) as f:
        reply = await answer(f, streamed)
        assert reply.text == "b"
        assert ("a", 1.25) in ended, "it was awaited"
        assert reply.trace.duration_s == pytest.approx(1.25)
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        metrics = f.router.metrics()
        assert (metrics.total.calls, metrics.total.hedges, metrics.deployments["a"].cancelled) == (1, 1, 1)
        assert metrics.deployments["a"].breaker == "closed"
        assert reply.usage.output_tokens == metrics.deployments["b"].output_tokens == 5


@EITHER
@pytest.mark.parametrize("silence", [Silence(), Sse([chunk({"role": "assistant", "content": ""}), Gate()])],
                         ids=["nothing", "a role"])  # fmt: skip
async def test_g01_over_sockets_the_losers_connection_is_closed(wall, streamed, silence):
    reply = sse_completion("from b") if streamed else completion("from b")
    async with wall({"a": silence, "b": reply}, hedge={"at": 0.05, "max_extra_load": 1.0}) as f:
        for number in range(3):
            answered = await answer(f, streamed)
            assert answered.text == "from b"
            assert told(answered) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
            await f.server.requests[2 * number].disconnected.wait()
        assert f.router.metrics().deployments["a"].breaker == "closed"


@EITHER
async def test_g01_what_the_loser_took_is_accounted_for(faults, streamed):
    async with faults({"a": Hang(), "b": Reply("b")}, hedge=HEDGE, deployments=PRICES) as f:
        reply = await answer(f, streamed)
        a, b = (f.router.metrics().deployments[name] for name in "ab")
        assert a.input_tokens == reply.trace.estimate.input_tokens, "an estimate: the prompt was sent"
        assert a.cost_usd == pytest.approx(a.input_tokens / 1e6)
        assert (b.input_tokens, b.cost_usd) == (10, reply.cost_usd)
        assert f.router.metrics().total.cost_usd == pytest.approx(a.cost_usd + reply.cost_usd)


# ---------------------------------------------------------------- G02


@EITHER
@pytest.mark.parametrize("seed", range(3))
async def test_g02_of_two_in_the_same_tick_one_is_delivered_and_always_the_same(faults, streamed, seed):
    async with faults(Slow(1.0, Stream(["an ", "answer"])), groups=racing("a", "b", "c"), seed=seed) as f:
        reply = await answer(f, streamed)
        assert reply.text == "an answer"
        assert reply.deployment == "a", "the selection's order decides"
        assert [outcome for _, outcome in sorted(told(reply).values())] == ["ok", "cancelled", "cancelled"]


@EITHER
async def test_g02_a_hedge_in_the_same_tick_as_the_primary_loses(faults, streamed):
    async with faults({"a": Slow(1.0, Reply("a")), "b": Slow(0.5, Reply("b"))}, hedge=HEDGE) as f:
        assert told(await answer(f, streamed)) == {"a": ("first", "ok"), "b": ("hedge", "cancelled")}


async def test_g02_a_rejected_answer_is_no_winner(faults):
    class Judge:
        @hookimpl
        def asyncrouter_judge(self, response):
            return Verdict(accept=response.text == "good", reason="weak")

    script = {"a": Slow(1.0, Reply("bad")), "b": Slow(2.0, Reply("good")), "c": Hang()}
    async with faults(script, groups=racing("a", "b", "c", judge=Judge())) as f:
        reply = await f.ask()
        assert (reply.text, reply.trace.duration_s) == ("good", pytest.approx(2.0))
        assert told(reply) == {"a": ("first", "rejected"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}


# ---------------------------------------------------------------- G03


@EITHER
async def test_g03_a_hedge_that_fails_fast_is_not_noticed(faults, streamed):
    async with faults({"a": Slow(1.0, Reply("a")), "b": Fail(ServerError)}, hedge=HEDGE) as f:
        reply = await answer(f, streamed)
        assert reply.text == "a"
        assert told(reply) == {"a": ("first", "ok"), "b": ("hedge", "failed")}
        assert f.router.metrics().total.failures == 0


@EITHER
async def test_g03_a_hedge_in_flight_serves_when_the_primary_fails(faults, streamed):
    async with faults({"a": Slow(1.0, Fail(ServerError)), "b": Slow(1.0, Reply("b"))}, hedge=HEDGE) as f:
        reply = await answer(f, streamed)
        assert reply.text == "b"
        assert told(reply) == {"a": ("first", "failed"), "b": ("hedge", "ok")}


# ---------------------------------------------------------------- G04


@EITHER
@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0], ids=lambda rate: f"{rate:g} a second")
async def test_g04_when_all_are_slow_hedges_stay_within_five_percent(faults, streamed, rate):
    requests = 400
    hedge = {"at": "p95", "max_extra_load": 0.05}
    async with faults(Slow(0.1), hedge=hedge) as f:
        for _ in range(20):
            await answer(f, streamed)
        f.provider.play(Slow(8.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(requests):
                tasks.start_soon(answer, f, streamed)
                await anyio.sleep(1 / rate)
        hedges = f.router.metrics().total.hedges
        assert len(f.provider.calls) == 20 + requests + hedges
        assert 1 <= hedges <= 0.05 * (20 + requests)


async def test_g04_the_shared_budget_stops_them_too(faults):
    settings = {"retry_budget": 0.0, "retry_floor": 2}
    async with faults(Slow(3.0), hedge=HEDGE, settings=settings) as f:
        await f.many(50)
        assert f.router.metrics().total.hedges == 2


async def test_g04_a_request_that_may_not_be_made_twice_is_not(faults):
    async with faults({"a": Slow(3.0, Reply("a")), "b": Reply("b")}, hedge=HEDGE) as f:
        assert (await f.ask(metadata={"idempotent": False})).text == "a"
        assert f.called == ["a"]


# ---------------------------------------------------------------- G05


@EITHER
@pytest.mark.parametrize("error", [None, ServerError("late"), ValueError("a bug")], ids=["ends", "fails", "breaks"])
async def test_g05_a_loser_that_ignores_its_cancellation_is_awaited_for_a_second(faults, streamed, error):
    provider = Unwilling({"a": Hang(), "b": Reply("b")}, 30.0)
    async with faults(provider, hedge=HEDGE) as f:
        provider.after_s, provider.error = 30.0, error
        reply = await answer(f, streamed)
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(1.5))
        assert reply.trace.notes == ("a did not end within 1 s of its cancellation",)
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert f.state("a").in_flight == 0
        await anyio.sleep(30.0)
        assert f.router.fleet.strays == set()


@EITHER
async def test_g05_even_one_that_never_listens(faults, streamed):
    class Deaf(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            await self.hold(deployment)
            return await super().complete(request, deployment, timeouts)

        async def stream(self, request, deployment, timeouts):
            await self.hold(deployment)
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk

        async def hold(self, deployment):
            until = 40.0 if deployment.name == "a" else 0.0
            while (left := until - anyio.current_time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)

    async with faults(Deaf(Reply("b")), hedge=HEDGE) as f:
        reply = await answer(f, streamed)
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(1.5))
        await anyio.sleep(60.0)
        assert f.router.fleet.strays == set()


@EITHER
async def test_g05_a_loser_that_raises_when_it_is_cancelled_is_swallowed(faults, streamed):
    provider = Unwilling({"a": Hang(), "b": Reply("b")}, 0.0)
    async with faults(provider, hedge=HEDGE) as f:
        provider.error = ValueError("a bug")
        reply = await answer(f, streamed)
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(0.5))
        assert told(reply)["b"] == ("hedge", "ok")
