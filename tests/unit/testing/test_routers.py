"""A router in one call."""

from __future__ import annotations

import pytest

from asyncrouter.testing import Fail, FakeProvider, Recorder, Reply, fake_router, virtual_backend
from asyncrouter.types.errors import ConfigError, RateLimited


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def test_it_answers():
    async with fake_router(Reply("hello")) as router:
        reply = await router.generate("hi")
    assert (reply.text, reply.deployment, reply.model) == ("hello", "a", "model-a")


async def test_a_given_provider_is_looked_at():
    provider, recorder = FakeProvider({"x": Fail(RateLimited), "y": Reply("from y")}), Recorder()
    async with fake_router(provider, deployments=["x", "y"], plugins=[recorder]) as router:
        assert (await router.generate("hi")).text == "from y"
    assert [call.deployment.name for call in provider.calls] == ["x", "y"]
    assert [attempt.outcome for attempt in recorder.attempts] == ["failed", "ok"]
    assert provider.closed


async def test_tables_and_group_settings_are_passed_on():
    tables = {"cheap": {"price": {"input": 1.0, "output": 2.0}}, "dear": {}}
    async with fake_router(deployments=tables, deadline_s=7.0) as router:
        reply = await router.generate("hi")
        decision = await router.explain("hi")
    assert reply.cost_usd == pytest.approx((10 * 1.0 + 5 * 2.0) / 1e6)
    assert [one.deployment for one in decision.ranking] == ["cheap", "dear"]


async def test_random_choices_depend_on_the_seed():
    async def choices(seed):
        async with fake_router(deployments=5, select="weighted", seed=seed) as router:
            return [(await router.generate("hi")).deployment for _ in range(20)]

    assert await choices(1) == await choices(1) != await choices(2)


async def test_a_given_clock_is_everybodys():
    class Noon:
        def now(self):
            return 43200.0

    provider = FakeProvider(clock=Noon())
    async with fake_router(provider, clock=Noon()) as router:
        reply = await router.generate("hi")
    assert reply.trace.attempts[0].started_at == provider.calls[0].started_at == 43200.0
    async with fake_router(clock=Noon()) as router:
        assert (await router.generate("hi")).trace.duration_s == 0.0


def test_wrong_settings_are_told():
    with pytest.raises(ConfigError, match=r"groups\.chat\.deadlin_s: unknown key"):
        fake_router(deadlin_s=3)
