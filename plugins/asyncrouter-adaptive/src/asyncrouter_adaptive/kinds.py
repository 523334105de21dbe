"""Kinds of prompts, found without labels: clusters of the first prompts seen, kept from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.packing import packed, unpacked

WARM_UP = 300
"""Prompts that are looked at before kinds are formed."""
ROUNDS = 30
"""Rounds of Lloyd's algorithm; it settles in fewer."""
RESTARTS = 4

Vector = NDArray[np.floating]


class Kinds:
    """k-means (Lloyd 1982, begun by k-means++, Arthur and Vassilvitskii 2007) over blocks of features.

    Each block (the prompt's shape, the estimator's contributions, its own features) is given the same variance, so that
    none outweighs the others by its units or its length.  Until :data:`WARM_UP` prompts have been seen there are none,
    and afterwards they stay as they are, since what is learned of a kind belongs to it.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: list[tuple[Vector, ...]] = []
        self._scales: list[tuple[Vector, float]] = []
        self._centres: Vector | None = None
        self._half_norms: Vector = np.empty(0)

    def of(self, blocks: Sequence[Vector]) -> int | None:
        """Return the kind, from 0, nearest to *blocks*; ``None`` while there are none, or for blocks of other sizes."""
        if self._centres is None or not self._fits(blocks):
            return None
        return int(np.argmax(self._centres @ self._scaled(blocks) - self._half_norms))

    def see(self, blocks: Sequence[Vector]) -> None:
        """Take note of a prompt; form the kinds when enough have been seen."""
        if self._centres is not None or not self._count:
            return
        if self._seen and [len(block) for block in blocks] != [len(block) for block in self._seen[0]]:
            self._seen.clear()  # another estimator: what was seen before tells nothing of it
        self._seen.append(tuple(blocks))
        if len(self._seen) >= WARM_UP:
            self._form()

    def _form(self) -> None:
        columns = [np.array(column) for column in zip(*self._seen, strict=True)]
        self._seen.clear()
        self._scales = [_scale(column) for column in columns]
        rows = np.hstack([(column - middle) * by for column, (middle, by) in zip(columns, self._scales, strict=True)])
        self._keep(_clusters(rows, self._count))

    def _keep(self, centres: Vector) -> None:
        self._centres = centres
        self._half_norms = (centres**2).sum(axis=1) / 2

    def _fits(self, blocks: Sequence[Vector]) -> bool:
        return [len(block) for block in blocks] == [len(middle) for middle, _ in self._scales]

    def _scaled(self, blocks: Sequence[Vector]) -> Vector:
        scaled: Vector = np.concatenate(
            [(block - middle) * by for block, (middle, by) in zip(blocks, self._scales, strict=True)]
        )
        return scaled

    def dump(self) -> dict[str, Any] | None:
        """Return what :meth:`load` takes; ``None`` before there are kinds."""
        if self._centres is None:
            return None
        scales = [{"middle": packed(middle), "by": by} for middle, by in self._scales]
        return {"centres": packed(self._centres), "scales": scales}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up kinds that were dumped.  Raises ``ValueError`` or ``KeyError`` when *state* is none."""
        scales = [(unpacked(one["middle"]), float(one["by"])) for one in state["scales"]]
        centres = unpacked(state["centres"])
        if centres.ndim != 2 or centres.shape[1] != sum(len(middle) for middle, _ in scales):  # noqa: PLR2004
            raise ValueError("kinds: centres and scales do not belong together")
        self._scales = scales
        self._keep(centres)


def _scale(rows: Vector) -> tuple[Vector, float]:
    """Return the middle of *rows* and what makes their total variance 1."""
    total = float(rows.var(axis=0).sum())
    return rows.mean(axis=0), 1.0 / total**0.5 if total > 0 else 0.0


def _clusters(rows: Vector, count: int) -> Vector:
    """Return the centres of the tightest of several clusterings; the same for the same rows."""
    chance = np.random.default_rng(0)
    tried = [_lloyd(rows, _begin(rows, count, chance)) for _ in range(RESTARTS)]
    return min(tried, key=lambda centres: float(_distances(rows, centres).min(axis=1).sum()))


def _begin(rows: Vector, count: int, chance: np.random.Generator) -> Vector:
    centres: Vector = rows[chance.integers(len(rows))][None]
    while len(centres) < count:
        distances = _distances(rows, centres).min(axis=1)
        if not distances.sum() > 0:  # fewer different prompts than kinds
            break
        centres = np.vstack([centres, rows[chance.choice(len(rows), p=distances / distances.sum())]])
    return centres


def _lloyd(rows: Vector, centres: Vector) -> Vector:
    for _ in range(ROUNDS):
        nearest = _distances(rows, centres).argmin(axis=1)
        moved = np.array(
            [rows[nearest == kind].mean(axis=0) if (nearest == kind).any() else centre
             for kind, centre in enumerate(centres)]
        )  # fmt: skip
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres


def _distances(rows: Vector, centres: Vector) -> Vector:
    distances: Vector = np.maximum(
        0.0, (rows**2).sum(axis=1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(axis=1)[None]
    )
    return distances
