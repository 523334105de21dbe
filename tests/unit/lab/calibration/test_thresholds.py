"""Thresholds give what was asked for, and promises are kept as often as promised."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from asyncrouter.lab.calibration import thresholds
from asyncrouter.lab.calibration.checking import check
from asyncrouter.lab.calibration.thresholds import LEVELS, Rows, for_loss, for_quality, for_spend, for_strong_share
from asyncrouter.types.errors import ConfigError


def population(count=6000, *, seed=1, graded=False):
    """Return rows whose weak model fails the harder, the higher the score is; *graded*: between right and wrong."""
    random = np.random.default_rng(seed)
    scores = random.beta(2, 3, count)
    strong = random.uniform(size=count) < 0.9 - 0.1 * scores
    weak = random.uniform(size=count) < 0.9 - 0.7 * scores
    if graded:
        strong, weak = strong * random.uniform(0.6, 1.0, count), weak * random.uniform(0.6, 1.0, count)
    return Rows(scores=scores, strong=strong.astype(float), weak=weak.astype(float))


RIGHT_OR_WRONG, GRADED = population(), population(graded=True)


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.5, 0.99, 1.0])
def test_the_share_of_strong_calls_is_met(share):
    found = for_strong_share(RIGHT_OR_WRONG, share, 0.95)
    assert np.mean(RIGHT_OR_WRONG.scores >= found.value) == found.strong_share == pytest.approx(share, abs=2e-4)
    low, high = found.strong_share_interval
    assert low <= share <= high
    assert 0.0 <= found.value <= 1.0


@pytest.mark.parametrize(("share", "expected"), [(0.2, 0.0), (0.3, 0.5), (0.74, 0.5), (0.8, 1.0)])
def test_equal_scores_go_to_the_side_that_is_nearer(share, expected):
    scores = np.array([0.2] * 5 + [0.7] * 5)
    assert for_strong_share(Rows(scores=scores), share, 0.95).strong_share == expected


def test_new_prompts_fall_on_both_sides_as_the_interval_says():
    random, inside = np.random.default_rng(7), 0
    for _ in range(400):
        sample = RIGHT_OR_WRONG.drawn(random.integers(6000, size=100))
        found = for_strong_share(attrs.evolve(sample, strong=None, weak=None), 0.3, 0.9)
        low, high = found.strong_share_interval
        inside += low <= np.mean(RIGHT_OR_WRONG.scores >= found.value) <= high
    assert inside / 400 >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / 400)


def test_the_lowest_threshold_that_can_be_paid_for():
    rows = Rows(
        scores=np.array([0.9, 0.8, 0.8, 0.1]), strong_usd=np.array([4.0, 2.0, 2.0, 2.0]), weak_usd=np.full(4, 1.0)
    )
    assert (for_spend(rows, 2.5, 0.9).value, for_spend(rows, 9.9, 0.9).value) == (0.0, 0.0)
    two = for_spend(rows, 2.25, 0.9)
    assert (two.spend_usd, two.strong_share) == (2.25, 0.75)
    assert for_spend(rows, 2.1, 0.9).spend_usd == 1.75  # of the two equal ones both, or none
    assert for_spend(rows, 1.2, 0.9).strong_share == 0.0
    with pytest.raises(ConfigError, match="the weak model alone costs 1 USD on average"):
        for_spend(rows, 0.9, 0.9)
    with pytest.raises(ConfigError, match="give --prices"):
        for_spend(RIGHT_OR_WRONG, 1.0, 0.9)


@pytest.mark.parametrize("rows", [RIGHT_OR_WRONG, GRADED], ids=["right or wrong", "graded"])
def test_what_is_proven_is_near_what_is_possible_when_there_are_many_rows(rows):
    quality = float(np.mean(rows.strong)) - 0.05
    found = for_quality(rows, quality, 0.95)
    assert found.quality >= found.quality_at_least >= quality
    cheaper = float(LEVELS[np.searchsorted(LEVELS, found.value) + 30])
    assert np.where(rows.scores >= cheaper, rows.strong, rows.weak).mean() < quality + 0.01
    lost = for_loss(rows, 0.04, 0.95)
    assert np.mean(rows.strong) - lost.quality <= 0.04


def test_where_nothing_is_proven_nothing_is_given():
    few = RIGHT_OR_WRONG.drawn(np.arange(100))
    with pytest.raises(ConfigError, match=r"quality of 0\.95 is not proven even with all calls .* on these 100 rows"):
        for_quality(few, 0.95, 0.95)
    with pytest.raises(ConfigError, match=r"100 rows do not prove a loss of 0\.001 at most; allow more"):
        for_loss(few, 0.001, 0.95)
    with pytest.raises(ConfigError, match="needs outcomes of both models"):
        for_quality(Rows(scores=few.scores), 0.5, 0.95)


@pytest.mark.parametrize(
    ("rows", "goal"),
    [
        (RIGHT_OR_WRONG, ("quality", 0.75)),
        (RIGHT_OR_WRONG, ("loss", 0.06)),
        (GRADED, ("quality", 0.62)),
        (GRADED, ("loss", 0.06)),
    ],
    ids=["quality", "loss", "graded quality", "graded loss"],
)
def test_the_floor_is_broken_no_more_often_than_promised(rows, goal):
    checked = check(rows, *goal, confidence=0.8, rows=200, calibrations=100, seed=11)
    assert checked.broken_share <= checked.promised == pytest.approx(0.2)
    assert checked.unproven < 100
    assert checked.possible_share < checked.strong_share < 1.0


def test_a_proof_that_is_none_would_be_found_out(monkeypatch):
    """With thresholds that only seem to keep the floor on the rows, it is broken about half of the time."""
    monkeypatch.setattr(thresholds, "TESTED", 2.5)
    checked = check(RIGHT_OR_WRONG, "quality", 0.75, confidence=0.8, rows=200, calibrations=100, seed=11)
    assert checked.broken_share > 0.3 > checked.promised


def test_an_estimator_that_knows_nothing_keeps_the_promise_too():
    blind = attrs.evolve(RIGHT_OR_WRONG, scores=np.random.default_rng(0).uniform(size=6000))
    checked = check(blind, "quality", 0.75, confidence=0.8, rows=200, calibrations=100, seed=3)
    assert checked.broken_share <= 0.2
    informed = check(RIGHT_OR_WRONG, "quality", 0.75, confidence=0.8, rows=200, calibrations=100, seed=3)
    assert informed.strong_share < checked.strong_share
