"""Off-policy estimates: unbiased where they say so, and honest about what they cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.replay.values import estimate, learn, weigh

QUALITY = {"mini": lambda x: 0.95 - 0.8 * x, "big": lambda x: 0.85 + 0.0 * x}


def world(count, seed, *, explores=0.25):
    """Return hardness, logged choices with their propensities, results, and what another rule would choose."""
    random = np.random.default_rng(seed)
    hardness = random.uniform(size=count)
    usual = np.where(hardness > 0.7, "big", "mini")
    other = np.where(usual == "big", "mini", "big")
    explored = random.uniform(size=count) < explores
    logged = np.where(explored, other, usual)
    propensities = np.where(explored, explores, 1 - explores)
    chances = np.where(logged == "big", QUALITY["big"](hardness), QUALITY["mini"](hardness))
    target = np.where(hardness > 0.3, "big", "mini")
    return hardness, list(logged), propensities, (random.uniform(size=count) < chances).astype(float), list(target)


TRUTH = np.mean([QUALITY["big"](x) if x > 0.3 else QUALITY["mini"](x) for x in np.linspace(0, 1, 10_001)])


def replayed(seed, *, count=800, clip=50.0, features=None, wrong=1.0, replicates=100):
    hardness, logged, propensities, results, target = world(count, seed)
    weighed = weigh(logged, np.clip(propensities * wrong, 0, 1), target, clip)
    given = np.stack([hardness, hardness**2], axis=1) if features is None else features(hardness)
    model = learn(given, results, logged, target, seed)
    groups = [str(number) for number in range(count)]
    return estimate(results, weighed.weights, model, groups, Resampling(replicates=replicates, seed=seed))


def mean_of(name, **given):
    values = [replayed(seed, replicates=1, **given)[name].value for seed in range(40)]
    return np.mean(values), 3 * np.std(values) / np.sqrt(40)


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "direct"])
def test_the_estimates_are_right_on_average(name):
    mean, spare = mean_of(name)
    assert mean == pytest.approx(TRUTH, abs=spare + 0.003)


def test_the_log_itself_is_something_else():
    mean, spare = mean_of("logged")
    assert abs(mean - TRUTH) > 3 * spare


def test_doubly_robust_survives_a_model_that_knows_nothing():
    blind = {"features": lambda hardness: np.zeros((len(hardness), 1))}
    mean, spare = mean_of("dr", **blind)
    assert mean == pytest.approx(TRUTH, abs=spare)
    mean, spare = mean_of("direct", **blind)
    assert abs(mean - TRUTH) > 2 * spare


def test_doubly_robust_survives_wrong_propensities():
    mean, spare = mean_of("dr", wrong=0.7)
    assert mean == pytest.approx(TRUTH, abs=spare + 0.005)
    mean, spare = mean_of("ips", wrong=0.7)
    assert abs(mean - TRUTH) > 3 * spare


@pytest.mark.parametrize("name", ["ips", "dr"])
def test_the_intervals_cover_as_often_as_they_say(name):
    hits = 0
    for seed in range(60):
        low, high = replayed(seed, count=400, replicates=120)[name].interval
        hits += low <= TRUTH <= high
    assert hits >= 60 * 0.93 - 3 * np.sqrt(60 * 0.93 * 0.07)  # few replicates make them a little narrow


def test_doubly_robust_is_the_sharper_one():
    widths = {name: [] for name in ("ips", "dr")}
    for seed in range(10):
        for name, found in widths.items():
            low, high = replayed(seed)[name].interval
            found.append(high - low)
    assert np.mean(widths["dr"]) < 0.8 * np.mean(widths["ips"])


def test_weights_tell_how_far_they_can_be_trusted():
    weighed = weigh(["a", "a", "b", "b"], np.array([0.5, 1.0, 1.0, 0.02]), ["a", "b", "b", "b"], clip=10.0)
    assert weighed.weights.tolist() == [2.0, 0.0, 1.0, 10.0]
    assert (weighed.clipped, weighed.agreement, weighed.unsupported) == (1, 0.75, 0.25)
    assert weighed.effective == pytest.approx(13**2 / (4 + 1 + 100))
    none = weigh(["a"], np.array([1.0]), ["b"], clip=10.0)
    assert (none.effective, none.unsupported) == (0.0, 1.0)


def test_a_policy_that_is_never_the_logs_has_no_self_normalised_estimate():
    model = learn(np.zeros((4, 1)), np.ones(4), ["a"] * 4, ["b"] * 4, 0)
    found = estimate(np.ones(4), np.zeros(4), model, list("wxyz"), Resampling(replicates=10))
    assert np.isnan(found["snips"].value)
    assert found["snips"].interval is None
    assert found["direct"].value == 1.0  # the mean of the log, for want of anything better


def test_calls_of_one_session_do_not_count_as_many():
    random = np.random.default_rng(0)
    results = np.repeat(random.uniform(size=20), 10)
    model = learn(np.zeros((200, 1)), results, ["a"] * 200, ["a"] * 200, 0)
    sessions = [str(number // 10) for number in range(200)]
    alone = [str(number) for number in range(200)]
    wide, narrow = (
        estimate(results, np.ones(200), model, groups, Resampling(replicates=300))["ips"].interval
        for groups in (sessions, alone)
    )
    assert (wide[1] - wide[0]) > 2 * (narrow[1] - narrow[0])
