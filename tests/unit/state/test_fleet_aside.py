"""The fleet knows who may not be ready: never one too few, and soon none too many."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import Fleet
from asyncrouter.strategies.filters.cooldown import CooldownFilter
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


STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "cool", "wait", "turn"]), st.integers(0, 2)), max_size=40
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_filter_leaves_the_same_as_by_looking_at_all(steps):
    clock, fleet, deployments = fleet_of(3)
    quick, plain = CooldownFilter(), CooldownFilter()
    for step, number in steps:
        state = fleet[f"d{number}"]
        if step == "wait":
            clock.at += 0.7 * (number + 1)
        elif step == "cool":
            state.cool_until(clock.at + 2.0)
        elif step == "turn":
            state.breaker.take_turn(clock.at)
        elif (permit := state.breaker.admit(clock.at)) is not None:
            (state.breaker.failed if step == "fail" else state.breaker.succeeded)(permit, clock.at)
        asked = {"candidates": deployments, "state": fleet}
        assert quick.asyncrouter_filter(**asked) == plain.asyncrouter_filter(deployments, Plain(fleet))


def test_who_is_well_again_is_not_looked_at():
    clock, fleet, _ = fleet_of(3)
    assert not fleet.perhaps_aside()
    fleet["d1"].cool_until(2.0)
    assert set(fleet.perhaps_aside()) == {"d1"}
    clock.at = 2.0
    assert not fleet.perhaps_aside()


def test_who_has_limits_is_always_looked_at():
    _, fleet, _ = fleet_of(2, limits=Limits(rpm=10))
    assert set(fleet.perhaps_aside()) == {"d0", "d1"}


def test_who_is_forgotten_is_not_away_either():
    _, fleet, _ = fleet_of(2)
    fleet["d0"].cool_until(9.0)
    fleet.forget(["d0"])
    assert not fleet.perhaps_aside()


def test_while_the_same_are_away_the_same_tuple_is_left():
    _, fleet, deployments = fleet_of(3)
    fleet["d1"].cool_until(9.0)
    one = CooldownFilter()
    left = one.asyncrouter_filter(deployments, fleet)
    assert [deployment.name for deployment in left] == ["d0", "d2"]
    assert one.asyncrouter_filter(deployments, fleet) is left
    fleet["d0"].cool_until(9.0)
    assert [deployment.name for deployment in one.asyncrouter_filter(deployments, fleet)] == ["d2"]
