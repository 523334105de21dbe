"""Learning the qualities of many models from outcomes.

Scores are parted in two: how well a prompt is answered on average, and what each model does better or worse than that.
The choice between models hangs on the second alone, which is the smaller and noisier one, so it has a penalty of its
own.  Of a log, where few models or one has answered each prompt, what a prompt's average is has to be foretold as well.
Each part is regressed by kernel ridge regression over landmarks (the Nyström method: C. Williams and M. Seeger,
"Using the Nyström Method to Speed Up Kernel Machines", 2001), with the penalty that is best in cross-validation.  The
penalty draws each model to its own mean: where nothing can be told of a prompt, the choice is one between the means,
which is the frontier of single models.  The kernels of several widths are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_cost.models.content import written
from asyncrouter_cost.models.likeness import Likeness, PerModel, squared_distances
from asyncrouter_cost.models.traits import Traits, traits

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Progress = Callable[[float], None]

WIDTHS = (0.15, 0.5, 1.5)
"""Of kernels, for traits of unit variance: from broad to narrow by about three each."""
LANDMARKS = 400
LEAST_MODELS = 2
FOLDS = 5
PENALTIES = np.geomspace(1e-3, 1e3, 13)
LEAST_EIGENVALUE = 1e-6
"""Directions of the landmarks' kernel below this are rounding."""


class Table(Protocol):
    """What is learned from: prompts, and the scores of models, shape (rows, models), ``nan`` where unknown."""

    @property
    def prompts(self) -> Sequence[str]:
        """The prompts."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The models' names."""
        ...

    @property
    def scores(self) -> Floats:
        """Qualities in [0, 1]."""
        ...


class ModelTrainer:
    """Trains the estimator ``cost`` on outcomes of two models or more."""

    def train(self, outcomes: Table, *, seed: int, progress: Progress) -> bytes:
        """Return the bytes of a model file; raise :class:`ConfigError` when there is too little to learn from."""
        known = ~np.isnan(outcomes.scores)
        kept = np.flatnonzero(known.any(axis=0)).tolist()
        rows = np.flatnonzero(known.any(axis=1)).tolist()
        if len(kept) < LEAST_MODELS or len(rows) < 2 * FOLDS or not any(outcomes.prompts):
            raise ConfigError(f"too little to learn from: give two models or more, and {2 * FOLDS} prompts or more")
        models = tuple(outcomes.models[place] for place in kept)
        seen = np.array([traits(outcomes.prompts[row]) for row in rows])
        progress(0.2)
        model = learn(seen, outcomes.scores[rows][:, kept], models, seed, lambda share: progress(0.2 + 0.8 * share))
        return bytes(ModelFile("cost", written(model)))


def learn(seen: Traits, scores: Floats, models: tuple[str, ...], seed: int, progress: Progress) -> PerModel:
    """Return what is learned from *scores*, shape (rows, models), of prompts with the traits *seen*.

    *seen* has the shape (rows, traits).  Of each model and of each row at least one score is known.
    """
    rng = np.random.default_rng(seed)
    likeness = _likeness(seen, rng)
    folds = rng.permutation(len(scores)) % FOLDS
    means = np.nanmean(scores, axis=0)
    average = np.nanmean(scores - means, axis=1, keepdims=True)
    weights, offsets = [], means.copy()
    scaled = likeness.scaled(seen)
    for done, width in enumerate(WIDTHS, start=1):
        view = _View(scaled, likeness.landmarks, width)
        common = view.regress(average, folds)
        level = _level(scores, average, view.fitted(*common))
        apart = view.regress(scores - means - level, folds)
        weights.append((common[0] + apart[0]) / len(WIDTHS))
        offsets += (common[1] + apart[1]) / len(WIDTHS)
        progress(done / len(WIDTHS))
    return PerModel(models, likeness, np.vstack(weights).astype(np.float32), offsets.astype(np.float32))


def _level(scores: Floats, average: Floats, foretold: Floats) -> Floats:
    """Return how well each prompt is answered, shape (rows, 1): the more scores are known, the less it is foretold."""
    known = (~np.isnan(scores)).sum(axis=1, keepdims=True)
    level: Floats = average + (foretold - average) / known
    return level


def _likeness(seen: Traits, rng: np.random.Generator) -> Likeness:
    means, spread = seen.mean(axis=0), seen.std(axis=0)
    scales = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    plain = Likeness(means, scales, seen[:0], ())
    chosen = np.sort(rng.choice(len(seen), min(LANDMARKS, len(seen)), replace=False))
    return Likeness(means, scales, plain.scaled(seen[chosen]), WIDTHS)


class _View:
    """Regressions on the likenesses to landmarks at one width."""

    def __init__(self, scaled: Traits, landmarks: Traits, width: float) -> None:
        among = np.exp(-width * squared_distances(landmarks, landmarks)).astype(float)
        values, vectors = np.linalg.eigh(among)
        kept = values > LEAST_EIGENVALUE
        self._turn: Floats = vectors[:, kept] / np.sqrt(values[kept])
        self._rows: Floats = np.exp(-width * squared_distances(scaled, landmarks)) @ self._turn

    def fitted(self, weights: Floats, offsets: Floats) -> Floats:
        """Return what :meth:`regress` has found, for the rows that it was found on."""
        fitted: Floats = self._rows @ np.linalg.lstsq(self._turn, weights, rcond=None)[0] + offsets
        return fitted

    def regress(self, targets: Floats, folds: Indices) -> tuple[Floats, Floats]:
        """Return weights, shape (landmarks, targets), and offsets for *targets*, at the penalty best over *folds*.

        *targets* has the shape (rows, targets), ``nan`` where unknown.
        """
        known = ~np.isnan(targets)
        patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
        parts = [(np.flatnonzero(pattern), np.flatnonzero(pattern_of == one)) for one, pattern in enumerate(patterns.T)]
        errors = sum(self._errors(targets[np.ix_(*part)], part[0], folds) for part in parts)
        best = int(np.argmin(errors))
        weights = np.zeros((self._rows.shape[1], targets.shape[1]))
        offsets = np.zeros(targets.shape[1])
        for rows, columns in parts:
            weights[:, columns], offsets[columns] = _path(self._rows[rows], targets[np.ix_(rows, columns)])[best]
        return self._turn @ weights, offsets

    def _errors(self, targets: Floats, rows: Indices, folds: Indices) -> Floats:
        """Return the squared errors at each penalty, of *targets* known in *rows*, each fold foretold by the others."""
        errors = np.zeros(len(PENALTIES))
        for fold in range(FOLDS):
            held = folds[rows] == fold
            if held.all():
                continue
            for place, (weights, offsets) in enumerate(_path(self._rows[rows[~held]], targets[~held])):
                errors[place] += np.square(self._rows[rows[held]] @ weights + offsets - targets[held]).sum()
        return errors


def _path(rows: Floats, targets: Floats) -> list[tuple[Floats, Floats]]:
    """Return weights and offsets of ridge regression at each of the penalties."""
    centre, level = rows.mean(axis=0), targets.mean(axis=0)
    centred = rows - centre
    values, vectors = np.linalg.eigh(centred.T @ centred)
    turned = vectors.T @ (centred.T @ (targets - level))
    path = []
    for penalty in PENALTIES:
        weights = vectors @ (turned / (values + penalty)[:, None])
        path.append((weights, level - centre @ weights))
    return path
