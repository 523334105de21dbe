"""The fleet knows who is not ready without a look at each: never one too few, and none too many."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import DeploymentState, Fleet
from asyncrouter.strategies.filters.cooldown import CooldownFilter
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.deployments import BreakerSettings, Deployment, Limits


class Clock:
    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at


class Plain:
    """The same fleet, as one that cannot tell who may be away."""

    def __init__(self, fleet):
        self._fleet, self.now = fleet, fleet.now

    def __getitem__(self, name):
        return self._fleet[name]


def fleet_of(count, *, limits=None):
    clock = Clock()
    breaker = BreakerSettings(failures=2, open_s=4.0, ramp_s=3.0)
    deployments = tuple(
        Deployment(name=f"d{number}", provider="p", model="m", breaker=breaker, limits=limits or Limits())
        for number in range(count)
    )
    fleet = Fleet(clock, random.Random(1), RetryBudget(0.2, 3))  # noqa: S311 - repeatable
    fleet.add(deployments)
    return clock, fleet, deployments


LIMITED = Limits(rpm=40, tpm=600)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fail", "succeed", "hold", "release", "answer", "cool", "wait", "turn", "pass", "reserve",
                         "settle", "hand back", "told", "closed", "adopt", "limit"]),
        st.integers(0, 2),
    ),
    max_size=40,
)  # fmt: skip


def limited(state, step, now):
    """Do with the limits of *state* what a call does; nothing where it has none."""
    told = Allowances(requests=Allowance(remaining=0, reset_s=3.0))
    if step == "told":
        state.heed(told, 10, now, closing=False)
    elif step == "closed":
        state.heed(told, 10, now)
    elif state.limits is not None and step == "reserve":
        state.limits.reserve(150, now)
    elif state.limits is not None and step == "settle":
        state.limits.settle(150, 30, now)
    elif state.limits is not None and step == "hand back":
        state.limits.hand_back(now)


def broken(state, step, now, held):
    """Do with the breaker of *state* what a call does."""
    breaker = state.breaker
    if step == "turn":
        breaker.take_turn(now)
    elif step == "release" and held:
        breaker.released(held.pop(), now)
    elif step == "answer" and held:
        breaker.succeeded(held.pop(), now)
    elif (permit := breaker.admit(now, passed=step == "pass")) is not None:
        if step == "hold":
            held.append(permit)
        else:
            (breaker.failed if step == "fail" else breaker.succeeded)(permit, now)


def course(*steps):
    return [(step, 2 if step == "wait" else 0) for step in steps]


OPEN_AND_OVER = ("fail", "fail", "wait", "wait")


@pytest.mark.parametrize("limits", [None, LIMITED])
@example(steps=course(*OPEN_AND_OVER, "hold"))
@example(steps=course(*OPEN_AND_OVER, "hold", "release"))
@example(steps=course(*OPEN_AND_OVER, "hold", "answer"))
@example(steps=course(*OPEN_AND_OVER, "succeed", *["turn"] * 8))
@example(steps=course(*["reserve"] * 5, "settle", "settle"))
@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_the_filter_leaves_the_same_as_by_looking_at_all(limits, steps):
    clock, fleet, deployments = fleet_of(3, limits=limits)
    held = {state: [] for state in range(3)}
    quick, plain = CooldownFilter(), CooldownFilter()
    for step, number in steps:
        state = fleet[f"d{number}"]
        if step == "wait":
            clock.at += 0.7 * (number + 1)
        elif step == "cool":
            state.cool_until(clock.at + 2.0)
        elif step in ("adopt", "limit"):
            model, limits = ("m", LIMITED) if step == "limit" else (f"m{clock.at}", Limits())
            fleet.adopt([attrs.evolve(state.deployment, model=model, limits=limits)])
        elif step in ("reserve", "settle", "hand back", "told", "closed"):
            limited(state, step, clock.at)
        else:
            broken(state, step, clock.at, held[number])
        asked = {"candidates": deployments, "state": fleet}
        assert quick.asyncrouter_filter(**asked) == plain.asyncrouter_filter(deployments, Plain(fleet))


def looks_of(fleet, monkeypatch):
    """Return a list that grows with every look at a deployment's readiness."""
    looks, ready_at = [], DeploymentState.ready_at
    monkeypatch.setattr(
        DeploymentState, "ready_at", property(lambda state: looks.append(state.deployment.name) or ready_at.fget(state))
    )
    return looks


def test_nobody_is_looked_at_until_something_happens(monkeypatch):
    clock, fleet, _ = fleet_of(3)
    looks = looks_of(fleet, monkeypatch)
    assert fleet.away() == frozenset()
    fleet["d1"].cool_until(2.0)
    away = fleet.away()
    assert (away, looks) == ({"d1"}, ["d1"])
    clock.at = 1.9
    assert fleet.away() is away
    assert looks == ["d1"]
    clock.at = 2.0
    assert fleet.away() == frozenset()
    clock.at = 99.0
    assert fleet.away() == frozenset()
    assert looks == ["d1"]


def test_who_has_limits_is_looked_at_after_a_call_only(monkeypatch):
    _, fleet, _ = fleet_of(3, limits=Limits(rpm=2))
    looks = looks_of(fleet, monkeypatch)
    assert fleet.away() == frozenset()
    for _ in range(2):
        fleet["d1"].limits.reserve(10, 0.0)
    assert fleet.away() == {"d1"}
    assert looks == ["d1"]


def test_the_same_set_is_told_while_the_same_are_away():
    _, fleet, _ = fleet_of(3)
    fleet["d1"].cool_until(2.0)
    away = fleet.away()
    fleet["d1"].cool_until(3.0)
    assert fleet.away() is away


def test_who_is_forgotten_is_not_away_either():
    _, fleet, _ = fleet_of(2)
    fleet["d0"].cool_until(9.0)
    assert fleet.away() == {"d0"}
    fleet.forget(["d0"])
    assert not fleet.away()


def test_while_the_same_are_away_the_same_tuple_is_left():
    _, fleet, deployments = fleet_of(3)
    fleet["d1"].cool_until(9.0)
    one = CooldownFilter()
    left = one.asyncrouter_filter(deployments, fleet)
    assert [deployment.name for deployment in left] == ["d0", "d2"]
    assert one.asyncrouter_filter(deployments, fleet) is left
    fleet["d0"].cool_until(9.0)
    assert [deployment.name for deployment in one.asyncrouter_filter(deployments, fleet)] == ["d2"]
