"""From a prompt to the expected quality of each model's answer, and to its length.

A prompt is likened to some hundred others, the landmarks: by the Gaussian kernel exp(-width * d), where d is the mean
squared difference of the scaled traits, as a mean over some widths.  How good answers are in common hangs on the
wording too: see :mod:`asyncrouter_cost.models.wording`.  All that is learned are weighted sums of these.

An easy prompt is solved by all models and a hopeless one by none: they are set apart by what is in doubt.  So what sets
them apart counts by the spread of a coin that falls right as often as answers are held to be, 4 h (1 - h), to the
``power`` that was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_cost.models.traits import traits
from asyncrouter_cost.models.wording import Wording

Floats = npt.NDArray[np.float32]
Kind = TypeVar("Kind", npt.NDArray[np.float32], npt.NDArray[np.float64])

LONGEST = 14.0
"""The logarithm of the longest answer that is foretold, in tokens: a million."""
CLIP = 4.0
"""Standard deviations of a trait beyond which it counts no more."""
SURE = 0.02
"""No prompt is held to be easier or harder than this from certainty."""


@attrs.frozen(eq=False)
class Likeness:
    """How prompts are likened: traits are scaled by ``means`` and ``scales``, then held against ``landmarks``.

    ``means`` and ``scales`` have the shape (traits,); ``landmarks`` (landmarks, traits), scaled already.
    """

    means: Floats
    scales: Floats
    landmarks: Floats
    widths: tuple[float, ...]
    _squares: Floats = attrs.field(init=False)

    @_squares.default
    def _squares_of(self) -> Floats:
        return mean_squares(self.landmarks)

    def scaled(self, traits: Floats) -> Floats:
        """Return *traits* in standard deviations from their means, clipped."""
        scaled: Floats = np.clip((traits - self.means) * self.scales, -CLIP, CLIP)
        return scaled

    def to_landmarks(self, traits: Floats) -> Floats:
        """Return likenesses in (0, 1], shape (..., landmarks), of *traits*, shape (..., traits)."""
        scaled = self.scaled(traits)
        products = scaled @ self.landmarks.T * np.float32(2 / scaled.shape[-1])
        distances = np.maximum(mean_squares(scaled)[..., None] + self._squares - products, 0.0)
        total = sum(np.exp(-width * distances) for width in self.widths)
        likenesses: Floats = np.divide(total, len(self.widths), dtype=np.float32)
        return likenesses


def mean_squares(rows: Floats) -> Floats:
    """Return the mean squares of *rows*, shape (..., traits)."""
    squares: Floats = (rows**2).sum(axis=-1)
    means: Floats = squares / rows.shape[-1]
    return means


def doubt(ease: Kind, power: float) -> Kind:
    """Return by how much models are set apart where answers are held to be right in *ease* of cases, in (0, 1]."""
    known: Kind = np.clip(ease, SURE, 1.0 - SURE)
    known *= 4.0 * (1.0 - known)
    return known**power


@attrs.frozen(eq=False)
class Expected:
    """What is expected of prompts: ``qualities`` in [0, 1], shape (prompts, models), and ``lengths`` of answers.

    ``lengths`` are in tokens, means over the models, shape (prompts,); ``None`` where none were learned.
    """

    qualities: Floats
    lengths: Floats | None


@attrs.frozen(eq=False)
class PerModel:
    """What was learned: of each model, then of what they have in common, then of lengths where these were learned.

    For each of them ``weights`` has a column, shape (landmarks, columns), and ``offsets`` a number.  ``words`` are the
    weights of the wording in what they have in common, shape (buckets,).
    """

    models: tuple[str, ...]
    likeness: Likeness
    wording: Wording
    weights: Floats
    words: Floats
    offsets: Floats
    power: float

    def expected(self, prompts: Sequence[str]) -> Expected:
        """Return what is expected of *prompts*, at least one."""
        seen = np.stack([traits(prompt) for prompt in prompts])
        found = self.offsets + self.likeness.to_landmarks(seen) @ self.weights
        count = len(self.models)
        ease = (found[:, count] + self.wording.products(prompts, self.words))[:, None]
        qualities = np.clip(ease + doubt(ease, self.power) * found[:, :count], 0.0, 1.0)
        lengths = np.exp(np.minimum(found[:, count + 1], LONGEST)) if found.shape[1] > count + 1 else None
        return Expected(qualities, lengths)
