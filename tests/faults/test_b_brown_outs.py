"""Brown-outs: upstreams that turn slow or silent and never fail.  Virtual time throughout."""

from __future__ import annotations

import asyncio

import pytest
from outages import PROBES_A_MINUTE, began, now, traffic

from asyncrouter import AsyncRouterError
from asyncrouter.testing import Hang, Reply, Slow

SELECTORS = [
    "priority",
    {"use": "weighted", "weights": {"a": 1, "b": 1}},
    "round_robin",
    "least_busy",
    "latency",
    "cost",
    {"use": "complexity", "threshold": 0.9},
]


@pytest.mark.parametrize("select", SELECTORS, ids=lambda one: one if isinstance(one, str) else one["use"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_brown_out_is_left_within_30_s_under_any_selector(faults, select, streamed):
    """Deployment a takes ten times as long from the 60th second on, and never fails."""

    def script(_request, deployment, _number):
        return Slow(10.0 if deployment.name == "a" and now() >= 60.0 else 1.0, then=Reply())

    async with faults(script, select=select, breaker={"slow_s": 3.0}) as f:
        tasks = []
        while now() < 120.0:
            tasks.append(asyncio.create_task(f.read() if streamed else f.ask()))
            await asyncio.sleep(0.2)
        await asyncio.gather(*tasks)
        if select != "latency":
            assert len(began(f, "a", 30.0, 60.0)) >= 30
        assert len(began(f, "a", 90.0, 120.0)) <= PROBES_A_MINUTE
        assert len(began(f, "b", 90.0, 120.0)) >= 140


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("select", ["priority", "round_robin"])
async def test_an_upstream_that_hangs_counts_as_slow_before_its_calls_end(faults, select, streamed):
    """Deployment a never answers from the 60th second on: its calls are slow after three seconds, not when they end."""

    def script(_request, deployment, _number):
        return Hang() if deployment.name == "a" and now() >= 60.0 else Slow(1.0, then=Reply())

    async with faults(script, select=select, breaker={"slow_s": 3.0}) as f:
        tasks = []
        while now() < 100.0:
            tasks.append(asyncio.create_task(f.caught(f.read() if streamed else f.ask())))
            await asyncio.sleep(0.2)
        answers = await asyncio.gather(*tasks)
        assert not [one for one in answers if isinstance(one, AsyncRouterError)]
        assert len(began(f, "a", 60.0, 63.5)) >= 5
        assert len(began(f, "a", 64.5, 100.0)) <= PROBES_A_MINUTE
        assert len(began(f, "b", 64.5, 100.0)) >= 160


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("count", [2, 12], ids=["few", "many"])
async def test_an_upstream_that_hangs_is_left_by_the_selector_of_the_fastest(faults, streamed, count):
    """Deployment a, the fastest, never answers from the 60th second on; no breaker counts slow answers."""
    names = [f"{chr(97 + number)}" for number in range(count)]

    def script(_request, deployment, _number):
        is_first = deployment.name == "a"
        return Hang() if is_first and now() >= 60.0 else Slow(0.5 if is_first else 1.0, then=Reply())

    groups = {"chat": {"deployments": names, "select": {"use": "latency", "explore": 0.0}}}
    async with faults(script, groups=groups) as f:
        tasks = []
        while now() < 70.0:
            tasks.append(asyncio.create_task(f.caught(f.read() if streamed else f.ask())))
            await asyncio.sleep(0.2)
        assert len(began(f, "a", 30.0, 60.0)) >= 149
        assert 5 <= len(began(f, "a", 60.0)) <= 8, "its silence is longer than the others' latency"
        answers = await asyncio.gather(*tasks)
        assert not [one for one in answers if isinstance(one, AsyncRouterError)]


async def test_a_long_answer_is_no_silence_while_others_are_answered(faults):
    def script(_request, deployment, number):
        long = 30.0 if number == 5 else 0.5
        return Slow(long if deployment.name == "a" else 1.0, then=Reply())

    async with faults(script, select={"use": "latency", "explore": 0.0}) as f:
        await traffic(f, 5, 20.0)
        assert len(began(f, "a", 5.0)) == 75
        assert not began(f, "b", 5.0)


async def test_a_brown_out_of_everything_costs_no_call(faults):
    """Where all that is left is slow, the slow ones are asked."""

    def script(_request, _deployment, _number):
        return Slow(10.0 if now() >= 60.0 else 1.0, then=Reply("slow but sure"))

    async with faults(script, select="round_robin", breaker={"slow_s": 3.0}) as f:
        answers = await traffic(f, 5, 120.0)
        assert {one.text for one in answers} == {"slow but sure"}
        assert max(one.trace.duration_s for one in answers) <= 10.0 + 1e-6
        assert f.state("a").breaker.passable
        assert f.state("b").breaker.passable
