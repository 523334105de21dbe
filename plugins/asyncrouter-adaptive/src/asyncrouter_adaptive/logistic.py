"""A logistic regression over the features of texts, one step for each of them.

Steps shrink for what was often seen (Duchi, Hazan and Singer 2011, "Adaptive subgradient methods"), for each feature
over all classes together, so that a rare word that comes up late still teaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.packing import packed, unpacked

SEEN_BEFORE = 1e-3
"""What every feature is taken to have been seen before, in squares: it bounds the first step."""

Vector = NDArray[np.floating]


class Logistic:
    """Tells which of *classes* a text is of that has some of *size* features; *step*: the greatest one, about."""

    def __init__(self, size: int, classes: int, step: float) -> None:
        self._step = step
        self._weights: Vector = np.zeros((size, classes))
        self._seen: Vector = np.full(size, SEEN_BEFORE)

    def add(self) -> None:
        """Have one class more, the last."""
        self._weights = np.concatenate([self._weights, np.zeros((len(self._weights), 1))], axis=1)

    def shares(self, places: list[int], values: Vector) -> Vector:
        """Return how likely each class is where the features at *places*, each once, have *values*."""
        scores = values @ self._weights[places]
        shares: Vector = np.exp(scores - scores.max())
        shares /= shares.sum()
        return shares

    def learn(self, places: list[int], values: Vector, right: int) -> int:
        """Learn that the class *right* is that of a text; return which one it was taken for."""
        wrong = self.shares(places, values)
        taken = int(wrong.argmax())
        wrong[right] -= 1.0
        self._seen[places] += values**2 * (wrong @ wrong)
        self._weights[places] -= self._step * np.outer(values / np.sqrt(self._seen[places]), wrong)
        return taken

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {"weights": packed(self._weights), "seen": packed(self._seen)}

    def load(self, state: Mapping[str, Any], classes: int) -> None:
        """Take up what was dumped; raise ``ValueError``, ``KeyError`` or ``TypeError`` when it does not fit."""
        weights, seen = unpacked(state["weights"]), unpacked(state["seen"])
        if (weights.shape, seen.shape) != ((len(self._seen), classes), self._seen.shape):
            raise ValueError("a regression has other features than the state")
        self._weights, self._seen = weights, seen
