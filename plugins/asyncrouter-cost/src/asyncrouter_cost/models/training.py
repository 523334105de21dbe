"""Learning the qualities of many models from outcomes.

Scores are parted in two: how well a prompt is answered on average, and what each model does better or worse than that.
The choice between models hangs on the second alone, which is the smaller and noisier one, so it has a penalty of its
own.  Of a log, where few models or one has answered each prompt, what a prompt's average is has to be foretold as well.
Each part is regressed by kernel ridge regression over landmarks (the Nyström method: C. Williams and M. Seeger,
"Using the Nyström Method to Speed Up Kernel Machines", 2001), with the penalty that is best in cross-validation.  The
penalty draws each model to its own mean: where nothing can be told of a prompt, the choice is one between the means,
which is the frontier of single models.  The kernels of several widths are averaged.  Where costs are known, one more
factor says how far what sets models apart is to be trusted; see :mod:`asyncrouter_cost.models.trust`.

Lengths of answers are one number a prompt: by how much, in logarithms, they are longer than the models' usual ones, on
average over the models.  A forecast for each model by itself chose no better, being the noisier one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_cost.models.content import written
from asyncrouter_cost.models.likeness import Likeness, PerModel, squared_distances
from asyncrouter_cost.models.traits import Traits, traits
from asyncrouter_cost.models.trust import trust

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

    @property
    def lengths(self) -> Floats | None:
        """Tokens of the answers, of the shape of the scores."""
        ...

    @property
    def costs(self) -> Floats | None:
        """US dollars for the answers, of the shape of the scores."""
        ...


class ModelTrainer:
    """Trains the estimator ``cost`` on outcomes of two models or more."""

    def train(self, outcomes: Table, *, seed: int, progress: Progress) -> bytes:
        """Return the bytes of a model file; raise :class:`ConfigError` when there is too little to learn from."""
        is_known = ~np.isnan(outcomes.scores)
        kept = np.flatnonzero(is_known.any(axis=0)).tolist()
        rows = np.flatnonzero(is_known.any(axis=1)).tolist()
        if len(kept) < LEAST_MODELS or len(rows) < 2 * FOLDS or not any(outcomes.prompts):
            raise ConfigError(f"too little to learn from: give two models or more, and {2 * FOLDS} prompts or more")
        models = tuple(outcomes.models[place] for place in kept)
        seen = np.array([traits(outcomes.prompts[row]) for row in rows])
        progress(0.2)
        known = Known(
            scores=outcomes.scores[rows][:, kept],
            lengths=None if outcomes.lengths is None else outcomes.lengths[rows][:, kept],
            costs=None if outcomes.costs is None else outcomes.costs[rows][:, kept],
        )
        learned = learn(seen, known, models, seed=seed, progress=lambda share: progress(0.2 + 0.8 * share))
        return bytes(ModelFile("cost", written(learned)))


@attrs.frozen(eq=False, kw_only=True)
class Known:
    """What is known of answers: ``scores``, shape (rows, models), ``lengths`` in tokens, and ``costs``; or ``nan``."""

    scores: Floats
    lengths: Floats | None = None
    costs: Floats | None = None


def learn(seen: Traits, known: Known, models: tuple[str, ...], *, seed: int, progress: Progress) -> PerModel:
    """Return what is learned from what is *known* of the answers to prompts with the traits *seen*.

    *seen* has the shape (rows, traits).  Of each model and of each row at least one score is known.
    """
    rng = np.random.default_rng(seed)
    likeness = _likeness(seen, rng)
    scaled, folds = likeness.scaled(seen), rng.permutation(len(seen)) % FOLDS
    parts = []
    for done, width in enumerate(WIDTHS, start=1):
        parts.append(_Parts.of(known, _View(scaled, likeness.landmarks, width), folds))
        progress(done / len(WIDTHS))
    held_out = [part.held_out for part in parts if part.held_out is not None]
    factor = (
        trust(known.scores, known.costs, np.mean(held_out, axis=0)) if held_out and known.costs is not None else 1.0
    )
    joined = [part.joined(factor) for part in parts]
    weights = np.vstack([one.weights for one in joined]) / len(WIDTHS)
    offsets = np.mean([one.offsets for one in joined], axis=0)
    offsets[: len(models)] += np.nanmean(known.scores, axis=0)
    model = PerModel(models, likeness, weights.astype(np.float32), offsets.astype(np.float32))
    foretold = model.expected(seen).lengths
    return model if known.lengths is None or foretold is None else _in_tokens(model, foretold, known.lengths)


@attrs.frozen(eq=False)
class _Linear:
    """What a regression has found, at the place ``penalty`` of the penalties; its ``weights`` are for likenesses."""

    weights: Floats
    offsets: Floats
    penalty: int


@attrs.frozen(eq=False)
class _Parts:
    """What was found at one width: of what models have in ``common``, what sets them ``apart``, and of lengths.

    ``held_out`` is what sets them apart by who has not seen the row, where whatever trust needs is known.
    """

    common: _Linear
    apart: _Linear
    lengths: _Linear | None
    held_out: Floats | None

    @classmethod
    def of(cls, known: Known, view: _View, folds: Indices) -> _Parts:
        above = known.scores - np.nanmean(known.scores, axis=0)
        average = np.nanmean(above, axis=1, keepdims=True)
        stretch = None if known.lengths is None else _stretch(known.lengths)
        common = view.regress(average, folds)
        targets = above - _level(known.scores, average, view.fitted(common))
        apart = view.regress(targets, folds)
        is_whole = known.costs is not None and not np.isnan(known.costs + targets).any()
        return cls(
            common,
            apart,
            None if stretch is None else view.regress(stretch, folds),
            view.held_out(targets, folds, apart.penalty) if is_whole else None,
        )

    def joined(self, factor: float) -> _Linear:
        """Return all as one, the models first and then the length; what sets models apart counts by *factor*."""
        weights = [self.common.weights + factor * self.apart.weights]
        offsets = [self.common.offsets + factor * self.apart.offsets]
        if self.lengths is not None:
            weights.append(self.lengths.weights)
            offsets.append(self.lengths.offsets)
        return _Linear(np.hstack(weights), np.hstack(offsets), self.apart.penalty)


def _stretch(lengths: Floats) -> Floats | None:
    """Return by how much answers to a prompt are longer than their models' usual ones, shape (rows, 1).

    In logarithms, ``nan`` where no length is known; ``None`` where none is at all.
    """
    logarithms = np.log(np.maximum(lengths, 1.0))
    known = ~np.isnan(logarithms)
    if not known.any():
        return None
    usual = _known_mean(logarithms, axis=0)
    return _known_mean(logarithms - usual, axis=1)[:, None]


def _in_tokens(model: PerModel, foretold: Traits, lengths: Floats) -> PerModel:
    """Return *model* with lengths in tokens: the mean of the *foretold* ones becomes that of the models' means."""
    offsets = model.offsets.copy()
    offsets[-1] += np.log(np.nanmean(_known_mean(np.maximum(lengths, 1.0), axis=0)) / np.mean(foretold))
    return attrs.evolve(model, offsets=offsets)


def _known_mean(values: Floats, axis: int) -> Floats:
    """Return the means of what is known, ``nan`` where nothing is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    means: Floats = np.where(known, values, 0.0).sum(axis=axis) / np.where(counts == 0, np.nan, counts)
    return means


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

    def fitted(self, found: _Linear) -> Floats:
        """Return what :meth:`regress` has *found*, for the rows that it was found on."""
        fitted: Floats = self._rows @ np.linalg.lstsq(self._turn, found.weights, rcond=None)[0] + found.offsets
        return fitted

    def held_out(self, targets: Floats, folds: Indices, penalty: int) -> Floats:
        """Return *targets*, none of which is unknown, as each of *folds* is foretold by the others at *penalty*."""
        foretold = np.empty_like(targets)
        for fold in range(FOLDS):
            held = folds == fold
            weights, offsets = _path(self._rows[~held], targets[~held])[penalty]
            foretold[held] = self._rows[held] @ weights + offsets
        return foretold

    def regress(self, targets: Floats, folds: Indices) -> _Linear:
        """Return what is found of *targets*, at the penalty that is best over *folds*.

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
        return _Linear(self._turn @ weights, offsets, best)

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
