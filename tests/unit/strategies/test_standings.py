"""Orders that are kept up: always what a sort of all candidates would say, by the first and by the rest."""

from __future__ import annotations

import gc
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import Fleet
from asyncrouter.strategies.selectors.measured import LatencySelector, LeastBusySelector
from asyncrouter.strategies.standings import FEW, ByNumber
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.ranking import Ranking, first_of, made

MANY = FEW + 4


class Clock:
    at = 0.0

    def now(self):
        return self.at


def fleet_of(count=MANY):
    deployments = tuple(Deployment(name=f"d{number}", provider="p", model="m") for number in range(count))
    fleet = Fleet(Clock(), random.Random(1), RetryBudget(0.2, 3))  # noqa: S311 - repeatable
    fleet.add(deployments)
    return fleet, deployments


def busy(view):
    return view.in_flight


def latency(view):
    if view.latency_s is None:
        return math.inf if view.in_flight else -math.inf
    return max(view.latency_s, view.silent_s)


def step_at(fleet, state, step):
    """Do with the deployment of *state* what the engine does."""
    now = fleet.now()
    if step == "begin":
        state.in_flight += 1
        state.silence.began(now)
    elif state.in_flight:
        state.ended()
        if step == "give up":
            state.silence.given_up(now)
        else:
            state.silence.broken(now)
            state.answered(0.1 if step == "answer fast" else 1.5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "give up", "answer", "answer fast", "leave", "wait"]),
        st.integers(0, MANY - 1),
    ),
    max_size=120,
)


@pytest.mark.parametrize("number", [busy, latency])
@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_the_order_is_that_of_a_sort(number, steps):
    clock, (fleet, candidates) = Clock(), fleet_of()
    fleet.now, kept, away = clock.now, ByNumber(number), set()
    for place in range(MANY):
        for _ in range(1 + place % 2):
            step_at(fleet, fleet[f"d{place}"], "begin")
    kept(candidates, fleet)
    for step, place in steps:
        if step == "wait":
            clock.at += 0.5
        elif step == "leave":
            away ^= {place}
        else:
            step_at(fleet, fleet[f"d{place}"], step)
        left = candidates if not away else tuple(one for n, one in enumerate(candidates) if n not in away)
        if len(left) > FEW:
            order = kept(left, fleet)
            assert isinstance(order, Ranking)
            wanted = sorted(left, key=lambda one: number(fleet[one.name]))
            assert first_of(order) is wanted[0]
            assert list(made(order)) == wanted


def test_what_a_kept_order_tells_is_how_they_stand_when_it_is_read():
    fleet, candidates = fleet_of()
    order = ByNumber(busy)(candidates, fleet)
    fleet["d1"].in_flight = fleet["d0"].in_flight = 5
    names = [one.name for one in made(order)]
    assert (names[0], names[1], names[-1]) == ("d0", "d2", "d1")
    fleet["d2"].in_flight = 9
    assert [one.name for one in made(order)] == names


def test_an_order_may_be_read_when_its_deployments_are_forgotten():
    fleet, candidates = fleet_of()
    order = ByNumber(busy)(candidates, fleet)
    fleet.forget(one.name for one in candidates)
    assert made(order) == candidates


def test_another_fleet_is_another_standing():
    (first, candidates), (second, _) = fleet_of(), fleet_of()
    kept = ByNumber(busy)
    first["d0"].in_flight = 1
    assert [first_of(kept(candidates, fleet)).name for fleet in (first, second, first)] == ["d1", "d0", "d1"]


def test_what_was_found_of_a_number_before_it_fell_does_not_count_any_more():
    fleet, candidates = fleet_of()
    for place in range(MANY):
        fleet[f"d{place}"].in_flight = 5
    kept, first = ByNumber(busy), fleet["d0"]
    first.in_flight = 2
    firsts = [first_of(kept(candidates, fleet)).name]
    first.ended()
    firsts.append(first_of(kept(candidates, fleet)).name)
    first.in_flight = 9
    firsts.append(first_of(kept(candidates, fleet)).name)
    assert firsts == ["d0", "d0", "d1"]
    assert len(kept._standings.of(candidates)._heap) == MANY


def test_the_heap_does_not_grow_with_the_calls():
    fleet, candidates = fleet_of()
    kept = ByNumber(busy)
    for _ in range(50):
        for place in range(MANY):
            fleet[f"d{place}"].in_flight += 1
        kept(candidates, fleet)
        for place in range(MANY):
            fleet[f"d{place}"].ended()
        kept(candidates, fleet)
    assert len(kept._standings.of(candidates)._heap) <= 2 * MANY + 1


def test_nobody_is_told_who_has_let_go():
    fleet, _ = fleet_of(2)
    watched = fleet.watch(["d0"])
    fleet["d1"].ended()
    assert watched == set()
    fleet["d0"].ended()
    assert watched == {"d0"}
    del watched
    gc.collect()
    fleet["d0"].ended()
    fleet.watch(["d0"])
    assert len(fleet["d0"]._watchers) == 1


def test_another_model_behind_the_name_is_told_of():
    fleet, candidates = fleet_of()
    for place in range(MANY):
        fleet[f"d{place}"].answered(1.0)
    kept = ByNumber(latency)
    assert first_of(kept(candidates, fleet)).name == "d0"
    fleet.adopt([Deployment(name="d5", provider="p", model="other")])
    assert first_of(kept(candidates, fleet)).name == "d5"


# ------------------------------------------------------------------ the selectors that go by it, among many


def test_least_busy_among_many():
    fleet, candidates = fleet_of()
    for place in range(MANY - 1):
        fleet[f"d{place}"].in_flight = 3
    found = LeastBusySelector().asyncrouter_select(candidates, fleet)
    assert (found.first.name, found.reason) == (f"d{MANY - 1}", "0 calls in flight")
    assert found.deployments == (candidates[-1], *candidates[:-1])


def test_latency_among_many_explores_each_other_one_alike():
    fleet, candidates = fleet_of()
    for place in range(MANY):
        fleet[f"d{place}"].answered(1.0 + (place != 3))
    selector = LatencySelector(explore=0.5)
    found = [selector.asyncrouter_select(candidates, fleet) for _ in range(6000)]
    best = [one for one in found if one.first.name == "d3"]
    assert {(one.reason, one.propensity) for one in best} == {("latency 1 s", 0.5)}
    assert len(best) / 6000 == pytest.approx(0.5, abs=0.03)
    for other in set(range(MANY)) - {3}:
        seen = [one for one in found if one.first.name == f"d{other}"]
        assert len(seen) / 6000 == pytest.approx(0.5 / (MANY - 1), abs=0.015)
        assert {(one.reason, one.propensity) for one in seen} == {("explored, latency 2 s", 0.5 / (MANY - 1))}
    assert [one.name for one in seen[0].deployments[:2]] == [f"d{MANY - 1}", "d3"]
