"""What a policy is worth on calls that another one decided.

With *a* the logged choice, *p* its propensity, *t* what the policy would have chosen and *r* what came of *a*, a call
weighs ``w = 1/p`` where *t* is *a*, and 0 elsewhere.

=======  =======================================  ===========================================================
name     estimate                                 what it rests on
=======  =======================================  ===========================================================
direct   mean of q(x, t)                          the model *q* of what comes of *t*, learned from the log
ips      mean of w r                              the propensities (Horvitz and Thompson, 1952)
snips    sum of w r over sum of w                 the same, with less variance (Swaminathan and Joachims, 2015)
dr       mean of q(x, t) + w (r - q(x, a))        either of the two (Dudik, Langford and Li, 2011)
=======  =======================================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.measuring import Measured, measured
from asyncrouter.lab.outcomes.table import Floats, Indices

DIRECT, IPS, SNIPS, DR, LOGGED = "direct", "ips", "snips", "dr", "logged"
RIDGE = 1.0
"""Strength of the models' ridge, on standardised features."""
PARTS = 5
"""A call's model is learned from the other parts of the log."""


@attrs.frozen(kw_only=True)
class Weighed:
    """The weights of the calls, clipped at ``clip``, and how far they can be trusted.

    ``agreement`` is the share of calls in which both chose alike.  ``effective`` is the size of the sample that says as
    much, (sum of w) squared over the sum of squares.  ``unsupported`` is the share of calls in which the log could not
    have chosen as the policy does, as its own choice was certain: there nothing but the model speaks.
    """

    weights: Floats
    clipped: int
    agreement: float
    effective: float
    unsupported: float


def weigh(logged: Sequence[str], propensities: Floats, target: Sequence[str], clip: float) -> Weighed:
    """Return the weights of calls that the log and the policy chose *logged* and *target* for."""
    alike = np.array([a == t for a, t in zip(logged, target, strict=True)])
    raw = np.where(alike, 1 / propensities, 0.0)
    weights = np.minimum(raw, clip)
    squares = float(np.sum(weights**2))
    return Weighed(
        weights=weights,
        clipped=int(np.sum(raw > clip)),
        agreement=float(alike.mean()),
        effective=float(weights.sum() ** 2 / squares) if squares else 0.0,
        unsupported=float(np.mean(~alike & (propensities >= 1.0))),
    )


@attrs.frozen
class Model:
    """What the log teaches of results: for each call that of its logged choice, and that of the policy's choice."""

    of_logged: Floats
    of_target: Floats


def learn(features: Floats, results: Floats, logged: Sequence[str], target: Sequence[str], seed: int) -> Model:
    """Return the results that the log teaches to expect of *logged* and of *target*; see :func:`expectations`."""
    names = sorted({*logged, *target})
    expected = expectations(features, results, logged, names, seed)
    asked, wanted = ([names.index(name) for name in choices] for choices in (logged, target))
    every = np.arange(len(results))
    return Model(expected[every, asked], expected[every, wanted])


def expectations(features: Floats, results: Floats, logged: Sequence[str], names: Sequence[str], seed: int) -> Floats:
    """Return what is to be expected of each deployment of *names* for each call, shape (calls, names).

    A ridge regression for each deployment on *features*, shape (calls, any); each call's expectation comes from the
    other :data:`PARTS` of the log.  Of a deployment that the others never asked, the mean of all stands in.
    """
    parts = np.random.default_rng(seed).integers(PARTS, size=len(results))
    asked = np.array([names.index(name) if name in names else -1 for name in logged])
    expected = np.empty((len(results), len(names)))
    for part in range(PARTS):
        held, others = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        for place in range(len(names)):
            rows = others[asked[others] == place]
            expected[held, place] = _ridge(features, results, rows, held, float(results.mean()))
    return expected


def _ridge(features: Floats, results: Floats, rows: Indices, held: Indices, otherwise: float) -> Floats:
    if not rows.size:
        return np.full(held.size, otherwise)
    centre, spread = features[rows].mean(axis=0), features[rows].std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    seen, mean = (features[rows] - centre) / scale, results[rows].mean()
    gram = seen.T @ seen + (RIDGE + rows.size * 1e-6) * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, seen.T @ (results[rows] - mean))
    low, high = results[rows].min(), results[rows].max()
    expected: Floats = np.clip(mean + (features[held] - centre) / scale @ weights, low, high)
    return expected


def estimate(
    results: Floats, weights: Floats, model: Model, groups: Sequence[str], resampling: Resampling
) -> Mapping[str, Measured]:
    """Return the estimates of the mean result, and that of the log itself, each with its interval.

    The calls are drawn again by *groups*, so that those of one conversation do not count as many.
    """
    corrected = model.of_target + weights * (results - model.of_logged)
    columns = np.stack([model.of_target, weights * results, weights, corrected, results])
    drawn = [draw @ columns.T / draw.sum(axis=1, keepdims=True) for draw in _draws(groups, resampling)]
    replicates = _values(np.concatenate(drawn).T)
    return {name: measured(float(value), replicates[name]) for name, value in _values(columns.mean(axis=1)).items()}


def _draws(groups: Sequence[str], resampling: Resampling) -> list[Floats]:
    return list(attrs.evolve(resampling, by_group=True).weights(groups, 0, len(groups)))


def _values(means: Floats) -> dict[str, Floats]:
    direct, ips, weight, corrected, logged = means
    with np.errstate(divide="ignore", invalid="ignore"):
        snips = np.where(weight > 0, ips / weight, np.nan)
    return {LOGGED: logged, DIRECT: direct, IPS: ips, SNIPS: snips, DR: corrected, "difference": corrected - logged}
