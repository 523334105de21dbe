"""A forest of boosted regression trees, all walked down at once.

Each tree is a heap: node *i* has the children *2i + 1* and *2i + 2*; branches that end early are filled up with
comparisons that always go left and leaves that repeat the value.  So a walk is ``depth`` steps of a few array
operations, whatever the trees.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import ConfigError
from asyncrouter_semantic.packing import Pack

Floats = npt.NDArray[np.float32]

DEEPEST = 12
ALWAYS_LEFT = np.finfo(np.float32).max
"""The threshold of a comparison that no trait is greater than."""


@attrs.frozen(eq=False)
class Forest:
    """Trees of equal ``depth``: ``features`` and ``thresholds`` of the inner nodes, ``values`` of all nodes, all flat.

    ``values`` hold what the training prompts that came to a node were worth on average, so the steps of a walk tell
    what each comparison added.
    """

    depth: int
    features: npt.NDArray[np.intp]
    thresholds: Floats
    values: Floats
    base: float
    inner: npt.NDArray[np.intp]
    outer: npt.NDArray[np.intp]

    @classmethod
    def of(cls, pack: Pack, width: int) -> Forest:
        """Read the forest over *width* features; raise :class:`ConfigError` when it does not fit."""
        depth = int(pack.number("depth", 0, DEEPEST))
        features = pack.array("features", "|u1", None, 2**depth - 1)
        trees = len(features)
        thresholds = pack.array("thresholds", "<f4", trees, 2**depth - 1)
        values = pack.array("values", "<f4", trees, 2 ** (depth + 1) - 1)
        if trees and int(features.max(initial=0)) >= width:
            raise ConfigError("the forest asks for traits that there are not")
        starts = np.arange(trees)
        return cls(
            depth,
            features.ravel().astype(np.intp),  # numpy picks by these twice as fast as by bytes
            thresholds.ravel(),
            values.ravel(),
            pack.number("base"),
            starts * features.shape[1],
            starts * values.shape[1],
        )

    def walk(self, x: Floats) -> tuple[float, npt.NDArray[np.intp], Floats]:
        """Return the forest's sum for *x*, and for each comparison its feature and what it added."""
        node = np.zeros(len(self.inner), dtype=np.intp)
        before = self.values[self.outer]
        roots = float(before.sum())
        asked, added = [], []
        for _ in range(self.depth):
            at = self.inner + node
            feature = self.features[at]
            node = 2 * node + 1 + (x[feature] > self.thresholds[at])
            now = self.values[self.outer + node]
            asked.append(feature)
            added.append(now - before)
            before = now
        steps = np.concatenate(added) if added else np.zeros(0, dtype=np.float32)
        features = np.concatenate(asked) if asked else np.zeros(0, dtype=np.intp)
        return self.base + roots + float(steps.sum()), features, steps
