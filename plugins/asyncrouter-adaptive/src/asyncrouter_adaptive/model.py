"""What is known of every deployment: Bayesian linear regressions of the reward, around one that they share.

The reward of deployment a for the features x is w_a . x plus noise.  Each w_a is drawn around a common w, which all
outcomes teach, so that a deployment that was hardly asked is expected to fare as the others do on that kind of prompt:
ridge regression with the common w as its prior mean.  Scores are drawn from the posterior: Thompson sampling (Agrawal
and Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs"; the common w as in hierarchical
bandits, Hong et al. 2022).  Old outcomes count less: every one of them is worth ``1 - 1/window`` of the one after it
(Russac, Vernade and Cappe 2019, "Weighted linear bandits for non-stationary environments"), applied in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.packing import numbers, packed, unpacked

NOISE = 0.45
"""Standard deviation of a reward around its expectation: between 0.3 and 0.5 for answers that are right or wrong."""
PRIOR = 20.0
"""Outcomes that the prior of a deployment's own weights is worth: they lie within NOISE / sqrt(20) = 0.1 of the common
ones.  Of 5, 10 and 20 it does best on the outcomes of nine models (``benchmarks/adaptive.py``)."""
PRIOR_OF_ALL = 5.0
"""The same for the first weight, which all prompts have in common: deployments differ more in how good they are than in
what they are good at.  After a change it lets a few kinds tell of all: of twelve seeds with two models changing places
0.73 of the gap was known after 1,000 calls, and 0.57 with 20."""
COMMON_PRIOR = 1.0
BLOCK = 64
"""Outcomes after which old ones are discounted, all at once: an inversion of each matrix."""

Vector = NDArray[np.floating]


class Model:
    """The regressions of every deployment over *size* features; *window*: outcomes that count, about."""

    def __init__(self, size: int, window: float) -> None:
        self._size = size
        self._kept = (1.0 - 1.0 / window) ** BLOCK
        self._prior: Vector = np.full(size, PRIOR)
        self._prior[0] = PRIOR_OF_ALL
        self._rows: dict[str, int] = {}
        self._pulls: list[float] = []
        self._rewards: list[float] = []
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
        return 0.0 if row is None else self._pulls[row]

    def average(self, name: str) -> float:
        """Return the mean reward of the deployment *name*, old outcomes counted in part; 0 before the first."""
        row = self._rows.get(name)
        return 0.0 if row is None or not self._pulls[row] else self._rewards[row] / self._pulls[row]

    def scores(self, x: Vector, names: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return the expected reward of each of *names*, and how unsure that is (a standard deviation)."""
        means = (self._weights @ x).tolist()
        products = (self._cov.reshape(-1, self._size) @ x).reshape(-1, self._size)
        spreads = (products @ x).tolist()
        rows = [self._rows.get(name, -1) for name in names]
        if min(rows) < 0:  # the last of each list is then what is thought of those that were never asked
            means.append(float(self._common @ x))
            spreads.append(float(x @ (x / self._prior)))
        return [means[row] for row in rows], [NOISE * math.sqrt(max(spreads[row], 0.0)) for row in rows]

    def learn(self, x: Vector, name: str, reward: float) -> None:
        """Take in one outcome."""
        row = self._rows.get(name)
        if row is None:
            row = self._add(name)
        self._pulls[row] += 1.0
        self._rewards[row] += reward
        outer = np.outer(x, x)
        self._precision[row] += outer
        _shrink(self._cov[row], x)
        self._sums[row] += reward * x
        self._common_precision += outer
        _shrink(self._common_cov, x)
        self._common_sums += reward * x
        self.outcomes += 1
        if self.outcomes % BLOCK == 0:
            for one in range(len(self._rows)):
                self._discount(self._kept, one)
            self._discount_common(self._kept)
        self._refresh()

    def correct(self, x: Vector, name: str, difference: float, block: int) -> None:
        """Add *difference* to the reward of an outcome that was learned in *block*."""
        row = self._rows.get(name)
        if row is not None:
            change = difference * self._kept ** (self.blocks - block) * x
            self._sums[row] += change
            self._rewards[row] += float(change[0])
            self._common_sums += change
            self._refresh()

    def forget(self, name: str, kept: float) -> None:
        """Keep only the share *kept* of what outcomes of *name* have taught, of itself and of all: it has changed."""
        row = self._rows.get(name)
        if row is not None:
            learned = self._precision[row] - np.diag(self._prior)
            self._common_precision -= (1 - kept) * learned
            self._common_sums -= (1 - kept) * self._sums[row]
            self._common_cov = np.linalg.inv(self._common_precision)
            self._discount(kept, row)
            self._refresh()

    def _discount(self, kept: float, row: int) -> None:
        self._precision[row] = kept * self._precision[row] + (1 - kept) * np.diag(self._prior)
        self._cov[row] = np.linalg.inv(self._precision[row])
        self._sums[row] *= kept
        self._pulls[row] *= kept
        self._rewards[row] *= kept

    def _discount_common(self, kept: float) -> None:
        self._common_precision = kept * self._common_precision + (1 - kept) * COMMON_PRIOR * np.eye(self._size)
        self._common_sums *= kept
        self._common_cov = np.linalg.inv(self._common_precision)

    def _refresh(self) -> None:
        self._common = self._common_cov @ self._common_sums
        self._weights = np.matmul(self._cov, (self._sums + self._prior * self._common)[:, :, None])[:, :, 0]

    def _add(self, name: str) -> int:
        self._pulls.append(0.0)
        self._rewards.append(0.0)
        self._precision = np.concatenate([self._precision, np.diag(self._prior)[None]])
        self._cov = np.concatenate([self._cov, np.diag(1.0 / self._prior)[None]])
        self._sums = np.concatenate([self._sums, np.zeros((1, self._size))])
        return self._rows.setdefault(name, len(self._rows))

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {
            "names": list(self._rows),
            "outcomes": self.outcomes,
            "pulls": list(self._pulls),
            "rewards": list(self._rewards),
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
        pulls, rewards = (numbers(state[key]) for key in ("pulls", "rewards"))
        precision, sums = unpacked(state["precision"]), unpacked(state["sums"])
        common_precision, common_sums = unpacked(state["common_precision"]), unpacked(state["common_sums"])
        shapes = [precision.shape, sums.shape, common_precision.shape, common_sums.shape]
        count = len(names)
        fits = shapes == [(count, size, size), (count, size), (size, size), (size,)]
        if not fits or {len(set(names)), len(pulls), len(rewards)} != {count}:
            raise ValueError("the model has other features than the state")
        cov, common_cov = np.linalg.inv(precision), np.linalg.inv(common_precision)
        self.outcomes = int(state["outcomes"])
        self._rows = {name: row for row, name in enumerate(names)}
        self._pulls, self._rewards = pulls, rewards
        self._precision, self._cov, self._sums = precision, cov, sums
        self._common_precision, self._common_cov, self._common_sums = common_precision, common_cov, common_sums
        self._refresh()


def _shrink(cov: Vector, x: Vector) -> None:
    """Take one more observation at *x* into the inverse of a precision (Sherman and Morrison 1950), in place."""
    gain = cov @ x
    cov -= np.outer(gain, gain) / (1.0 + x @ gain)
