"""From the traits of a prompt to the expected quality of each model's answer, and to its length.

A prompt is likened to some hundred others, the landmarks: by the Gaussian kernel exp(-width * d), where d is the mean
squared difference of the scaled traits, for each of some widths.  A model's quality is a weighted sum of them,
and so is the logarithm of the length.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LONGEST = 14.0
"""The logarithm of the longest answer that is foretold, in tokens: a million."""
CLIP = 4.0
"""Standard deviations of a trait beyond which it counts no more."""


@attrs.frozen(eq=False)
class Likeness:
    """How prompts are likened: traits are scaled by ``means`` and ``scales``, then held against ``landmarks``.

    ``means`` and ``scales`` have the shape (traits,); ``landmarks`` (landmarks, traits), scaled already.
    """

    means: Floats
    scales: Floats
    landmarks: Floats
    widths: tuple[float, ...]

    def scaled(self, traits: Floats) -> Floats:
        """Return *traits* in standard deviations from their means, clipped."""
        scaled: Floats = np.clip((traits - self.means) * self.scales, -CLIP, CLIP)
        return scaled

    def to_landmarks(self, traits: Floats) -> Floats:
        """Return likenesses in (0, 1], shape (..., widths * landmarks), of *traits*, shape (..., traits)."""
        distances = squared_distances(self.scaled(traits), self.landmarks)
        return np.concatenate([np.exp(-width * distances) for width in self.widths], axis=-1)


def squared_distances(rows: Floats, others: Floats) -> Floats:
    """Return the mean squared differences of *rows*, shape (..., traits), and *others*, shape (others, traits)."""
    squares = (rows**2).sum(axis=-1)[..., None] + (others**2).sum(axis=-1) - 2 * (rows @ others.T)
    distances: Floats = np.maximum(squares, 0.0) / others.shape[-1]
    return distances


@attrs.frozen(eq=False)
class Expected:
    """What is expected of prompts: ``qualities`` in [0, 1], shape (..., models), and answers' ``lengths`` in tokens.

    ``lengths`` are means over the models, shape (...); ``None`` where none were learned.
    """

    qualities: Floats
    lengths: Floats | None


@attrs.frozen(eq=False)
class PerModel:
    """``weights`` has the shape (widths * landmarks, models), ``offsets`` (models,).

    Where lengths of answers were learned, both have one column more, for the logarithm of the length.
    """

    models: tuple[str, ...]
    likeness: Likeness
    weights: Floats
    offsets: Floats

    def expected(self, traits: Floats) -> Expected:
        """Return what is expected of prompts with *traits*, shape (..., traits)."""
        count, found = len(self.models), self.offsets + self.likeness.to_landmarks(traits) @ self.weights
        lengths = np.exp(np.minimum(found[..., count], LONGEST)) if found.shape[-1] > count else None
        return Expected(np.clip(found[..., :count], 0.0, 1.0), lengths)
