"""What rows prove of a mean: exact, or at least never too much."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asyncrouter.lab.calibration.bounds import (
    betting_p,
    binomial_interval,
    binomial_p,
    lower_bound,
    p_values,
    quantile_interval,
)


def tail(successes, rows, share):
    return sum(math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(successes, rows + 1))


@pytest.mark.parametrize("successes", [0, 1, 7, 12])
def test_the_binomial_tail_is_exact(successes):
    assert binomial_p(np.array([successes]), 12, 0.3)[0] == pytest.approx(tail(successes, 12, 0.3))


def test_the_interval_of_clopper_and_pearson():
    assert binomial_interval(0, 10, 0.95) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert binomial_interval(10, 10, 0.95) == pytest.approx((0.025**0.1, 1.0))
    low, high = binomial_interval(3, 20, 0.9)
    assert tail(3, 20, low) == pytest.approx(0.05)
    assert 1 - tail(4, 20, high) == pytest.approx(0.05)


def test_the_interval_of_a_quantile_covers_as_often_as_it_says():
    """Over 30 % of uniform numbers is 0.7: in 90 % of 600 samples at least, give or take chance."""
    random, hits = np.random.default_rng(9), 0
    for _ in range(600):
        low, high = quantile_interval(random.uniform(size=80), 0.3, 0.9)
        hits += low <= 0.7 <= high
    assert 0.9 - 3 * math.sqrt(0.09 / 600) <= hits / 600 < 0.97
    assert quantile_interval(np.array([0.5]), 0.3, 0.9) == (0.0, 1.0)


@pytest.mark.parametrize("draw", [
    lambda random, shape: random.beta(0.5, 0.5, shape),
    lambda random, shape: random.choice([0.0, 0.5, 1.0], shape, p=[0.1, 0.8, 0.1]),
    lambda random, shape: (random.uniform(size=shape) < 0.5).astype(float),
    lambda random, shape: np.full(shape, 0.5),
], ids=["U-shaped", "mostly one half", "right or wrong", "all the same"])  # fmt: skip
def test_betting_is_seldom_won_when_the_mean_is_not_over_the_floor(draw):
    """All have the mean 0.5: a p-value of 0.05 or less comes in 5 % of 2,000 games at most, give or take chance."""
    games = draw(np.random.default_rng(2), (150, 2000))
    won = np.mean(betting_p(games, 0.5, 0.05) <= 0.05)
    assert won <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_rows_that_differ_little_say_much():
    random = np.random.default_rng(4)
    even, wide = random.uniform(0.55, 0.65, 300), random.choice([0.0, 1.0], 300, p=[0.4, 0.6])
    assert betting_p(even[:, None], 0.55, 0.05)[0] < 1e-6
    assert betting_p(wide[:, None], 0.55, 0.05)[0] > 1e-3
    assert lower_bound(even, 0.95) > 0.58
    assert 0.5 < lower_bound(wide, 0.95) < 0.58


def test_the_lower_bound_is_where_the_proof_ends():
    rows = np.array([1.0] * 45 + [0.0] * 15)
    bound = lower_bound(rows, 0.9)
    assert tail(45, 60, bound) == pytest.approx(0.1)
    assert lower_bound(np.zeros(5), 0.9) == 0.0
    assert lower_bound(np.ones(5), 0.9) == pytest.approx(0.1**0.2)


def test_what_is_between_right_and_wrong_goes_by_betting():
    rows = np.array([[1.0], [0.5], [1.0]])
    assert p_values(rows, 0.4, 0.05) == betting_p(rows, 0.4, 0.05)
    assert p_values(rows * 0 + 1, 0.4, 0.05) == pytest.approx(0.4**3)
