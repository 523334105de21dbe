"""An adaptive limit of calls at once, in a router: a simulated overload, its end, and upstreams that refuse."""

from __future__ import annotations

import math
import random
import statistics

import anyio
import pytest
from routed import routed

from asyncrouter import Overloaded
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, Stream
from asyncrouter.types.errors import AllAttemptsFailed, AttemptTimedOut, RateLimited, ServerError

ALONE = {"chat": {"deployments": ["a"], "retry": "none", "deadline_s": 600.0, "breaker": {"failures": 10_000}}}
ADAPTIVE = {"a": {"limits": {"adaptive": True}}}


class Busy(FakeProvider):
    """Works on ``capacity`` calls at once, about a second each; the others wait, first come first served."""

    def __init__(self, capacity, **settings):
        super().__init__(**settings)
        self.dice = random.Random(7)  # noqa: S311 - repeatable
        self.took = []
        self.busy = anyio.Semaphore(capacity)

    async def complete(self, request, deployment, timeouts):
        began = anyio.current_time()
        async with self.busy:
            await anyio.sleep(math.exp(self.dice.gauss(0.0, 0.3)))
        self.took.append(anyio.current_time() - began)
        return await super().complete(request, deployment, timeouts)


async def keep_asking(r, callers, seconds):
    """Let so many callers ask again and again for so many seconds."""

    async def caller():
        until = anyio.current_time() + seconds
        while anyio.current_time() < until:
            await r.ask()

    async with anyio.create_task_group() as tasks:
        for _ in range(callers):
            tasks.start_soon(caller)


async def test_an_overload_is_held_near_the_capacity_and_its_end_is_seen():
    provider = Busy(6)
    async with routed(provider, groups=ALONE, deployments=ADAPTIVE) as r:
        await keep_asking(r, 60, 150.0)
        slots = r.state("a").slots
        assert 6 <= slots.limit <= 12
        assert statistics.median(provider.took[-200:]) <= 2.0
        assert r.router.metrics().deployments["a"].slots == slots.limit
        for _ in range(18):
            provider.busy.release()  # from six at once to twenty-four
        await keep_asking(r, 60, 150.0)
        assert 24 <= slots.limit <= 48
        assert statistics.median(provider.took[-200:]) <= 2.0
    assert r.router.metrics().total.failures == 0


async def test_without_it_everybody_waits_upstream():
    """The same overload, so that the one above proves something."""
    provider = Busy(6)
    async with routed(provider, groups=ALONE) as r:
        await keep_asking(r, 60, 60.0)
    assert statistics.median(provider.took[-200:]) > 8.0


async def test_concurrency_is_the_most_that_it_may_find():
    async with routed(Slow(1), groups=ALONE, deployments={"a": {"limits": {"adaptive": True, "concurrency": 7}}}) as r:
        await keep_asking(r, 20, 60.0)
        assert r.state("a").slots.limit == 7


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (Overloaded("busy", deployment="a"), 6),
        (RateLimited("busy", deployment="a"), 6),
        (AttemptTimedOut("silence", deployment="a"), 6),
        (ServerError("broken", deployment="a"), 7),
    ],
)
async def test_a_refusal_lowers_it_and_any_other_failure_does_not(error, limit):
    async with routed(Slow(1), groups=ALONE, deployments={"a": {"limits": {"adaptive": True, "concurrency": 7}}}) as r:
        await keep_asking(r, 20, 60.0)
        r.provider.play(Fail(error))
        await r.fails(AllAttemptsFailed)
        assert r.state("a").slots.limit == limit


async def test_a_connection_that_did_not_come_about_tells_nothing_of_the_load():
    error = AttemptTimedOut("no connection", deployment="a")
    error.sent = False
    async with routed(Slow(1), groups=ALONE, deployments={"a": {"limits": {"adaptive": True, "concurrency": 7}}}) as r:
        await keep_asking(r, 20, 60.0)
        r.provider.play(Fail(error))
        await r.fails(AllAttemptsFailed)
        assert r.state("a").slots.limit == 7


async def test_of_a_stream_the_first_output_counts():
    """All of it takes ten seconds and more, longer for each that is under way; the first word a second."""
    async with routed(Slow(1, then=Stream(["x"] * 11, pause_s=1.0)), groups=ALONE, deployments=ADAPTIVE) as r:

        async def caller():
            for _ in range(20):
                await r.read()

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(caller)
        gradient = r.state("a").slots.gradient
        assert gradient._least_s == pytest.approx(1.0)
        assert gradient.limit >= 20
        r.provider.play(Reply())
