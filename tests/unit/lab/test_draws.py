"""Distributions: what is written becomes what is drawn, and a fault names its place."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from asyncrouter.lab.simulation.draws import KINDS, Constant, draw

SAMPLES = 20_000


def drawn(value, count=SAMPLES):
    faults = []
    made = draw(value, "x", faults)
    assert not faults
    dice = random.Random(1)  # noqa: S311 - no secret
    return [made.sample(dice) for _ in range(count)]


def faults_of(value):
    faults = []
    assert draw(value, "x", faults) is None or faults
    return [str(fault) for fault in faults]


def test_a_number_is_a_constant():
    assert draw(0.8, "x", []) == Constant(value=0.8)
    assert drawn(2, 3) == [2, 2, 2]


def test_uniform_stays_between_its_ends():
    numbers = drawn({"kind": "uniform", "low": 1.0, "high": 3.0})
    assert 1.0 <= min(numbers) < 1.01
    assert 2.99 < max(numbers) <= 3.0
    assert statistics.mean(numbers) == pytest.approx(2.0, rel=0.02)


def test_exponential_has_its_mean_and_its_least():
    numbers = drawn({"kind": "exponential", "mean": 2.0, "least": 0.5})
    assert 0.5 <= min(numbers) < 0.501
    assert statistics.mean(numbers) == pytest.approx(2.0, rel=0.03)
    assert statistics.stdev(numbers) == pytest.approx(1.5, rel=0.05)


def test_an_exponential_whose_mean_is_its_least_is_constant():
    assert drawn({"kind": "exponential", "mean": 2.0, "least": 2.0}, 3) == [2.0, 2.0, 2.0]


def test_lognormal_has_its_median_and_its_spread():
    numbers = sorted(drawn({"kind": "lognormal", "median": 0.8, "sigma": 0.5}))
    assert numbers[SAMPLES // 2] == pytest.approx(0.8, rel=0.02)
    assert numbers[int(SAMPLES * 0.95)] == pytest.approx(0.8 * math.exp(1.645 * 0.5), rel=0.03)


def test_a_mixture_takes_each_part_by_its_share():
    parts = [{"share": 99, "of": 0.05}, {"share": 1, "of": {"kind": "uniform", "low": 2.0, "high": 3.0}}]
    numbers = drawn({"kind": "mixture", "parts": parts})
    slow = [number for number in numbers if number >= 2.0]
    assert set(numbers) - set(slow) == {0.05}
    assert len(slow) / SAMPLES == pytest.approx(0.01, rel=0.2)


def test_the_same_seed_draws_the_same_numbers():
    for kind in ({"kind": "lognormal", "median": 1.0}, {"kind": "exponential", "mean": 1.0}):
        assert drawn(kind, 50) == drawn(kind, 50)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("fast", "x: expected a number or a distribution, not the string 'fast'; such as 0.8"),
        (True, "x: expected a number or a distribution, not the boolean true"),
        (-1, "x: expected a number of 0 or more, not -1"),
        ({"median": 1.0}, f'x.kind: missing; one of "{next(iter(KINDS))}"'),
        ({"kind": "lognornal", "median": 1.0}, "x.kind: unknown kind 'lognornal'; did you mean \"lognormal\"?"),
        ({"kind": "lognormal", "medain": 1.0}, 'x.medain: unknown key; did you mean "median"?'),
        ({"kind": "lognormal", "median": 0}, "x.median: expected a positive number, not 0"),
        ({"kind": "mixture"}, "x.parts: missing; list its parts"),
        ({"kind": "mixture", "parts": []}, "x.parts: expected a list of parts, not an empty list"),
        ({"kind": "mixture", "parts": [{"share": 0, "of": 1}]}, "x.parts[0].share: expected a positive number, not 0"),
        ({"kind": "mixture", "parts": [{"share": 1, "of": "y"}]}, "x.parts[0].of: expected a number or a distribution"),
        ({"kind": "mixture", "parts": [1]}, "x.parts[0]: expected a table, not 1"),
    ],
)
def test_a_fault_names_its_place(value, told):
    faults = faults_of(value)
    assert len([fault for fault in faults if "missing; it has no default" not in fault]) == 1
    assert any(fault.startswith(told) for fault in faults)
