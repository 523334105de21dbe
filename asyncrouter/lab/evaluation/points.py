"""The measures of selectors: points instead of a ranking of the prompts.

A selector comes to one point at each of its settings.  Between two points, and between a point and a model alone, lots
can be drawn: so the curve of a pair goes in straight lines from the weak model over the points, by their shares of
strong calls, to the strong model.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.curves import PairCurve
from asyncrouter.lab.evaluation.measuring import PAIR_MEASURES, Measured, Measures, measured
from asyncrouter.lab.evaluation.scored import Played, Scored
from asyncrouter.lab.outcomes.table import Floats


def measure_played(scored: Scored, played: Played, resampling: Resampling, stream: int) -> Measures:
    """Return the measures of *played*: those of a pair where only the pair may answer.

    Of a selector with a single setting there are its quality, its share of strong calls and its cost too, where known.
    """
    found = dict(_single(scored, played, resampling, stream)) if len(played.settings) == 1 else {}
    return {**_of_pair(scored, played, resampling, stream), **found}


def points_curve(played: Played, weak: Floats, strong: Floats, weights: Floats) -> PairCurve:
    """Return the curve over the points of *played*, which is of a pair.

    *weak* and *strong* are the two models' scores, shape (rows,); *weights*, shape (..., rows), say how often each row
    counts, and each row of them makes a curve.
    """
    assert played.strong is not None  # noqa: S101 - told by the caller
    total = weights.sum(axis=-1, keepdims=True)
    shares, qualities = weights @ played.strong.T / total, weights @ played.qualities.T / total
    order = np.argsort(shares, axis=-1, kind="stable")
    ends = [(weights @ one)[..., None] / total for one in (weak, strong)]
    return PairCurve(
        np.concatenate([np.zeros_like(total), np.take_along_axis(shares, order, -1), np.ones_like(total)], axis=-1),
        np.concatenate([ends[0], np.take_along_axis(qualities, order, -1), ends[1]], axis=-1),
    )


def _of_pair(scored: Scored, played: Played, resampling: Resampling, stream: int) -> Measures:
    if played.strong is None:
        return {}
    table = scored.outcomes.rows(played.rows)
    weak, strong = table.of(table.weak), table.of(table.strong)
    curve = points_curve(played, weak, strong, np.ones(len(weak)))
    drawn = [points_curve(played, weak, strong, weights) for weights in _weights(scored, played, resampling, stream)]
    return {
        name: measured(float(of(curve)), np.concatenate([of(one) for one in drawn]))
        for name, of in PAIR_MEASURES.items()
    }


def _single(scored: Scored, played: Played, resampling: Resampling, stream: int) -> Iterator[tuple[str, Measured]]:
    values = {"quality": played.qualities[0]}
    if played.strong is not None:
        values["strong_share"] = played.strong[0]
    if scored.outcomes.costs is not None:
        values["cost_usd"] = played.costs[0]
    drawn = list(_weights(scored, played, resampling, stream))
    for name, of_rows in values.items():
        replicates = np.concatenate([weights @ of_rows / weights.sum(axis=-1) for weights in drawn])
        yield name, measured(float(of_rows.mean()), replicates)


def _weights(scored: Scored, played: Played, resampling: Resampling, stream: int) -> Iterator[Floats]:
    groups = scored.outcomes.rows(played.rows).groups
    return resampling.weights(groups, stream, len(groups))
