"""Kernel ridge regression over landmarks, with the penalty that is best in cross-validation.

It is the Nyström method: C. Williams and M. Seeger, "Using the Nyström Method to Speed Up Kernel Machines", 2001.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FOLDS = 5
PENALTIES = np.geomspace(1e-3, 1e4, 15)
LEAST_EIGENVALUE = 1e-6
"""Directions of the landmarks' kernel below this are rounding."""


@attrs.frozen(eq=False)
class Linear:
    """What a regression has found: ``weights`` of likenesses and ``offsets``, at the ``penalty`` of this place.

    ``error`` is the sum of squares over all targets, each foretold by who had not seen its row.
    """

    weights: Floats
    offsets: Floats
    penalty: int
    error: float

    def drawn(self, offsets: Floats, factor: float) -> Linear:
        """Return the same drawn to *offsets* alone, of which it keeps apart by *factor*."""
        return attrs.evolve(self, weights=factor * self.weights, offsets=offsets + factor * (self.offsets - offsets))


@attrs.frozen(eq=False)
class View:
    """What regressions see of prompts: likenesses to landmarks, turned so that ridge regression is that of the kernel.

    A target is foretold as ``scale * (offset + likenesses @ weights)``; ``scale`` has the shape (rows,), and ``folds``
    tells the fold of each row.
    """

    turn: Floats
    rows: Floats
    scale: Floats
    folds: Indices

    @classmethod
    def of(cls, likenesses: npt.ArrayLike, among: npt.ArrayLike, folds: Indices) -> View:
        """Return the view of *likenesses* to landmarks, shape (rows, landmarks), and of those *among* landmarks."""
        values, vectors = np.linalg.eigh(np.asarray(among, dtype=float))
        kept = values > LEAST_EIGENVALUE
        turn: Floats = vectors[:, kept] / np.sqrt(values[kept])
        return cls(turn, np.asarray(likenesses, dtype=float) @ turn, np.ones(len(folds)), folds)

    def scaled(self, scale: Floats) -> View:
        """Return the same with another scale."""
        return attrs.evolve(self, scale=scale)

    def held_out(self, targets: Floats, penalty: int) -> Floats:
        """Return *targets*, none of which is unknown, as each fold is foretold by the others at *penalty*."""
        foretold = np.empty_like(targets)
        for fold in range(FOLDS):
            held, learned = np.flatnonzero(self.folds == fold), np.flatnonzero(self.folds != fold)
            foretold[held] = self._told(held, *self._path(learned, targets[learned])[penalty])
        return foretold

    def regress(self, targets: Floats) -> Linear:
        """Return what is found of *targets*, shape (rows, targets), ``nan`` where unknown."""
        known = ~np.isnan(targets)
        patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
        parts = [(np.flatnonzero(pattern), np.flatnonzero(pattern_of == one)) for one, pattern in enumerate(patterns.T)]
        errors = np.sum([self._errors(targets[np.ix_(*part)], part[0]) for part in parts], axis=0)
        best = int(np.argmin(errors))
        weights = np.zeros((self.rows.shape[1], targets.shape[1]))
        offsets = np.zeros(targets.shape[1])
        for rows, columns in parts:
            weights[:, columns], offsets[columns] = self._path(rows, targets[np.ix_(rows, columns)])[best]
        return Linear(self.turn @ weights, offsets, best, float(errors[best]))

    def _errors(self, targets: Floats, rows: Indices) -> Floats:
        """Return the squared errors at each penalty, of *targets* known in *rows*, each fold foretold by the others."""
        errors = np.zeros(len(PENALTIES))
        for fold in range(FOLDS):
            held = self.folds[rows] == fold
            if held.all():
                continue
            for place, found in enumerate(self._path(rows[~held], targets[~held])):
                errors[place] += np.square(self._told(rows[held], *found) - targets[held]).sum()
        return errors

    def _told(self, rows: Indices, weights: Floats, offsets: Floats) -> Floats:
        told: Floats = self.scale[rows, None] * (self.rows[rows] @ weights + offsets)
        return told

    def _path(self, rows: Indices, targets: Floats) -> list[tuple[Floats, Floats]]:
        """Return weights and offsets of ridge regression on *rows* at each of the penalties; offsets have none."""
        length = np.linalg.norm(self.scale[rows])
        unit = self.scale[rows] / length
        seen = self.scale[rows, None] * self.rows[rows]
        centre, level = unit @ seen, unit @ targets
        seen -= np.outer(unit, centre)
        values, vectors = np.linalg.eigh(seen.T @ seen)
        turned = vectors.T @ (seen.T @ (targets - np.outer(unit, level)))
        path = []
        for penalty in PENALTIES:
            weights = vectors @ (turned / (values + penalty)[:, None])
            path.append((weights, (level - centre @ weights) / length))
        return path
