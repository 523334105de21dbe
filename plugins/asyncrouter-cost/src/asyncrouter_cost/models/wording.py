"""What a prompt is worded like: its trigrams of bytes, hashed to numbers below :data:`BUCKETS`.

Each counts by ``log(1 + count)`` times its rarity, the logarithm of how seldom prompts have it, and the whole has the
length 1.  So the product of two prompts' wordings is how alike these are, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_cost.models.traits import sampled

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

BITS = 12
BUCKETS = 1 << BITS
STEP, SCRAMBLE = np.uint32(257), np.uint32(2654435769)
"""The second is 2^32 over the golden ratio, as in Knuth's multiplicative hashing (TAOCP 3, 6.4)."""
LEAST_PROMPTS = 2
"""A trigram of fewer prompts likens none to another."""


def _counts(prompt: str) -> npt.NDArray[np.intp]:
    """Return how often each bucket occurs, shape (BUCKETS,); the read part is that of the traits, in small letters."""
    read = np.frombuffer(sampled(prompt).lower().encode("utf-8", "surrogatepass"), dtype=np.uint8).astype(np.uint32)
    hashes = ((read[:-2] * STEP + read[1:-1]) * STEP + read[2:]) * SCRAMBLE
    return np.bincount(hashes >> np.uint32(32 - BITS), minlength=BUCKETS)


@attrs.frozen(eq=False)
class Wording:
    """How wordings are weighed, by the ``rarity`` of each bucket, shape (BUCKETS,)."""

    rarity: Floats

    @classmethod
    def of(cls, prompts: Sequence[str]) -> Wording:
        """Return what is learned from *prompts*; a bucket that fewer than two of them have counts nothing."""
        having = np.zeros(BUCKETS)
        for prompt in prompts:
            having += _counts(prompt) > 0
        rarity = np.log((1 + len(prompts)) / (1 + having))
        return cls(np.where(having < LEAST_PROMPTS, 0.0, rarity).astype(np.float32))

    def look(self, prompt: str) -> tuple[Indices, Floats]:
        """Return the buckets of *prompt* and what each weighs; of a prompt that is like no other nothing weighs."""
        counts = _counts(prompt)
        places = np.flatnonzero(counts)
        values = np.log1p(counts[places], dtype=np.float32) * self.rarity[places]
        length = np.sqrt(values @ values)
        return places, values / length if length > 0 else values

    def products(self, prompts: Sequence[str], weights: Floats) -> Floats:
        """Return the products of wordings with *weights*, shape (BUCKETS,) or (BUCKETS, columns)."""
        looked = (self.look(prompt) for prompt in prompts)
        return np.stack([values @ weights[places] for places, values in looked])

    def matrix(self, prompts: Sequence[str]) -> Floats:
        """Return the wordings of a few *prompts*, shape (BUCKETS, prompts)."""
        found = np.zeros((BUCKETS, len(prompts)), dtype=np.float32)
        for column, prompt in enumerate(prompts):
            places, values = self.look(prompt)
            found[places, column] = values
        return found
