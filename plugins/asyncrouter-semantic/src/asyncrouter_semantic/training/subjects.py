"""Subjects, learned: the groups of a source that are too many, or too small, to be kinds of task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.packing import Array, Pack
from asyncrouter_semantic.subjects import shares_of, starts_of
from asyncrouter_semantic.training.tasks import Tasks

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

LEAST_ROWS = 10
"""Rows of a group that is a subject; the smaller ones of a kind are one subject together."""
LEAST_SUBJECTS, MOST_SUBJECTS = 2, 128
"""Large groups of a kind: with more, as a log has that groups by session, they are no subjects."""
PRESUMED_GRAMS = 300.0
"""That a subject's grams are those of its kind counts as so many grams.  Of 100, 300 and 1,000 the best all in all."""
PRESUMED_ROWS = 20.0
"""That a subject gains what its kind does counts as so many of its rows."""
NONE = -1


@attrs.frozen(eq=False)
class Parts:
    """The task of each subject, ``kinds``, and the subject of each row, ``of_row``, :data:`NONE` where it has none."""

    kinds: Indices
    of_row: Indices


def find_subjects(outcomes: Outcomes, tasks: Tasks) -> Parts:
    """Return the subjects of *tasks*: their groups, where a source has two that are large enough to tell anything."""
    of_row = np.full(len(outcomes), NONE)
    kinds: list[int] = []
    for kind in range(len(tasks.names)):
        rows = np.flatnonzero(tasks.of_row == kind)
        named = [(outcomes.sources[row], outcomes.groups[row]) for row in rows]
        counts = Counter(named)
        large = sorted(one for one, count in counts.items() if count >= LEAST_ROWS)
        of_one_source = max(Counter(source for source, _ in large).values(), default=0)
        if of_one_source < LEAST_SUBJECTS or len(large) > MOST_SUBJECTS:
            continue
        places = {one: len(kinds) + at for at, one in enumerate(large)}
        of_row[rows] = [places.get(one, len(kinds) + len(large)) for one in named]
        kinds += [kind] * (len(large) + (len(large) < len(counts)))
    return Parts(np.array(kinds, dtype=np.intp), of_row)


@attrs.frozen(eq=False)
class SubjectView:
    """What was learned: what each gram says of each subject, its toll, and what a subject is worth in its kind.

    ``excess`` is how much the logarithm rises by a gram that the subject's own prompts hold, shape (grams, subjects);
    ``counted``, shape (grams, tasks), is 1 where the prompts of a task hold a gram.
    """

    excess: Floats
    counted: Floats
    toll: Floats
    offsets: Floats
    worth: Floats
    kinds: Indices

    def gains(self, held: Any, likeness: Floats) -> Floats:
        """Return what the prompts that hold the grams *held*, of ones and zeros, gain by their subjects."""
        said = self.offsets + held @ self.excess - (held @ self.counted)[:, self.kinds] * self.toll
        if not len(self.kinds):
            return np.zeros(len(said))
        starts = starts_of(self.kinds)
        shares = shares_of(said, np.searchsorted(self.kinds[starts], self.kinds), starts)
        gains: Floats = (shares * likeness[:, self.kinds]) @ self.worth
        return gains

    def pack(self, weight: float) -> Pack:
        """Return what :class:`~asyncrouter_semantic.subjects.Subjects` reads, their worth times *weight*."""
        scale = max(float(self.excess.max(initial=0)), 1e-9) / 127
        arrays: dict[str, Array] = {
            "table": np.hstack([np.rint(self.excess / scale), self.counted[:, np.unique(self.kinds)]]).astype(np.int8),
            "toll": self.toll.astype(np.float32),
            "offsets": self.offsets.astype(np.float32),
            "kinds": self.kinds.astype(np.uint32),
            "worth": (weight * self.worth).astype(np.float32),
        }
        return Pack(arrays, {"scale": scale})


def learn_subjects(held: Any, beside: Floats, parts: Parts, rows: Indices, tasks: int) -> SubjectView:
    """Return what *rows* teach: *held* are their grams, *beside* what they gain beside others of their kind."""
    count, width = len(parts.kinds), held.shape[1]
    told = np.flatnonzero(parts.of_row[rows] != NONE)
    of_row = parts.of_row[rows[told]]
    one_hot = np.eye(count)[of_row]
    by_subject = np.asarray(held[told].T @ one_hot)
    by_kind = by_subject @ np.eye(tasks)[parts.kinds]
    usual = by_kind / np.maximum(by_kind.sum(axis=0), 1.0)
    presumed = PRESUMED_GRAMS * usual[:, parts.kinds]
    excess = np.log1p(np.divide(by_subject, presumed, out=np.zeros((width, count)), where=presumed > 0))
    members = np.bincount(of_row, minlength=count)
    return SubjectView(
        excess,
        (by_kind > 0).astype(np.float64),
        np.log(by_subject.sum(axis=0) + PRESUMED_GRAMS),
        np.log(members + 1.0),
        np.bincount(of_row, beside[told], count) / (members + PRESUMED_ROWS),
        parts.kinds,
    )
