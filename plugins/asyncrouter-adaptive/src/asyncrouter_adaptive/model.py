"""What is known of every deployment: Bayesian linear regressions of the reward, around one that they share.

The reward of deployment a for the features x is w_a . x plus noise.  Each w_a is drawn around a common w, which all
outcomes teach, so that a deployment that was hardly asked is expected to fare as the others do on that kind of prompt:
ridge regression with the common w as its prior mean.  Scores are drawn from the posterior: Thompson sampling (Agrawal
and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs"; the common w as in hierarchical
bandits, Hong et al. 2022).  Old outcomes count less: every one of them is worth ``1 - 1/window`` of the one after it
(Russac, Vernade and Cappe 2019, "Weighted linear bandits for non-stationary environments"), applied in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.packing import packed, unpacked

NOISE = 0.45
"""Standard deviation of a reward around its expectation: between 0.3 and 0.5 for answers that are right or wrong."""
PRIOR = 20.0
"""Outcomes that the prior of a deployment's own weights is worth: they lie within NOISE / sqrt(20) = 0.1 of the common
ones.  Of 5, 10 and 20 it does best on the outcomes of nine models (``benchmarks/adaptive.py``)."""
COMMON_PRIOR = 1.0
SPARSE = 16
"""Up to so many features that are not 0 it is quicker to look at their part of the matrices alone."""
BLOCK = 64
"""Outcomes after which old ones are discounted, all at once: an inversion of each matrix."""

Vector = NDArray[np.floating]


class Model:
    """The regressions of every deployment over *size* features; *window*: outcomes that count, about."""

    def __init__(self, size: int, window: float) -> None:
        self._size = size
        self._kept = (1.0 - 1.0 / window) ** BLOCK
        self._rows: dict[str, int] = {}
        self._pulls: Vector = np.zeros(0)
        self._precision: Vector = np.zeros((0, size, size))
        self._cov: Vector = np.zeros((0, size, size))
        self._sums: Vector = np.zeros((0, size))
        self._weights: Vector = np.zeros((0, size))
        self._common_precision: Vector = np.eye(size) * COMMON_PRIOR
        self._common_cov: Vector = np.eye(size) / COMMON_PRIOR
        self._common_sums: Vector = np.zeros(size)
        self._common: Vector = np.zeros(size)
        self.outcomes = 0

    @property
    def blocks(self) -> int:
        """How often old outcomes have been discounted."""
        return self.outcomes // BLOCK

    def pulls(self, name: str) -> float:
        """Return how many outcomes of the deployment *name* count, old ones in part."""
        row = self._rows.get(name)
        return 0.0 if row is None else float(self._pulls[row])

    def average(self, name: str) -> float:
        """Return the mean reward of the deployment *name*, old outcomes counted in part; 0 before the first."""
        row = self._rows.get(name)
        return 0.0 if row is None or not self._pulls[row] else float(self._sums[row, 0] / self._pulls[row])

    def scores(self, x: Vector, names: Sequence[str]) -> tuple[Vector, Vector]:
        """Return the expected reward of each of *names*, and how unsure that is (a standard deviation)."""
        known = [self._rows.get(name, -1) for name in names]
        prior_sd = NOISE * float(np.sqrt(x @ x / PRIOR))
        if min(known) >= 0:
            return self._known_scores(x, known)
        means, deviations = np.full(len(names), float(x @ self._common)), np.full(len(names), prior_sd)
        places = [place for place, row in enumerate(known) if row >= 0]
        if places:
            means[places], deviations[places] = self._known_scores(x, [known[place] for place in places])
        return means, deviations

    def _known_scores(self, x: Vector, rows: Sequence[int]) -> tuple[Vector, Vector]:
        set_places = np.flatnonzero(x)
        if len(set_places) <= SPARSE:  # a named kind: a few features, and so a small part of each matrix
            part = x[set_places]
            spread = self._cov[:, set_places[:, None], set_places] @ part @ part
        else:
            spread = (self._cov.reshape(-1, self._size) @ x).reshape(-1, self._size) @ x
        return (self._weights @ x)[rows], NOISE * np.sqrt(np.maximum(spread, 0.0))[rows]

    def learn(self, x: Vector, name: str, reward: float) -> None:
        """Take in one outcome."""
        row = self._rows.get(name)
        if row is None:
            row = self._add(name)
        self._pulls[row] += 1.0
        outer = np.outer(x, x)
        self._precision[row] += outer
        _shrink(self._cov[row], x)
        self._sums[row] += reward * x
        self._common_precision += outer
        _shrink(self._common_cov, x)
        self._common_sums += reward * x
        self.outcomes += 1
        if self.outcomes % BLOCK == 0:
            self._discount(self._kept, slice(None))
            self._discount_common(self._kept)
        self._refresh()

    def correct(self, x: Vector, name: str, difference: float, block: int) -> None:
        """Add *difference* to the reward of an outcome that was learned in *block*."""
        row = self._rows.get(name)
        if row is not None:
            change = difference * self._kept ** (self.blocks - block) * x
            self._sums[row] += change
            self._common_sums += change
            self._refresh()

    def forget(self, name: str, kept: float) -> None:
        """Keep only the share *kept* of what is known of *name*: it has changed."""
        row = self._rows.get(name)
        if row is not None:
            self._discount(kept, slice(row, row + 1))
            self._refresh()

    def _discount(self, kept: float, rows: slice) -> None:
        self._precision[rows] = kept * self._precision[rows] + (1 - kept) * PRIOR * np.eye(self._size)
        self._sums[rows] *= kept
        self._pulls[rows] *= kept
        self._cov[rows] = np.linalg.inv(self._precision[rows])

    def _discount_common(self, kept: float) -> None:
        self._common_precision = kept * self._common_precision + (1 - kept) * COMMON_PRIOR * np.eye(self._size)
        self._common_sums *= kept
        self._common_cov = np.linalg.inv(self._common_precision)

    def _refresh(self) -> None:
        self._common = self._common_cov @ self._common_sums
        self._weights = np.matmul(self._cov, (self._sums + PRIOR * self._common)[:, :, None])[:, :, 0]

    def _add(self, name: str) -> int:
        prior = np.eye(self._size)[None]
        self._pulls = np.append(self._pulls, 0.0)
        self._precision = np.concatenate([self._precision, prior * PRIOR])
        self._cov = np.concatenate([self._cov, prior / PRIOR])
        self._sums = np.concatenate([self._sums, np.zeros((1, self._size))])
        return self._rows.setdefault(name, len(self._rows))

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {
            "names": list(self._rows),
            "outcomes": self.outcomes,
            "pulls": packed(self._pulls),
            "precision": packed(self._precision),
            "sums": packed(self._sums),
            "common_precision": packed(self._common_precision),
            "common_sums": packed(self._common_sums),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped.

        Raises ``ValueError``, ``KeyError`` or ``TypeError``, and changes nothing, when it is not of this model's size.
        """
        names, size = [str(name) for name in state["names"]], self._size
        pulls, precision, sums = (unpacked(state[key]) for key in ("pulls", "precision", "sums"))
        common_precision, common_sums = unpacked(state["common_precision"]), unpacked(state["common_sums"])
        shapes = [pulls.shape, precision.shape, sums.shape, common_precision.shape, common_sums.shape]
        count = len(names)
        if shapes != [(count,), (count, size, size), (count, size), (size, size), (size,)] or len(set(names)) < count:
            raise ValueError("the model has other features than the state")
        cov, common_cov = np.linalg.inv(precision), np.linalg.inv(common_precision)
        self.outcomes = int(state["outcomes"])
        self._rows = {name: row for row, name in enumerate(names)}
        self._pulls, self._precision, self._cov, self._sums = pulls, precision, cov, sums
        self._common_precision, self._common_cov, self._common_sums = common_precision, common_cov, common_sums
        self._refresh()


def _shrink(cov: Vector, x: Vector) -> None:
    """Take one more observation at *x* into the inverse of a precision (Sherman and Morrison 1950), in place."""
    gain = cov @ x
    cov -= np.outer(gain, gain) / (1.0 + x @ gain)
