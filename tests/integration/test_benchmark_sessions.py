"""The simulation of conversations: small, and right about what it counts."""

from __future__ import annotations

import pytest
from benchmark_modules import benchmark

from asyncrouter.testing import run_virtual


@pytest.fixture(scope="module")
def sessions():
    with benchmark("sessions") as module:
        yield module


def test_at_the_same_share_that_was_strong_enough_affinity_costs_less(sessions):
    kind = "chat, Claude 4.5"
    runs = {
        policy: [run_virtual(sessions.run, kind, policy, shift, 25, 1) for shift in (-0.15, -0.05, 0.05, 0.15)]
        for policy in ("each request by itself", "affinity")
    }
    share = 0.96
    plain, affine = (sessions.cost_at(of_policy, share) for of_policy in runs.values())
    assert affine < 0.95 * plain
    assert sum(one.switches for one in runs["affinity"]) < sum(one.switches for one in runs["each request by itself"])


async def test_the_upstreams_cache_is_that_of_the_description(sessions, monkeypatch):
    from asyncrouter.types.deployments import Deployment
    from asyncrouter.types.request import Request

    upstream = sessions.CachingUpstream()
    a, b = (Deployment(name=name, provider="p", model=name) for name in "ab")

    def cached(deployment, text):
        request = Request(messages=[{"role": "user", "content": text}], metadata={"output_tokens": 1})
        return upstream._answer(request, deployment, 1).usage.cached_input_tokens

    long = "x" * 4 * 1300
    assert [cached(a, long), cached(a, long), cached(b, long)] == [0, 1280, 0]
    assert cached(a, long + "y" * 4 * 300) == 1280
    assert cached(a, "y" + long) == 0
    assert cached(a, "z" * 4 * 1000) == cached(a, "z" * 4 * 1000) == 0, "short of 1024 tokens"
    monkeypatch.setattr(sessions, "TTL_S", -1.0)
    assert cached(a, long) == 0


def test_over_regions_of_one_model_affinity_keeps_the_caches(sessions):
    plain, affine = (
        run_virtual(sessions.run_regions, "chat, Claude 4.5", policy, 20, 1) for policy in list(sessions.POLICIES)[:2]
    )
    assert affine.cost_usd < 0.85 * plain.cost_usd
    assert affine.cached > plain.cached + 0.05
    assert affine.switches < plain.switches / 4, "it leaves for a region whose cache still holds the system prompt"


def test_costs_are_read_between_two_runs(sessions):
    def result(share, cost):
        return sessions.Result(
            kind="k", policy="p", shift=0, cost_usd=cost, cached=0, switches=0, by_tier=(1,), strong_enough=share
        )

    runs = [result(0.9, 1.0), result(0.8, 0.5)]
    assert sessions.cost_at(runs, 0.85) == pytest.approx(0.75)
    assert sessions.cost_at(runs, 0.95) is None
