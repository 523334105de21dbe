"""Learning where no prompt is kept: the gain from the vectors that the prior model's estimates have told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_semantic.model import NAME, Model
from asyncrouter_semantic.packing import Pack, packed
from asyncrouter_semantic.vectors import TOP, Top, width

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 20
FOLDS = 5
PENALTIES = np.geomspace(10.0, 10_000.0, 13)
"""Of the ridge, on scaled vectors: which of them, cross-validation says."""
LEAST_SCALE = 0.02
"""A number that varied by less in the log is not made as large as others: other prompts might have more of it."""
LEAST_SPREAD = 1e-3


def from_vectors(outcomes: Outcomes, prior: Model, seed: int) -> bytes:
    """Return *prior* as a model file, with the gain that the vectors of *outcomes* teach on top.

    A ridge regression around the prior's own gain: what rows do not tell stays as it was.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` when fewer than 20 rows tell the gain, or the vectors are those of
    another model.
    """
    features, gains = _known(outcomes, prior)
    low, high = features.min(axis=0), features.max(axis=0)
    before = prior.top or _as_it_is(prior, low, high)
    rest = gains - before.gains(features)
    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), LEAST_SCALE)
    scaled = (features - centre) / scale
    weights = _ridge(scaled, rest - rest.mean(), _penalty(scaled, rest, seed)) / scale
    offset = before.offset + float(rest.mean() - weights @ centre)
    top = Top(before.weights + weights, np.minimum(before.low, low), np.maximum(before.high, high), offset)
    expected = top.gains(features)
    facts = {"centre": float(expected.mean()), "spread": max(float(expected.std()), LEAST_SPREAD)}
    pack = attrs.evolve(prior.pack, facts={**prior.pack.facts, **facts})
    kept = {name: one for name, one in pack.arrays.items() if not name.startswith(f"{TOP}/")}
    return bytes(ModelFile(NAME, packed(Pack(kept, pack.facts).joined(TOP, top.pack()))))


def _known(outcomes: Outcomes, prior: Model) -> tuple[Floats, Floats]:
    """Return the vectors and gains of the rows that have both."""
    vectors = outcomes.features
    wanted = width(len(prior.head.tasks))
    if vectors is None or vectors.shape[1] != wanted:
        told = 0 if vectors is None else vectors.shape[1]
        raise ConfigError(
            f"the log's vectors have {told} numbers, those of this prior {wanted}: "
            "give the model that the router had as --prior"
        )
    known = np.flatnonzero(~(np.isnan(outcomes.gain) | np.isnan(vectors).any(axis=1)))
    if len(known) < LEAST_ROWS:
        raise ConfigError(f"{len(known)} rows with a vector and with scores of both models; {LEAST_ROWS} are needed")
    return vectors[known].astype(np.float64), outcomes.gain[known]


def _as_it_is(prior: Model, low: Floats, high: Floats) -> Top:
    """Return the top that changes nothing: the gain stands in the vector itself, after the tasks."""
    tasks = len(prior.head.tasks)
    weights = np.zeros(width(tasks))
    weights[tasks] = 1.0
    return Top(weights, low, high, 0.0)


def _penalty(scaled: Floats, rest: Floats, seed: int) -> float:
    """Return the penalty with which other rows are told best."""
    folds = np.random.default_rng(seed).permutation(len(rest)) % FOLDS
    errors = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        learned, told = folds != fold, folds == fold
        mean = rest[learned].mean()
        for place, penalty in enumerate(PENALTIES):
            weights = _ridge(scaled[learned], rest[learned] - mean, penalty)
            errors[place] += float(((rest[told] - mean - scaled[told] @ weights) ** 2).sum())
    return float(PENALTIES[int(errors.argmin())])


def _ridge(matrix: Floats, targets: Floats, penalty: float) -> Floats:
    return np.asarray(np.linalg.solve(matrix.T @ matrix + penalty * np.eye(matrix.shape[1]), matrix.T @ targets))
