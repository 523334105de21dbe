"""The measures of many models: what routers reach at which cost, beside a random mix of the models and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
import numpy as np

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.frontier import (
    Frontier,
    Mix,
    by_complexity,
    by_expected_quality,
    foreseen,
    frontier,
    frontier_models,
)
from asyncrouter.lab.evaluation.measuring import Measures, measured
from asyncrouter.lab.evaluation.scored import ORACLE, RANDOM, Played, Scored
from asyncrouter.lab.outcomes.table import Floats, Indices, Outcomes, known_means

Points = tuple[Floats, Floats]
"""Costs and qualities of the points of a curve, each of shape (points, rows): what each row adds to the mean."""


@attrs.frozen
class ManyModels:
    """The rows of a file on which all models that have a price are known, and the points of each router on them."""

    table: Outcomes
    costs: Floats
    points: Mapping[str, Points]

    @property
    def singles(self) -> Points:
        """Each model alone."""
        return self.costs.T, self.table.scores.T


def many_models(scored: Scored) -> ManyModels | None:
    """Return what the measures of many models need; ``None`` where fewer than two models have prices."""
    found = comparable(scored.outcomes)
    if found is None:
        return None
    known, priced = found
    kept = scored.outcomes.rows(known).of_models(priced)
    assert kept.costs is not None  # noqa: S101 - there are prices
    return ManyModels(kept, kept.costs, dict(_points(scored, kept, kept.costs, known, priced)))


def comparable(table: Outcomes) -> tuple[Indices, Indices] | None:
    """Return the models that have prices, and before them the rows on which all of these are known.

    ``None`` where there are fewer than two such models, or no such row.
    """
    if table.costs is None:
        return None
    priced = np.flatnonzero(~np.isnan(known_means(table.costs)))
    known = np.flatnonzero(~(np.isnan(table.scores[:, priced]) | np.isnan(table.costs[:, priced])).any(axis=1))
    return (known, priced) if priced.size > 1 and known.size else None


def _points(
    scored: Scored, table: Outcomes, costs: Floats, known: Indices, priced: Indices
) -> Iterator[tuple[str, Points]]:
    means = costs.mean(axis=0)
    corners = frontier_models(means, table.scores.mean(axis=0))
    for name, scores in scored.scores.items():
        if name == RANDOM:
            continue
        expected = scored.qualities.get(name)
        if expected is not None and not np.isnan(expected[known][:, priced]).any():
            usd = foreseen(costs, table.answer_costs, scored.output_tokens[name][known])
            mix = by_expected_quality(expected[known][:, priced], usd)
        else:
            mix = by_complexity(scores[known], corners, len(means))
        yield name, _mixed(mix, table.scores, costs)
    for name, played in scored.played.items():
        yield name, _played_points(played, means, table.scores, costs)
    yield ORACLE, _mixed(by_expected_quality(table.scores, costs), table.scores, costs)


def _played_points(played: Played, means: Floats, scores: Floats, costs: Floats) -> Points:
    """Return the points of a selector, and the ends of the range, the cheapest model alone and the best one alone.

    Between any two of them lots can be drawn.
    """
    ends = [int(np.argmin(means)), int(np.argmax(scores.mean(axis=0)))]
    return np.vstack([costs.T[ends], played.costs]), np.vstack([scores.T[ends], played.qualities])


def _mixed(mix: Mix, scores: Floats, costs: Floats) -> Points:
    return np.einsum("prm,rm->pr", mix, costs), np.einsum("prm,rm->pr", mix, scores)


def line_of(many: ManyModels, name: str) -> Frontier:
    """Return the frontier of the router called *name*; that of the models alone is :data:`RANDOM`."""
    costs, qualities = many.singles if name == RANDOM else many.points[name]
    return frontier(costs.mean(axis=1), qualities.mean(axis=1))


@attrs.frozen
class _Drawn:
    """The frontiers of one replicate."""

    line: Frontier
    singles: Frontier

    def aiq(self) -> float:
        return self.line.mean_height(float(self.singles.costs[0]), float(self.singles.costs[-1]))

    def cost_at_best(self) -> float:
        best, cost = float(self.singles.qualities[-1]), float(self.singles.costs[-1])
        return self.line.cost_of(best) / cost


MANY_MEASURES: Mapping[str, Callable[[_Drawn], float]] = {"aiq": _Drawn.aiq, "cost_at_best": _Drawn.cost_at_best}


def measure_many(many: ManyModels, name: str, resampling: Resampling, stream: int = 0) -> Measures:
    """Return AIQ, and the cost of the best model's quality as a part of that model's own, of the router *name*."""
    points = many.singles if name == RANDOM else many.points[name]
    rows = len(many.table)
    drawn: dict[str, list[float]] = {measure: [] for measure in MANY_MEASURES}
    for weights in resampling.weights(many.table.groups, stream, rows):
        shares = (weights / weights.sum(axis=1, keepdims=True)).T
        sides = [values @ shares for values in (*points, *many.singles)]
        for replicate in range(shares.shape[1]):
            one = _drawn([side[:, replicate] for side in sides])
            for measure, of in MANY_MEASURES.items():
                drawn[measure].append(of(one))
    whole = _drawn([values.mean(axis=1) for values in (*points, *many.singles)])
    return {measure: measured(of(whole), np.array(drawn[measure])) for measure, of in MANY_MEASURES.items()}


def _drawn(sides: list[Floats]) -> _Drawn:
    costs, qualities, single_costs, single_qualities = sides
    return _Drawn(frontier(costs, qualities), frontier(single_costs, single_qualities))
