"""The vector that an estimate tells: what was seen of a prompt, in some dozens of numbers, most telling first.

How much the prompt is like each task, the expected gain and ease, what each part added to the gain, and the broad
traits (lengths, vocabulary, numbers, answer options, form), scaled.  No word of the prompt is among them.  An outcome
log may keep it, learners may take it for context, and a model may learn from it where prompts are not kept.
"""

from __future__ import annotations

from array import array

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import ConfigError
from asyncrouter_semantic.head import PARTS, Judgement
from asyncrouter_semantic.packing import Pack
from asyncrouter_semantic.traits import GROUPS

Floats = npt.NDArray[np.float64]

BROAD = sum(len(names) for group, names in GROUPS.items() if group not in {"signs", "keywords"})
"""The traits told, the first ones: those that are no counts of single signs and words."""
TOP = "top"
"""Under which name a model file keeps what was learned from vectors."""


def vector_of(judged: Judgement) -> array[float]:
    """Return the vector of *judged*, :func:`width` numbers."""
    expected = np.array((judged.gain, judged.ease), dtype=np.float32)
    return array("f", np.concatenate([judged.likeness, expected, judged.added, judged.traits[:BROAD]]).tobytes())


def width(tasks: int) -> int:
    """Return how long the vectors of a model with so many *tasks* are."""
    return tasks + 2 + len(PARTS) + BROAD


@attrs.frozen(eq=False)
class Top:
    """The gain as it was learned from vectors and outcomes: ``offset + weights . vector``.

    Each number counts as far as it was seen, from ``low`` to ``high``: a line says nothing of what lies beyond.
    """

    weights: Floats
    low: Floats
    high: Floats
    offset: float

    @classmethod
    def of(cls, pack: Pack, tasks: int) -> Top:
        """Read it; raise :class:`ConfigError` when it does not fit vectors of a model with so many *tasks*."""
        weights, low, high = (pack.array(name, "<f8", width(tasks)) for name in ("weights", "low", "high"))
        return cls(weights, low, high, pack.number("offset"))

    def pack(self) -> Pack:
        """Return what :meth:`of` reads."""
        return Pack({"weights": self.weights, "low": self.low, "high": self.high}, {"offset": self.offset})

    def gains(self, vectors: Floats) -> Floats:
        """Return the expected gain of each of *vectors*, whose last axis are the numbers."""
        gains: Floats = self.offset + np.minimum(np.maximum(vectors, self.low), self.high) @ self.weights
        return gains

    def gain(self, vector: npt.ArrayLike) -> float:
        """Return the expected gain; raise :class:`ConfigError` when *vector* is another model's."""
        seen = np.asarray(vector, dtype=np.float64)
        if seen.shape != self.weights.shape:
            raise ConfigError(
                f"a vector of {len(seen)} numbers is another model's; this one's have {len(self.weights)}"
            )
        return float(self.gains(seen))
