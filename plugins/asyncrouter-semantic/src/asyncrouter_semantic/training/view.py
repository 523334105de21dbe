"""The two views of the head, learned from some of the rows: the linear one with its tasks, and the forest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy import sparse

from asyncrouter_semantic.head import likeness_of
from asyncrouter_semantic.packing import Pack
from asyncrouter_semantic.training.boosting import Bins, Trees, boost
from asyncrouter_semantic.training.linear import Ridge, ridge
from asyncrouter_semantic.training.sights import TRAIT_WEIGHT, Sights
from asyncrouter_semantic.training.tasks import GATE_PENALTY, Tasks

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

PENALTY = 16.0
OWN_WEIGHT, OFFSET_WEIGHT = 1.5, 2.0
"""What a gram weighs in the weights of its task against the common ones, and what a task's own offset does.

Penalty and weights: the best of a few in cross-validation over the shipped model's sources; little depends on them.
"""


@attrs.frozen(eq=False)
class View:
    """What was learned: the ridge over common and tasks' own columns, the gate, the ease, and the trees."""

    linear: Ridge
    gate: Ridge
    ease: Ridge
    trees: Trees
    tasks: tuple[str, ...]

    def predict(self, sights: Sights, rows: Indices) -> Floats:
        """Return what the linear view, the forest and the ease say of *rows*, shape (rows, 3)."""
        matrix = sights.matrix[rows]
        said = self.linear.predict(_by_task(matrix, likeness_of(self.gate.predict(matrix))))[:, 0]
        return np.column_stack([said, self.trees.predict(sights.traits[rows]), self.ease.predict(matrix)[:, 0]])

    def pack(self, sights: Sights, mix: Floats) -> Pack:
        """Return what :class:`~asyncrouter_semantic.head.Head` reads."""
        width, count = sights.matrix.shape[1], len(self.tasks)
        weights = self.linear.weights[:, 0]
        own = weights[width : width * (count + 1)].reshape(count, width).T * OWN_WEIGHT
        columns = np.hstack([weights[:width, None], own, self.gate.weights, self.ease.weights])
        own_offsets = weights[width * (count + 1) :] * OFFSET_WEIGHT
        offsets = np.concatenate([self.linear.offsets, own_offsets, self.gate.offsets, self.ease.offsets])
        wording = columns[: len(sights.grams)]
        scales = np.maximum(np.abs(wording).max(axis=0, initial=0), 1e-9) / 127
        arrays = {
            "grams": sights.grams,
            "rarity": sights.rarity,
            "table": np.rint(wording / scales).astype(np.int8),
            "scales": scales.astype(np.float32),
            "slopes": (columns[len(sights.grams) :] * TRAIT_WEIGHT).astype(np.float32),
            "offsets": offsets.astype(np.float32),
            "trait_means": sights.means.astype(np.float32),
            "trait_scales": sights.scales.astype(np.float32),
        }
        linear, forest, offset = (float(np.float32(one)) for one in mix)
        facts = {
            "tasks": list(self.tasks),
            "linear_weight": linear,
            "forest_weight": forest,
            "offset": offset,
        }
        return Pack(arrays, facts).joined("forest", self.trees.pack())


@attrs.frozen(eq=False)
class Lesson:
    """What views are learned from: prompts, their traits in bins, their tasks, and what is to be told of each row.

    ``target`` is the gain, ``easier`` how much higher the scores were than is usual for the task.
    """

    sights: Sights
    bins: Bins
    tasks: Tasks
    target: Floats
    easier: Floats
    seed: int

    def learn(self, rows: Indices, progress: Callable[[float], None]) -> View:
        """Return the view that *rows* teach."""
        matrix, one_hot = self.sights.matrix[rows], self.tasks.one_hot[rows]
        linear = ridge(_by_task(matrix, one_hot), self.target[rows], PENALTY)
        gate = ridge(matrix, one_hot, GATE_PENALTY)
        ease = ridge(matrix, self.easier[rows], PENALTY)
        return View(linear, gate, ease, boost(self.bins, rows, self.target, self.seed, progress), self.tasks.names)


def _by_task(matrix: Any, alike: Floats) -> Any:
    own = [sparse.diags_array(OWN_WEIGHT * column) @ matrix for column in alike.T]
    return sparse.hstack([matrix, *own, sparse.csr_matrix(alike * OFFSET_WEIGHT)]).tocsr()
