"""Outages under load, in virtual time: however the upstream fails, retries never become a storm."""

from __future__ import annotations

import random

import anyio
import pytest

from asyncrouter import AsyncRouterError, Router, ServerError
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, virtual_backend
from asyncrouter.types.metrics import BreakerState

RATE, SECONDS = 100, 10
REQUESTS = RATE * SECONDS
NO_BREAKER = {"failures": 10**6, "min_calls": 10**6}


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def storm(failing, latency_s, names=("a",), *, seconds=SECONDS, rate=RATE, streamed=False, **group):
    """Send requests at an even rate to deployments that fail so often; return provider, metrics and answers."""
    dice = random.Random(1)  # noqa: S311 - repeatable

    def script(request, deployment, number):
        step = Fail(ServerError) if dice.random() < failing else Reply()
        return Slow(latency_s, then=step) if latency_s else step

    provider, answers = FakeProvider(script), []
    config = {
        "router": {"seed": 1},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": "m"} for name in names},
        "groups": {"chat": {"deployments": list(names), **group}},
    }

    async def one(router):
        try:
            if streamed:
                async with router.stream("hi") as stream:
                    answers.append("".join([chunk.text async for chunk in stream]))
            else:
                answers.append((await router.generate("hi")).text)
        except AsyncRouterError as error:
            answers.append(type(error).__name__)

    async with Router.from_config(config) as router:
        async with anyio.create_task_group() as requests:
            for _ in range(rate * seconds):
                requests.start_soon(one, router)
                await anyio.sleep(1 / rate)
        return provider, router.metrics(), answers


@pytest.mark.parametrize("failing", [0.2, 0.4, 0.8, 1.0])
@pytest.mark.parametrize("latency_s", [0.0, 0.5])
async def test_retries_stay_within_the_budget_with_no_breaker_to_help(failing, latency_s):
    provider, _metrics, answers = await storm(failing, latency_s, breaker=NO_BREAKER)
    assert len(answers) == REQUESTS
    assert len(provider.calls) <= 1.2 * REQUESTS + 3
    if failing == 0.4:  # and the budget is used: it is there for retries
        assert len(provider.calls) >= 1.15 * REQUESTS


@pytest.mark.parametrize("latency_s", [0.0, 0.5])
async def test_with_everything_down_the_breakers_spare_the_upstream(latency_s):
    provider, metrics, answers = await storm(1.0, latency_s, names=("a", "b", "c"))
    assert len(answers) == REQUESTS
    assert "ok" not in answers
    assert len(provider.calls) <= (0.1 if latency_s == 0.0 else 0.4) * REQUESTS  # slow failures are found out late
    assert {one.breaker for one in metrics.deployments.values()} <= {BreakerState.OPEN, BreakerState.HALF_OPEN}


@pytest.mark.parametrize(("latency_s", "streamed"), [(15.0, True), (20.0, False)])
async def test_failures_that_are_slow_in_coming_do_not_multiply_either(latency_s, streamed):
    """A minute: unbounded, fallbacks alone would make 1.5 to 2 calls a request where three deployments fail so late."""
    provider, _metrics, answers = await storm(1.0, latency_s, tuple("abc"), seconds=60, rate=50, streamed=streamed)
    assert len(answers) == 3000
    assert len(provider.calls) <= 1.2 * 3000 + 3


async def test_one_of_three_down_costs_no_request():
    dead = {"a"}

    def script(request, deployment, number):
        return Fail(ServerError) if deployment.name in dead else Reply()

    provider = FakeProvider(script)
    config = {
        "router": {"seed": 1},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": "m"} for name in "abc"},
        "groups": {"chat": {"deployments": ["a", "b", "c"], "select": "round_robin"}},
    }
    async with Router.from_config(config) as router:
        for _ in range(500):
            assert (await router.generate("hi")).text == "ok"
            await anyio.sleep(0.01)
    assert len(provider.calls_to("a")) <= 5 + 3  # what it takes to open, and the probes of five seconds
    assert len(provider.calls) <= 500 + 8
