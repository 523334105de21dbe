"""The ramp: turns that come faster and faster, never more than twice the usual load, never none."""

from __future__ import annotations

import itertools
import random

import pytest

from asyncrouter.state.ramp import LEAST_PER_S, PEAK, START, Ramp

LENGTH_S = 10.0


def ramp(per_s, seed=1):
    return Ramp(LENGTH_S, 100.0, random.Random(seed), lambda _now: per_s)  # noqa: S311 - repeatable


def turns(one, count, now=100.0):
    """Take so many turns at one moment: a herd."""
    return [one.take(now) for _ in range(count)]


def per_second(moments, seconds):
    return [sum(100.0 + second <= moment < 101.0 + second for moment in moments) for second in range(seconds)]


@pytest.mark.parametrize("per_s", [100.0, 1000.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_herd_comes_back_at_a_growing_rate_under_twice_the_usual_one(per_s, seed):
    rates = per_second(turns(ramp(per_s, seed), int(25 * per_s)), 16)
    grown = [START + (PEAK - START) * min(1.0, (second + 0.5) / LENGTH_S) for second in range(16)]
    assert rates[1:] == pytest.approx([share * per_s for share in grown[1:]], rel=0.15)
    assert max(rates) <= 2 * per_s


def test_a_quiet_router_is_hardly_held_up():
    moments = turns(ramp(0.01), 15)
    assert moments[: int(LEAST_PER_S) + 1] == [100.0] * (int(LEAST_PER_S) + 1)
    assert moments[-1] == pytest.approx(100.0 + 9 / LEAST_PER_S, rel=0.5)


def test_the_turns_are_spaced_at_random():
    first, second = (turns(ramp(100.0, seed), 50) for seed in (1, 2))
    gaps = [b - a for a, b in itertools.pairwise(first[6:])]
    assert first != second
    assert first == turns(ramp(100.0, 1), 50)
    assert max(gaps) > 1.5 * min(gaps)


def test_it_follows_the_demand_of_the_moment():
    demand = [10.0]
    one = Ramp(LENGTH_S, 100.0, random.Random(1), lambda _now: demand[0])  # noqa: S311 - repeatable
    turns(one, 6, now=110.0)
    slowly = one.take(120.0), one.next_at
    demand[0] = 1000.0
    quickly = one.take(130.0), one.next_at
    assert slowly[1] - slowly[0] == pytest.approx(1 / 18.0, rel=0.5)
    assert quickly[1] - quickly[0] == pytest.approx(1 / 1800.0, rel=0.5)


def test_it_is_over_when_its_time_has_passed_and_nobody_waits():
    one = ramp(100.0)
    assert not one.is_over(109.9)
    assert one.is_over(110.0)
    turns(one, 2000)
    assert one.next_at > 110.0
    assert not one.is_over(one.next_at - 0.001)
    assert one.is_over(one.next_at)
