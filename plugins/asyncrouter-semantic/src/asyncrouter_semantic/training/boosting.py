"""Gradient boosting of regression trees for squared error, by histograms, grown level by level.

The method is Friedman's (Greedy function approximation, 2001) with his sampling of rows (2002); the gain of a split is
that of XGBoost (Chen and Guestrin 2016), ``S_left² / (n_left + L2) + S_right² / (n_right + L2) - S² / (n + L2)`` with
*S* the sum of what is left to explain.  Written out here, as trees must come as heaps and be the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.forest import ALWAYS_LEFT
from asyncrouter_semantic.packing import Array, Pack

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

BINS = 32
TREES, DEPTH = 300, 5
RATE, L2 = 0.05, 10.0
ROW_SHARE, TRAIT_SHARE = 0.6, 0.25
"""Of rows and of traits that one tree gets to see."""
LEAST_ROWS, LEAST_SHARE = 40, 0.002
"""Rows of a leaf at least: so many, or this share of all rows when that is more.  Of 10, 20, 40 and 80 rows 40 and 80
told other rows best from 300 and from 1,500 rows."""


@attrs.frozen(eq=False)
class Bins:
    """Traits as whole numbers below :data:`BINS`: ``codes`` has the shape (traits, rows), ``edges`` (traits, BINS - 1).

    A code is the number of edges that the value is greater than.
    """

    codes: npt.NDArray[np.uint8]
    edges: npt.NDArray[np.float32]

    @classmethod
    def of(cls, traits: npt.NDArray[np.float32]) -> Bins:
        """Cut each column of *traits*, shape (rows, traits), at its quantiles."""
        edges = np.full((traits.shape[1], BINS - 1), ALWAYS_LEFT, dtype=np.float32)
        codes = np.zeros(traits.T.shape, dtype=np.uint8)
        for place, column in enumerate(traits.T):
            values = np.unique(column)
            if len(values) > BINS:
                values = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:]).astype(np.float32))
            cuts = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
            edges[place, : len(cuts)] = cuts
            codes[place] = np.searchsorted(cuts, column, side="left")
        return cls(codes, edges)


@attrs.frozen(eq=False)
class Trees:
    """Trees as heaps, shape (trees, nodes of the inner levels or of all); a leaf of the last level is no inner node."""

    features: npt.NDArray[np.uint8]
    thresholds: npt.NDArray[np.float32]
    values: npt.NDArray[np.float32]
    base: float

    def pack(self) -> Pack:
        """Return what :class:`~asyncrouter_semantic.forest.Forest` reads."""
        arrays: dict[str, Array] = {"features": self.features, "thresholds": self.thresholds, "values": self.values}
        return Pack(arrays, {"depth": DEPTH, "base": self.base})

    def first(self, count: int) -> Trees:
        """Return the first *count* of the trees."""
        return Trees(self.features[:count], self.thresholds[:count], self.values[:count], self.base)

    def predict(self, traits: npt.NDArray[np.float32]) -> Floats:
        """Return the sums for each row of *traits*, those of the first trees alone before: shape (rows, trees)."""
        total = np.full(len(traits), self.base)
        rows, sums = np.arange(len(traits)), np.empty((len(traits), len(self.features)))
        for tree, (features, thresholds, values) in enumerate(
            zip(self.features, self.thresholds, self.values, strict=True)
        ):
            node = np.zeros(len(traits), dtype=np.intp)
            for _ in range(DEPTH):
                node = 2 * node + 1 + (traits[rows, features[node]] > thresholds[node])
            total += values[node]
            sums[:, tree] = total
        return sums


def boost(bins: Bins, rows: Indices, target: Floats, seed: int, progress: Callable[[float], None]) -> Trees:
    """Return trees grown on *rows* of *bins* for *target*, shape (rows,)."""
    random = np.random.default_rng(seed)
    base = float(target.mean())
    growth = _Growth(np.ascontiguousarray(bins.codes[:, rows]), bins.edges, max(LEAST_ROWS, LEAST_SHARE * len(rows)))
    rest = target - base
    grown = []
    for tree in range(TREES):
        seen = np.flatnonzero(random.random(len(rows)) < ROW_SHARE)
        asked = np.sort(random.permutation(len(bins.codes))[: max(1, round(TRAIT_SHARE * len(bins.codes)))])
        one = growth.tree(rest, seen, asked)
        rest = rest - one.said
        grown.append(one)
        progress((tree + 1) / TREES)
    return Trees(
        np.array([one.features for one in grown], dtype=np.uint8),
        np.array([one.thresholds for one in grown], dtype=np.float32),
        np.array([one.values for one in grown], dtype=np.float32),
        base,
    )


@attrs.frozen(eq=False)
class _Tree:
    features: Indices
    thresholds: Floats
    values: Floats
    said: Floats


@attrs.frozen(eq=False)
class _Level:
    """For each node of a level: the feature's place among those asked, the code up to which rows go left, if at all."""

    features: Indices
    cuts: Indices
    splits: npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class _Growth:
    codes: npt.NDArray[np.uint8]
    edges: npt.NDArray[np.float32]
    least: float

    def tree(self, rest: Floats, seen: Indices, asked: Indices) -> _Tree:
        """Grow one tree for *rest* on the rows *seen*, with the features *asked*."""
        features = np.zeros(2**DEPTH - 1, dtype=np.intp)
        thresholds = np.full(2**DEPTH - 1, ALWAYS_LEFT)
        values = np.zeros(2 ** (DEPTH + 1) - 1)
        node, rows = np.zeros(len(rest), dtype=np.intp), np.arange(len(rest))
        values[0] = RATE * float(rest[seen].sum()) / (len(seen) + L2)
        shown = self.codes[np.ix_(asked, seen)].astype(np.intp)
        for level in range(DEPTH):
            first = 2**level - 1
            inner, below = slice(first, 2 * first + 1), slice(2 * first + 1, 4 * first + 3)
            found = self._level(shown, node[seen] - first, rest[seen], first + 1)
            feature = asked[found.features]
            features[inner] = np.where(found.splits, feature, 0)
            cuts = self.edges[feature, np.minimum(found.cuts, BINS - 2)]
            thresholds[inner] = np.where(found.splits, cuts, ALWAYS_LEFT)
            at = node - first
            right = (self.codes[feature[at], rows] > found.cuts[at]) & found.splits[at]
            node = 2 * node + 1 + right
            place = node[seen] - below.start
            sums = np.bincount(place, rest[seen], 2 * first + 2)
            worth = RATE * sums / (np.bincount(place, minlength=2 * first + 2) + L2)
            values[below] = np.where(np.repeat(found.splits, 2), worth, np.repeat(values[inner], 2))
        return _Tree(features, thresholds, values, values[node])

    def _level(self, shown: Indices, place: Indices, rest: Floats, nodes: int) -> _Level:
        """Return the best splits of so many *nodes*; *place* tells each row's, *shown* the codes (features, rows)."""
        features, size = len(shown), nodes * BINS
        at = (np.arange(features)[:, None] * size + place * BINS + shown).ravel()
        sums = np.bincount(at, np.tile(rest, features), features * size)
        counts = np.bincount(at, minlength=features * size)
        left_sums = sums.reshape(features, nodes, BINS).cumsum(axis=2)
        left = counts.reshape(features, nodes, BINS).cumsum(axis=2)
        right_sums, right = left_sums[:, :, -1:] - left_sums, left[:, :, -1:] - left
        gain = left_sums**2 / (left + L2) + right_sums**2 / (right + L2)
        gain -= left_sums[:, :, -1:] ** 2 / (left[:, :, -1:] + L2)
        gain[(left < self.least) | (right < self.least)] = 0.0
        flat = gain.transpose(1, 0, 2).reshape(nodes, -1)
        top = flat.argmax(axis=1)
        return _Level(top // BINS, top % BINS, flat[np.arange(nodes), top] > 0)
