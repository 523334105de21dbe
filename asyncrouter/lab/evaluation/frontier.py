"""Many models: the cost-quality frontier of a router, and what is read off it.

The measures are those of RouterBench (Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System", 2024): a
router's points (mean cost, mean quality) at different willingness to pay make a non-decreasing convex hull; AIQ is the
mean height of that hull over the common range of costs, here from the cheapest model alone to the best model alone.
Any point of the hull can be had, by drawing lots between its two corners.
"""

from __future__ import annotations

import itertools

import attrs
import numpy as np

from asyncrouter.lab.evaluation.curves import ranks
from asyncrouter.lab.outcomes.table import Floats

SHARES = np.linspace(0.0, 1.0, 21)
"""Shares of calls that go to the dearer of two neighbouring models."""
PRICES_OF_QUALITY = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 97)])
"""What one unit of cost is worth in quality; the unit is the mean cost of the dearest model."""


@attrs.frozen
class Frontier:
    """The corners of a non-decreasing concave line: mean ``costs`` in USD a call, ascending, and mean ``qualities``."""

    costs: Floats
    qualities: Floats

    def mean_height(self, low: float, high: float) -> float:
        """Return the mean quality over the costs from *low* to *high*; flat after the last corner, AIQ."""
        if not low < high:
            return float("nan")
        inner = self.costs[(self.costs > low) & (self.costs < high)]
        at = np.concatenate([[low], inner, [high]])
        return float(np.trapezoid(np.interp(at, self.costs, self.qualities), at) / (high - low))

    def cost_of(self, quality: float) -> float:
        """Return the least mean cost at which *quality* is reached; ``nan`` where it never is."""
        if self.qualities[-1] < quality:
            return float("nan")
        after = int(np.argmax(self.qualities >= quality))
        if after == 0:
            return float(self.costs[0])
        x0, x1 = self.costs[after - 1 : after + 1]
        y0, y1 = self.qualities[after - 1 : after + 1]
        return float(x0 + (quality - y0) / (y1 - y0) * (x1 - x0))


def frontier(costs: Floats, qualities: Floats) -> Frontier:
    """Return the frontier of points with these *costs* and *qualities*, shape (points,), at least one."""
    corners: list[tuple[float, float]] = []
    order = np.lexsort((-qualities, costs))
    for cost, quality in zip(costs[order].tolist(), qualities[order].tolist(), strict=True):
        if corners and quality <= corners[-1][1]:
            continue
        while len(corners) > 1 and _is_below(corners[-2], corners[-1], (cost, quality)):
            corners.pop()
        corners.append((cost, quality))
    return Frontier(np.array([cost for cost, _quality in corners]), np.array([quality for _cost, quality in corners]))


def _is_below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether *middle* is not above the line from *left* to *right*."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])


def frontier_models(costs: Floats, qualities: Floats) -> list[int]:
    """Return the places of the models at the corners of their own frontier, cheapest first."""
    line = frontier(costs, qualities)
    corners = zip(line.costs, line.qualities, strict=True)
    return [int(np.flatnonzero((costs == cost) & (qualities == quality))[0]) for cost, quality in corners]


def foreseen(costs: Floats, answer_costs: Floats | None, output_tokens: Floats) -> Floats:
    """Return what each call is expected to cost before it is made, shape (rows, models).

    The prompt is known, so its part of *costs* is; the answer's is the model's mean, longer or shorter as
    *output_tokens*, shape (rows,), foretell, ``nan`` where they do not.  Where not all *answer_costs* are known, the
    parts cannot be told apart, and the means of *costs* are all that is known.
    """
    if answer_costs is None or np.isnan(answer_costs).any():
        return np.broadcast_to(costs.mean(axis=0), costs.shape)
    usual = np.nanmean(output_tokens) if not np.isnan(output_tokens).all() else 1.0
    factors = np.nan_to_num(output_tokens / usual, nan=1.0)
    known: Floats = costs - answer_costs + answer_costs.mean(axis=0) * factors[:, None]
    return known


# ------------------------------------------------------------------ which model answers which prompt

Mix = Floats
"""Shape (points, rows, models): with which probability each model answers, at each point of a curve."""


def by_expected_quality(expected: Floats, costs: Floats) -> Mix:
    """Return the choice of the best *expected* quality, shape (rows, models), minus what the cost is worth.

    *costs* has the shape (models,), or (rows, models) where the cost of each call is known before it is made.
    """
    relative = costs / np.max(np.mean(np.atleast_2d(costs), axis=0))
    chosen = np.stack([np.argmax(expected - price * relative, axis=1) for price in PRICES_OF_QUALITY])
    mix: Mix = (chosen[..., None] == np.arange(expected.shape[1])).astype(float)
    return mix


def by_complexity(scores: Floats, models: list[int], count: int) -> Mix:
    """Return the choice between neighbours of *models* (places among *count*, cheapest first) by complexity.

    For each pair of neighbours and each share, the prompts with the highest *scores* go to the dearer one.
    """
    parts = [_pair_mix(scores, low, high, count) for low, high in itertools.pairwise(models)]
    return np.concatenate(parts) if parts else _all_to(models[0], len(scores), count)


def _pair_mix(scores: Floats, low: int, high: int, count: int) -> Mix:
    mix = np.zeros((len(SHARES), len(scores), count))
    mix[:, :, high] = chosen_at(scores, SHARES)
    mix[:, :, low] = 1.0 - mix[:, :, high]
    return mix


def _all_to(model: int, rows: int, count: int) -> Mix:
    mix = np.zeros((1, rows, count))
    mix[:, :, model] = 1.0
    return mix


def chosen_at(scores: Floats, shares: Floats) -> Floats:
    """Return with which probability each prompt is among the given *shares* with the highest *scores*.

    The shape is (shares, rows); lots are drawn among equal scores.
    """
    order, ends = ranks(scores)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends + 1 - starts
    wanted = shares[:, None] * len(scores)
    of_run = np.clip((wanted - starts) / sizes, 0.0, 1.0)
    chosen = np.empty((len(shares), len(scores)))
    chosen[:, order] = np.repeat(of_run, sizes, axis=1)
    return chosen
