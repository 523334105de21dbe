"""Subjects: the groups that a kind of task falls into, and what the prompts of each gain beside others of the kind.

Which subject a prompt of a kind is of, its words and pairs tell, by naive Bayes.  The name of a group is no outcome and
has no noise, so that few rows teach it, where they would not yet teach what each word is worth.
"""

from __future__ import annotations

from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import ConfigError
from asyncrouter_semantic.packing import Pack

Floats = npt.NDArray[np.float32]
AnyFloats = TypeVar("AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])
Indices = npt.NDArray[np.intp]

SUBJECTS = "subjects"
"""Under which name a model file keeps them."""
TEMPER = 10.0
"""What the words say is divided by this: they do not come one by one by chance, as naive Bayes has it.  Of 1, 5, 10, 20
and 30 the best at telling the subject of other prompts, from 1,500 prompts and from 6,755."""


def shares_of(said: AnyFloats, places: Indices, starts: Indices) -> AnyFloats:
    """Return how likely each subject is, shape (..., subjects), from the logarithms that words *said*.

    *places* tells the rank of each subject's task, *starts* where the subjects of each begin; the shares of the
    subjects of one task sum to 1.
    """
    tempered = said / np.float32(TEMPER)
    raised = np.exp(tempered - np.maximum.reduceat(tempered, starts, axis=-1)[..., places])
    shares: AnyFloats = raised / np.add.reduceat(raised, starts, axis=-1)[..., places]
    return shares


def starts_of(kinds: Indices) -> Indices:
    """Return the places at which the subjects of a task begin in *kinds*, which ascend."""
    return np.flatnonzero(np.append(True, kinds[1:] != kinds[:-1]))


@attrs.frozen(eq=False)
class Subjects:
    """What grams say of subjects: ``table`` times ``scale``, a column each, is what one adds to the logarithm.

    The last columns of ``table``, one for each task that falls into subjects, are 1 for grams that its prompts were
    seen to hold: each of these costs a subject its ``toll``.  ``offsets`` are the logarithms before any gram, ``kinds``
    the task of each subject, in ascending order, ``places`` the rank of that task, ``starts`` where it begins, and
    ``worth`` what prompts of a subject gain beside others of its task.
    """

    table: npt.NDArray[np.int8]
    scale: np.float32
    toll: Floats
    offsets: Floats
    kinds: Indices
    places: Indices
    starts: Indices
    worth: Floats

    @classmethod
    def of(cls, pack: Pack, grams: int, tasks: int) -> Subjects:
        """Read them; raise :class:`ConfigError` when they do not fit a head of so many *grams* and *tasks*."""
        worth = pack.array("worth", "<f4", None)
        count = len(worth)
        kinds = pack.array("kinds", "<u4", count).astype(np.intp)
        if not count or int(kinds[-1]) >= tasks or (kinds[1:] < kinds[:-1]).any():
            raise ConfigError("subjects are of tasks that there are, in their order")
        starts = starts_of(kinds)
        return cls(
            pack.array("table", "|i1", grams, count + len(starts)),
            np.float32(pack.number("scale")),
            pack.array("toll", "<f4", count),
            pack.array("offsets", "<f4", count),
            kinds,
            np.searchsorted(kinds[starts], kinds),
            starts,
            worth,
        )

    def gain(self, grams: Indices, likeness: Floats) -> float:
        """Return what a prompt gains by its subject, as it holds *grams* and is like each task."""
        count = len(self.worth)
        sums = np.ones(len(grams), dtype=np.float32) @ self.table[grams]  # summing bytes takes four times as long
        said = self.offsets + sums[:count] * self.scale - sums[count:][self.places] * self.toll
        shares = shares_of(said, self.places, self.starts)
        return float((shares * self.worth) @ likeness[self.kinds])
