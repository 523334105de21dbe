"""What all prompts of a table hold, as one matrix: wording and traits side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy import sparse

from asyncrouter_semantic.head import CLIP
from asyncrouter_semantic.ngrams import known_places, ngrams
from asyncrouter_semantic.text import parse, sampled
from asyncrouter_semantic.traits import traits

Floats = npt.NDArray[np.float64]

TRAIT_WEIGHT = 0.06
"""What a standard deviation of a trait is in the linear view, where all grams of a prompt together have length 1.

Of 0, 0.03, 0.06 and 0.1 the best in cross-validation over the shipped model's sources.
"""
MANY_ROWS = 3000
LEAST_PROMPTS = (2, 4)
"""How many prompts must hold a gram that is kept: up to :data:`MANY_ROWS` prompts in all, and beyond."""


@attrs.frozen(eq=False)
class Sights:
    """Prompts as rows: ``matrix`` holds weighted grams, then scaled traits; ``traits`` are the plain ones."""

    grams: npt.NDArray[np.uint32]
    rarity: npt.NDArray[np.float32]
    matrix: Any
    traits: npt.NDArray[np.float32]
    means: Floats
    scales: Floats

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.traits)

    def held(self, rows: npt.NDArray[np.intp]) -> Any:
        """Return 1 for each gram that a prompt of *rows* holds, shape (rows, grams)."""
        held = self.matrix[rows][:, : len(self.grams)]
        return sparse.csr_matrix((np.ones(held.nnz), held.indices, held.indptr), shape=held.shape)


def look(prompts: Sequence[str], progress: Callable[[float], None]) -> Sights:
    """Return what *prompts* hold; *progress* is told the share that is read."""
    counted, found = [], []
    for place, prompt in enumerate(prompts):
        text = parse(sampled(prompt), len(prompt))
        counted.append(traits(text))
        found.append(np.unique(ngrams(text)))
        if place % 256 == 0:
            progress(place / len(prompts))
    return _sights(np.array(counted), found)


def _sights(counted: npt.NDArray[np.float32], found: list[npt.NDArray[np.uint32]]) -> Sights:
    rows = len(found)
    grams, counts = np.unique(np.concatenate(found), return_counts=True)
    least = LEAST_PROMPTS[rows > MANY_ROWS]
    grams, counts = grams[counts >= least], counts[counts >= least]
    rarity = (np.log((1 + rows) / (1 + counts)) + 1).astype(np.float32)
    means = counted.mean(axis=0, dtype=np.float64)
    scales = 1 / (counted.std(axis=0, dtype=np.float64) + 1e-6)
    scaled = np.clip((counted - means) * scales, -CLIP, CLIP) * TRAIT_WEIGHT
    matrix = sparse.hstack([_worded(found, grams, rarity), sparse.csr_matrix(scaled)]).tocsr()
    return Sights(grams, rarity, matrix, counted, means, scales)


def _worded(found: list[npt.NDArray[np.uint32]], grams: npt.NDArray[np.uint32], rarity: npt.NDArray[np.float32]) -> Any:
    places, values, ends = [], [], [0]
    for hashes in found:
        known = known_places(hashes, grams)
        weights = rarity[known].astype(np.float64)
        length = np.sqrt(weights @ weights)
        places.append(known)
        values.append(weights / length if length else weights)
        ends.append(ends[-1] + len(known))
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(places), ends), shape=(len(found), len(grams)))
