"""What the head is made of, learned from some of the rows: weights that all kinds share, those of each, the forest.

They learn what makes a prompt gain more than others of its kind from the same file.  What a kind gains as a whole is
left to its offset, which is found once it is known what each of them counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.head import likeness_of
from asyncrouter_semantic.packing import Pack
from asyncrouter_semantic.subjects import SUBJECTS
from asyncrouter_semantic.training import boosting
from asyncrouter_semantic.training.boosting import Bins, Trees, boost
from asyncrouter_semantic.training.linear import Ridge, ridge
from asyncrouter_semantic.training.sights import TRAIT_WEIGHT, Sights
from asyncrouter_semantic.training.subjects import Parts, SubjectView, learn_subjects
from asyncrouter_semantic.training.tasks import GATE_PENALTY, Tasks
from asyncrouter_semantic.traits import NAMES

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

COMMON_PENALTY = 16.0
OWN_PENALTIES = (4.0, 16.0, 64.0)
"""Of the weights that all kinds share, and of those of each kind, which are learned with each of these penalties: what
each is worth shows on rows that they have not learned from."""
COMMON, OWN, SUBJECT = 0, slice(1, 1 + len(OWN_PENALTIES)), 1 + len(OWN_PENALTIES)
LENGTH = SUBJECT + 1
FOREST = LENGTH + 1
"""Columns of what is said: the shared weights, the kinds' own for each penalty, the subjects, length, the forest."""
LENGTH_TRAIT = NAMES.index("characters")
GROWN = (1 / 8, 1 / 4, 1 / 2, 1)
"""Shares of the trees that are tried: few rows bear few trees."""


@attrs.frozen(eq=False)
class Said:
    """What a view says of some rows: ``gains`` beside others of their kind, shape (rows, FOREST + len(GROWN)).

    The last columns are what the forest says with each of the shares :data:`GROWN` of its trees.
    """

    gains: Floats
    likeness: Floats
    ease: Floats


@attrs.frozen(eq=False)
class View:
    """What was learned: the shared weights, those of each kind for each penalty, subjects, gate, ease, and trees."""

    common: Ridge
    own: tuple[Ridge, ...]
    subjects: SubjectView
    gate: Ridge
    ease: Ridge
    trees: Trees
    tasks: tuple[str, ...]

    def predict(self, sights: Sights, rows: Indices) -> Said:
        """Return what is said of *rows*."""
        matrix = sights.matrix[rows]
        likeness = likeness_of(self.gate.predict(matrix))
        own = [(likeness * one.predict(matrix)).sum(axis=1) for one in self.own]
        forest = self.trees.predict(sights.traits[rows])[:, [_trees(share) - 1 for share in GROWN]]
        subjects = self.subjects.gains(sights.held(rows), likeness)
        length = matrix[:, len(sights.grams) + LENGTH_TRAIT].toarray()
        gains = [self.common.predict(matrix)[:, 0], *own, subjects, length, forest]
        return Said(np.column_stack(gains), likeness, self.ease.predict(matrix)[:, 0])

    def pack(self, sights: Sights, mix: Floats, offsets: Floats, grown: float = 1.0) -> Pack:
        """Return what :class:`~asyncrouter_semantic.head.Head` reads, with what is said mixed as *mix* tells.

        *offsets* are added for each kind; *grown* is the share of the trees that is kept.
        """
        weights = mix[COMMON] * self.common.weights
        offsets = offsets + mix[COMMON] * self.common.offsets
        for share, one in zip(mix[OWN], self.own, strict=True):
            weights, offsets = weights + share * one.weights, offsets + share * one.offsets
        weights[len(sights.grams) + LENGTH_TRAIT] += mix[LENGTH]
        columns = np.hstack([weights, self.gate.weights, self.ease.weights])
        wording = columns[: len(sights.grams)]
        scales = np.maximum(np.abs(wording).max(axis=0, initial=0), 1e-9) / 127
        arrays = {
            "grams": sights.grams,
            "rarity": sights.rarity,
            "table": np.rint(wording / scales).astype(np.int8),
            "scales": scales.astype(np.float32),
            "slopes": (columns[len(sights.grams) :] * TRAIT_WEIGHT).astype(np.float32),
            "offsets": np.concatenate([offsets, self.gate.offsets, self.ease.offsets]).astype(np.float32),
            "trait_means": sights.means.astype(np.float32),
            "trait_scales": sights.scales.astype(np.float32),
        }
        facts = {"tasks": list(self.tasks), "forest_weight": float(np.float32(mix[FOREST]))}
        pack = Pack(arrays, facts).joined("forest", self.trees.first(_trees(grown)).pack())
        return pack.joined(SUBJECTS, self.subjects.pack(mix[SUBJECT])) if len(self.subjects.kinds) else pack


@attrs.frozen(eq=False)
class Lesson:
    """What views are learned from: prompts, their traits in bins, their tasks and subjects, and what is to be told.

    ``target`` is the gain, ``easier`` how much higher the scores were than is usual for the task; ``cells`` are whole
    numbers, the same for rows of one kind from one file.
    """

    sights: Sights
    bins: Bins
    tasks: Tasks
    parts: Parts
    cells: Indices
    target: Floats
    easier: Floats
    seed: int

    def learn(self, rows: Indices, progress: Callable[[float], None]) -> View:
        """Return the view that *rows* teach."""
        matrix, one_hot = self.sights.matrix[rows], self.tasks.one_hot[rows]
        beside = beside_others(self.target[rows], self.cells[rows])
        members = [np.flatnonzero(column) for column in one_hot.T]
        own = [[_of_some(matrix, beside, one, penalty) for one in members] for penalty in OWN_PENALTIES]
        return View(
            ridge(matrix, beside, COMMON_PENALTY),
            tuple(_side_by_side(ridges) for ridges in own),
            learn_subjects(self.sights.held(rows), beside, self.parts, rows, len(self.tasks.names)),
            ridge(matrix, one_hot, GATE_PENALTY),
            ridge(matrix, self.easier[rows], COMMON_PENALTY),
            boost(self.bins, rows, beside, self.seed, progress),
            self.tasks.names,
        )


def beside_others(values: Floats, cells: Indices) -> Floats:
    """Return *values*, whose first axis are rows, less their means over the rows of the same cell."""
    counts = np.bincount(cells)
    means = [np.bincount(cells, column) / np.maximum(counts, 1) for column in values.reshape(len(values), -1).T]
    beside: Floats = values - np.column_stack(means)[cells].reshape(values.shape)
    return beside


def _trees(share: float) -> int:
    return max(1, round(share * boosting.TREES))


def _of_some(matrix: Any, targets: Floats, rows: Indices, penalty: float) -> Ridge:
    """Return the ridge over *rows* alone: only what is in them has a weight, which saves most of the work."""
    width = matrix.shape[1]
    if not len(rows):
        return Ridge(np.zeros((width, 1)), np.zeros(1))
    some = matrix[rows]
    held = np.unique(some.indices)
    found = ridge(some[:, held], targets[rows], penalty)
    weights = np.zeros((width, 1))
    weights[held] = found.weights
    return Ridge(weights, found.offsets)


def _side_by_side(ridges: list[Ridge]) -> Ridge:
    return Ridge(np.hstack([one.weights for one in ridges]), np.concatenate([one.offsets for one in ridges]))
