"""Kinds of task: found in the sources and groups of outcomes, and merged where their prompts cannot be told apart."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.head import likeness_of
from asyncrouter_semantic.training.linear import ridge

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

MOST_GROUPS, LEAST_ROWS = 12, 60
"""A source with so many groups at most, of so many rows on average at least, has a task a group; else it is one."""
GATE_PENALTY = 1.0
CONFUSED, CONFUSION_POWER = 0.5, 2
"""Two kinds are one when the gate gives the other so much of its likeness, both ways added, with this power."""
FOLDS = 3


@attrs.frozen(eq=False)
class Tasks:
    """The names of the tasks, and the task of each row."""

    names: tuple[str, ...]
    of_row: Indices

    @property
    def one_hot(self) -> Floats:
        """A column for each task, shape (rows, tasks)."""
        return np.eye(len(self.names))[self.of_row]


def find_tasks(outcomes: Outcomes, matrix: Any, folds: Indices) -> Tasks:
    """Return the kinds of task in *outcomes*, whose prompts *matrix* describes."""
    labels = _labels(outcomes)
    names = sorted(set(labels))
    of_row = np.array([names.index(label) for label in labels])
    if len(names) > 1:
        names, of_row = _merged(names, of_row, matrix, folds)
    return Tasks(tuple(names), of_row)


def _labels(outcomes: Outcomes) -> list[str]:
    groups: dict[str, Counter[str]] = {}
    for source, group in zip(outcomes.sources, outcomes.groups, strict=True):
        groups.setdefault(source, Counter())[group] += 1
    split = {
        source: 1 < len(counts) <= MOST_GROUPS and counts.total() >= LEAST_ROWS * len(counts)
        for source, counts in groups.items()
    }
    return [
        group if split[source] and group else PurePath(source).name.partition(".")[0]
        for source, group in zip(outcomes.sources, outcomes.groups, strict=True)
    ]


def _merged(names: list[str], of_row: Indices, matrix: Any, folds: Indices) -> tuple[list[str], Indices]:
    one_hot = np.eye(len(names))[of_row]
    said = np.zeros_like(one_hot)
    for fold in range(FOLDS):
        learned, told = folds != fold, folds == fold
        said[told] = ridge(matrix[learned], one_hot[learned], GATE_PENALTY).predict(matrix[told])
    confusion = one_hot.T @ likeness_of(said, CONFUSION_POWER) / one_hot.sum(axis=0)[:, None]
    root = list(range(len(names)))
    for one in range(len(names)):
        for other in range(one):
            if confusion[one, other] + confusion[other, one] > CONFUSED and root[one] != root[other]:
                old, new = max(root[one], root[other]), min(root[one], root[other])
                root = [new if place == old else place for place in root]
    kept = sorted(set(root))
    joined = ["+".join(name for name, place in zip(names, root, strict=True) if place == one) for one in kept]
    return joined, np.array([kept.index(root[place]) for place in of_row])
