"""What is told of a call when it has ended: usage, cost, metrics, feedback, and nothing where nobody listens."""

from __future__ import annotations

import math

import anyio
import pytest
from routed import PROMPT, routed

from asyncrouter import ServerError, Usage
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.types.events import FeedbackGiven


async def test_missing_usage_is_estimated_and_flagged():
    async with routed(Reply("x" * 40, usage=None), deployments={"a": {"price": {"input": 1.0, "output": 3.0}}}) as r:
        reply = await r.ask()
    assert reply.usage.estimated
    assert reply.usage.output_tokens == 10
    assert reply.usage.input_tokens == reply.trace.estimate.input_tokens
    assert reply.cost_usd == pytest.approx((reply.usage.input_tokens + 30) / 1e6)


async def test_missing_usage_without_a_price_is_estimated_too():
    async with routed(Reply("x" * 40, usage=None)) as r:
        reply = await r.ask()
    assert (reply.usage.estimated, reply.usage.output_tokens, reply.cost_usd) == (True, 10, None)


async def test_the_cost_follows_the_price_of_who_answered_cached_tokens_included():
    price = {"input": 10.0, "output": 20.0, "cached_input": 1.0}
    usage = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=60)
    async with routed({"a": Fail(ServerError), "b": Reply(usage=usage)}, deployments={"b": {"price": price}}) as r:
        reply = await r.ask()
    assert reply.cost_usd == pytest.approx((40 * 10 + 60 * 1 + 10 * 20) / 1e6)


async def test_tokens_of_reasoning_cost_what_they_cost():
    price = {"input": 1.0, "output": 20.0, "reasoning": 5.0}
    usage = Usage(input_tokens=100, output_tokens=50, reasoning_tokens=40)
    async with routed({"a": Reply(usage=usage)}, deployments={"a": {"price": price}}) as r:
        reply = await r.ask()
        assert r.router.metrics().total.cost_usd == reply.cost_usd
    assert reply.cost_usd == pytest.approx((100 * 1 + 10 * 20 + 40 * 5) / 1e6)


async def test_metrics_tell_what_happened_to_whom():
    price = {"price": {"input": 1.0, "output": 1.0}}
    agents = {"recon": {"params": {}}}
    script = {"a": [Slow(2.0), Fail(ServerError), Hang(), Reply()], "b": Slow(4.0)}
    async with routed(script, deployments={"a": price, "b": price}, agents=agents) as r:
        await r.ask()
        r.began += 1
        await r.router.for_agent("recon").generate(PROMPT)
        with anyio.move_on_after(1.0):
            await r.ask()
        metrics = r.router.metrics()
        a, b, recon, total = metrics.deployments["a"], metrics.deployments["b"], metrics.agents["recon"], metrics.total
        left = r.recorder.finished[-1].trace.estimate.input_tokens  # who was left has read the prompt at least
        assert left > 0
        assert (a.calls, a.failures, a.cancelled, a.in_flight, a.input_tokens) == (3, 1, 1, 0, 10 + left)
        assert (b.calls, b.fallbacks, b.output_tokens) == (1, 1, 5)
        assert (recon.calls, recon.failures, recon.fallbacks, recon.input_tokens) == (1, 0, 1, 10)
        assert (total.calls, total.cancelled, total.fallbacks, total.input_tokens) == (3, 1, 1, 20 + left)
        assert total.cost_usd == pytest.approx((30 + left) / 1e6)
        assert recon.cost_usd == pytest.approx(15 / 1e6)
        assert a.latency_s.p50 == pytest.approx(2.0, rel=0.06)
        assert b.latency_s.p50 == pytest.approx(4.0, rel=0.06)
        assert recon.latency_s.p99 == pytest.approx(4.0, rel=0.06)


async def test_a_snapshot_is_frozen():
    async with routed() as r:
        metrics = r.router.metrics()
        await r.ask()
        assert metrics.total.calls == 0
        with pytest.raises(AttributeError):
            metrics.total.calls = 5
        assert r.router.metrics().total.calls == 1


async def test_calls_under_way_are_counted():
    async with routed(Slow(5.0)) as r, anyio.create_task_group() as tasks:
        tasks.start_soon(r.ask)
        tasks.start_soon(r.ask)
        await anyio.sleep(1.0)
        assert r.router.metrics().deployments["a"].in_flight == 2


async def test_feedback_reaches_the_observers():
    async with routed() as r:
        reply = await r.ask()
        await r.router.feedback(reply, 0.5)
        (given,) = r.recorder.of(FeedbackGiven)
        assert (given.response, given.score) == (reply, 0.5)
        for wrong in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match="score"):
                await r.router.feedback(reply, wrong)


async def test_feedback_without_observers_is_heard_by_nobody():
    async with routed(observed=False) as r:
        await r.router.feedback(await r.ask(), 1.0)


async def test_nothing_is_told_where_nobody_listens():
    async with routed({"a": Fail(ServerError), "b": Reply()}, observed=False) as r:
        assert (await r.ask()).deployment == "b"
        _, response = await r.read()
        assert response.deployment == "b"
