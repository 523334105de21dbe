"""The measures of a pair, against what they are by definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.lab.evaluation.bootstrap import Resampling, interval
from asyncrouter.lab.evaluation.curves import pair_curve

STRONG = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
WEAK = np.array([0.0, 1.0, 0.0, 1.0, 0.0])


def test_chance_recovers_what_it_pays_for():
    curve = pair_curve(np.zeros(5), STRONG, WEAK)
    assert (curve.apgr(), curve.cpt(0.5), curve.cpt(0.8)) == pytest.approx((0.5, 0.5, 0.8))


def test_a_perfect_order_pays_for_what_helps_and_no_more():
    curve = pair_curve(STRONG - WEAK, STRONG, WEAK)
    assert curve.cpt(1.0) == pytest.approx(0.4)
    assert curve.apgr() == pytest.approx(1 - 0.4 / 2)


def test_the_worst_order_pays_for_what_does_not_help_first():
    curve = pair_curve(WEAK - STRONG, STRONG, WEAK)
    assert curve.cpt(0.5) == pytest.approx(0.8)
    assert curve.apgr() == pytest.approx(0.2)


def test_quality_may_be_better_than_all_strong():
    curve = pair_curve(np.array([3.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    assert curve.recovered().tolist() == pytest.approx([0.0, 1.0, 2.0, 1.0])


def test_a_pair_without_a_gap_has_no_measures():
    curve = pair_curve(np.arange(3.0), np.zeros(3), np.zeros(3))
    assert np.isnan([curve.apgr(), curve.cpt(0.5)]).all()


numbers = st.integers(min_value=0, max_value=4)
tables = st.lists(st.tuples(st.integers(0, 2), numbers, numbers), min_size=1, max_size=5)


@given(tables)
def test_ties_are_the_mean_over_all_draws(rows):
    """The curve at each share is the mean of the curves of all orders that the scores allow."""
    scores, strong, weak = (np.array(column, dtype=float) / 4 for column in zip(*rows, strict=True))
    orders = [
        list(order)
        for order in itertools.permutations(range(len(rows)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    curve = pair_curve(scores, strong, weak)
    for count in range(len(rows) + 1):
        means = [np.mean([*strong[order[:count]], *weak[order[count:]]]) for order in orders]
        assert curve.at(count / len(rows)) == pytest.approx(np.mean(means))


@given(tables, st.data())
def test_a_weight_counts_as_so_many_rows(rows, data):
    scores, strong, weak = (np.array(column, dtype=float) / 4 for column in zip(*rows, strict=True))
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(any))
    weighted = pair_curve(scores, strong, weak, np.array([times, [1] * len(rows)], dtype=float))
    repeated = pair_curve(*(np.repeat(column, times) for column in (scores, strong, weak)))
    for share in (0.0, 0.3, 0.5, 0.9, 1.0):
        at = np.interp(share, weighted.shares[0], weighted.qualities[0])
        assert at == pytest.approx(repeated.at(share))
    assert weighted.apgr()[0] == pytest.approx(float(repeated.apgr()), nan_ok=True)


# ------------------------------------------------------------------ intervals


def drawn(resampling, groups, stream=0):
    return np.vstack(list(resampling.weights(groups, stream, len(groups))))


def test_every_replicate_has_as_many_rows_as_the_file():
    weights = drawn(Resampling(replicates=50), ["g"] * 20)
    assert weights.shape == (50, 20)
    assert (weights.sum(axis=1) == 20).all()
    assert weights.std() == pytest.approx(np.sqrt(19 / 20), rel=0.1)  # of a binomial


def test_groups_are_drawn_whole():
    groups = ["a", "b", "a", "c", "c"]
    weights = drawn(Resampling(replicates=200, by_group=True), groups)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) == 10  # of 3 groups, with replacement


def test_a_seed_repeats_a_run_and_streams_differ():
    one, again = (drawn(Resampling(replicates=20), ["g"] * 9) for _ in range(2))
    other = drawn(Resampling(replicates=20), ["g"] * 9, stream=1)
    assert (one == again).all()
    assert (one != other).any()


def test_the_interval_covers_as_often_as_it_says():
    """Of a mean of 200 numbers: in 95 % of 300 samples, give or take four standard errors of that share."""
    random, hits = np.random.default_rng(5), 0
    for seed in range(300):
        sample = random.normal(size=200)
        weights = drawn(Resampling(replicates=200, seed=seed), ["g"] * 200)
        low, high = interval(weights @ sample / 200)
        hits += low <= 0.0 <= high
    assert hits / 300 == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 300))


def test_no_interval_where_the_figure_is_mostly_undefined():
    assert interval(np.full(10, np.nan)) is None
    assert interval(np.array([np.nan] * 6 + [1.0] * 4)) is None
    assert interval(np.array([np.nan] * 2 + [1.0] * 8)) == (1.0, 1.0)
