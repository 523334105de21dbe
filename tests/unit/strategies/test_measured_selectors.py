from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.strategies.selectors.measured import LatencySelector, LeastBusySelector
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.deployments import Deployment


def names(selection):
    return "".join(one.name for one in selection.deployments)


# ---------------------------------------------------------------- least busy


def test_least_busy_orders_by_calls_in_flight(deploy, fleet):
    state = fleet(a={"in_flight": 3}, b={"in_flight": 1}, c={"in_flight": 1}, d={"in_flight": 2})
    found = LeastBusySelector().asyncrouter_select(deploy("a", "b", "c", "d"), state)
    assert names(found) == "bcda"
    assert (found.reason, found.propensity) == ("1 calls in flight", 1.0)


# ---------------------------------------------------------------- latency


def test_latency_orders_by_latency(deploy, fleet):
    state = fleet(a={"latency_s": 2.0}, b={"latency_s": 0.5}, c={"latency_s": 0.5}, d={"latency_s": 1.0})
    found = LatencySelector(explore=0).asyncrouter_select(deploy("a", "b", "c", "d"), state)
    assert names(found) == "bcda"
    assert (found.reason, found.propensity) == ("latency 0.5 s", 1.0)


def test_an_unmeasured_one_comes_first_one_call_at_a_time(deploy, fleet):
    candidates, selector = deploy("a", "b"), LatencySelector(explore=0)
    found = selector.asyncrouter_select(candidates, fleet(a={"latency_s": 0.1}))
    assert (names(found), found.reason) == ("ba", "latency not yet known")
    busy = fleet(a={"latency_s": 0.1}, b={"in_flight": 1})
    assert names(selector.asyncrouter_select(candidates, busy)) == "ab"


def test_latency_takes_silence_for_as_long_an_answer_at_least(deploy, fleet):
    state = fleet(a={"latency_s": 0.5, "silent_s": 3.0}, b={"latency_s": 1.0, "silent_s": 0.9}, c={"latency_s": 2.0})
    selector = LatencySelector(explore=0)
    assert names(selector.asyncrouter_select(deploy("a", "b", "c"), state)) == "bca"
    assert selector.asyncrouter_select(deploy("a"), state).reason == "latency 0.5 s, silent for 3 s"


def test_latency_explores_with_the_propensity_it_tells(deploy, fleet):
    state = fleet(seed=4, a={"latency_s": 1.0}, b={"latency_s": 2.0}, c={"latency_s": 3.0})
    selector = LatencySelector(explore=0.3)
    found = [selector.asyncrouter_select(deploy("a", "b", "c"), state) for _ in range(3000)]
    counts = Counter(names(one) for one in found)
    assert set(counts) == {"abc", "bac", "cab"}
    told = {names(one): one.propensity for one in found}
    assert told == pytest.approx({"abc": 0.7, "bac": 0.15, "cab": 0.15})
    for order, propensity in told.items():
        assert counts[order] / 3000 == pytest.approx(propensity, abs=0.03)
    assert {one.reason for one in found} == {"latency 1 s", "explored, latency 2 s", "explored, latency 3 s"}


def test_always_exploring_never_takes_the_best_first(deploy, fleet):
    state = fleet(a={"latency_s": 1.0}, b={"latency_s": 2.0})
    found = LatencySelector(explore=1).asyncrouter_select(deploy("a", "b"), state)
    assert (names(found), found.propensity) == ("ba", 1.0)


def test_a_single_candidate_is_not_explored(deploy, fleet):
    found = LatencySelector(explore=1).asyncrouter_select(deploy("a"), fleet(a={"latency_s": 1.0}))
    assert (names(found), found.propensity) == ("a", 1.0)


@given(
    latencies=st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=6),
    explore=st.floats(0, 1),
    seed=st.integers(0, 50),
)
def test_latency_keeps_every_candidate(latencies, explore, seed):
    candidates = tuple(Deployment(name=str(n), provider="p", model="m") for n in range(len(latencies)))
    state = FakeFleet({str(n): FakeView(latency_s=latency) for n, latency in enumerate(latencies)}, seed=seed)
    found = LatencySelector(explore=explore).asyncrouter_select(candidates, state)
    assert sorted(names(found)) == sorted(one.name for one in candidates)
    assert 0 < found.propensity <= 1


def test_explore_is_a_probability():
    with pytest.raises(ValueError, match=r"^explore: expected a number from 0 to 1, not 2$"):
        LatencySelector(explore=2)
