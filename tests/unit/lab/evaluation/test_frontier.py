"""Many models: hulls, their heights, and who answers what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.frontier import (
    by_complexity,
    by_expected_quality,
    chosen_at,
    foreseen,
    frontier,
    frontier_models,
)
from asyncrouter.lab.evaluation.many import many_models, measure_many
from asyncrouter.lab.evaluation.scored import Scored
from asyncrouter.lab.outcomes import Outcomes

points = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def test_the_frontier_of_four_points():
    line = frontier(np.array([4.0, 1.0, 2.0, 3.0, 9.0]), np.array([0.8, 0.2, 0.4, 0.7, 0.8]))
    assert (line.costs.tolist(), line.qualities.tolist()) == ([1.0, 3.0, 4.0], [0.2, 0.7, 0.8])
    assert line.mean_height(1.0, 4.0) == pytest.approx((2 * 0.45 + 0.75) / 3)
    assert line.mean_height(1.0, 5.0) == pytest.approx((2 * 0.45 + 0.75 + 0.8) / 4)  # flat after its end
    assert line.cost_of(0.45) == pytest.approx(2.0)
    assert (line.cost_of(0.1), line.cost_of(0.8)) == (1.0, 4.0)
    assert np.isnan(line.cost_of(0.81))
    assert np.isnan(line.mean_height(2.0, 2.0))


@given(points)
def test_the_frontier_is_the_best_of_all_mixes(given_points):
    costs, qualities = (np.array(side, dtype=float) for side in zip(*given_points, strict=True))
    line = frontier(costs, qualities)
    assert (np.diff(line.costs) > 0).all()
    assert (np.diff(line.qualities) > 0).all()
    assert {*zip(line.costs, line.qualities, strict=True)} <= {*zip(costs, qualities, strict=True)}
    for cost in range(int(costs.min()), 21):
        mixes = [
            q1 + (q2 - q1) * ((cost - c1) / (c2 - c1) if c2 > c1 else 0.0)
            for c1, q1 in given_points
            for c2, q2 in given_points
            if c1 <= cost <= c2 or (c1 == c2 <= cost)
        ]
        assert np.interp(cost, line.costs, line.qualities) == pytest.approx(max(mixes))


def test_lots_are_drawn_among_equal_scores():
    chosen = chosen_at(np.array([1.0, 3.0, 1.0, 2.0]), np.array([0.0, 0.25, 0.625, 1.0]))
    assert chosen.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0.25, 1, 0.25, 1], [1, 1, 1, 1]]


def test_complexity_chooses_between_neighbours():
    mix = by_complexity(np.array([1.0, 2.0]), [2, 0], 3)
    assert (mix.sum(axis=2) == 1).all()
    assert mix[0].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert mix[10].tolist() == [[0, 0, 1], [1, 0, 0]]  # half of the prompts: the harder one
    assert mix[-1].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert by_complexity(np.array([1.0, 2.0]), [1], 3).tolist() == [[[0, 1, 0], [0, 1, 0]]]


def test_expected_quality_is_weighed_against_cost():
    expected = np.array([[0.9, 0.5], [0.6, 0.55]])
    mix = by_expected_quality(expected, np.array([10.0, 1.0]))
    assert mix[0].tolist() == [[1, 0], [1, 0]]  # quality at any price
    assert mix[-1].tolist() == [[0, 1], [0, 1]]
    assert [[1, 0], [0, 1]] in mix.tolist()  # somewhere between, the dear one only where it is worth it


def test_of_a_cost_the_prompts_part_is_known_before_and_the_answers_is_foretold():
    answers = np.array([[1.0, 10.0], [3.0, 10.0], [2.0, 40.0], [2.0, 20.0]])
    costs = answers + np.array([[1.0], [2.0], [3.0], [4.0]])
    untold = np.full(4, np.nan)
    for unknown in (None, np.where(answers == 40.0, np.nan, answers)):
        assert foreseen(costs, unknown, untold).tolist() == [[4.5, 22.5]] * 4
    assert foreseen(costs, answers, untold).tolist() == [[3, 21], [4, 22], [5, 23], [6, 24]]
    assert foreseen(costs, answers, np.array([50, 100, 150, np.nan])).tolist() == [[2, 11], [4, 22], [6, 33], [6, 24]]


def table(scores, costs):
    rows, models = scores.shape
    names = tuple(f"m{number}" for number in range(models))
    texts = tuple(map(str, range(rows)))
    return Outcomes(
        ids=texts, prompts=(), groups=texts, sources=texts, models=names, scores=scores, costs=costs,
        strong=names[-1], weak=names[0],
    )  # fmt: skip


def test_a_router_that_knows_is_above_the_random_mix_and_below_the_oracle():
    random = np.random.default_rng(3)
    hardness = random.uniform(size=400)
    scores = (np.array([0.4, 0.6, 0.9]) > hardness[:, None]).astype(float)
    costs = np.tile([1.0, 3.0, 9.0], (400, 1)) * 1e-3
    seen = hardness + random.normal(0, 0.1, 400)
    knows = 1 / (1 + np.exp(-(np.array([0.4, 0.6, 0.9]) - seen[:, None]) / 0.1))
    scores_of = {"random": np.zeros(400), "hard": seen, "knows": seen}
    untold = {"knows": np.full(400, np.nan)}
    scored = Scored(table(scores, costs), scores_of, {"knows": knows}, {}, {}, output_tokens=untold)
    many = many_models(scored)
    assert frontier_models(costs.mean(axis=0), scores.mean(axis=0)) == [0, 1, 2]
    aiq = {name: measure_many(many, name, Resampling(replicates=50))["aiq"] for name in ("random", *many.points)}
    # the mean height of the line through the three models alone: two trapezoids over 1 to 3 and 3 to 9
    weak, middle, strong = scores.mean(axis=0)
    assert aiq["random"].value == pytest.approx((2 * (weak + middle) / 2 + 6 * (middle + strong) / 2) / 8)
    assert aiq["random"].value + 0.05 < min(aiq["knows"].value, aiq["hard"].value)
    assert max(one.value for one in aiq.values()) == aiq["oracle"].value
    saved = measure_many(many, "oracle", Resampling(replicates=50))["cost_at_best"]
    # the cheapest model where it is right, and where nobody is
    paid = np.where(scores[:, 0] == 1, 1, np.where(scores[:, 1] == 1, 3, np.where(scores[:, 2] == 1, 9, 1)))
    assert saved.value == pytest.approx(paid.mean() / 9)


def test_without_prices_there_is_no_frontier():
    assert many_models(Scored(table(np.ones((3, 2)), None), {}, {}, {}, {})) is None
    one_price = np.array([[1.0, np.nan]] * 3)
    assert many_models(Scored(table(np.ones((3, 2)), one_price), {}, {}, {}, {})) is None
