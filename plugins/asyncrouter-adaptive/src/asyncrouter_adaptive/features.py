"""What the learner sees of a request: a few numbers, the shape of its text, and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from asyncrouter.types.decisions import Estimate
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import tool_count
from asyncrouter_adaptive import shape

Vector = NDArray[np.floating]

DENSE = 5
"""The intercept, complexity, length, tools and an asked-for format."""
MOST_LABELS = 24
"""Different labels (kinds that callers name, agents) that get a feature of their own; later ones get none."""
POINTS = 8
"""Slots that the names of an estimator's contributions are hashed to."""
PROJECTED = 16
"""Numbers that an estimator's own features are projected to, at random and always alike (Johnson and Lindenstrauss)."""
TEXT_SCALE = 0.3
"""Of the features of the text beside those of labels: how well deployments do varies by so much less with them."""
SIZE = DENSE + MOST_LABELS + shape.SIZE + POINTS + PROJECTED


class Features:
    """Makes :data:`SIZE` numbers of a request; *tag* is the key in its metadata that names its kind."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._labels: dict[str, int] = {}
        self._projection: Vector = np.zeros((PROJECTED, 0))

    def of(self, request: Request, estimate: Estimate) -> Vector:
        """Return what is seen of *request*.  Where the caller names its kind, that stands for its text."""
        x = np.zeros(SIZE)
        x[:DENSE] = (
            1.0,
            estimate.complexity - 0.5,
            math.log1p(estimate.input_tokens) / 10 - 0.5,
            min(tool_count(request), 10) / 10,
            0.5 * ("response_format" in request.params),
        )
        if request.agent is not None:
            self._mark(x, f"agent {request.agent}")
        named = request.metadata.get(self._tag)
        if isinstance(named, (str, int)):
            self._mark(x, f"kind {named}")
        else:
            x[DENSE + MOST_LABELS :] = self._of_text(request, estimate)
        return x

    def _mark(self, x: Vector, label: str) -> None:
        place = self._labels.get(label)
        if place is None and len(self._labels) < MOST_LABELS:
            place = self._labels[label] = len(self._labels)
        if place is not None:
            x[DENSE + place] = 1.0

    def _of_text(self, request: Request, estimate: Estimate) -> Vector:
        text = np.zeros(shape.SIZE + POINTS + PROJECTED)
        text[: shape.SIZE] = shape.shape_of(shape.last_text(request))
        text[: shape.SIZE] -= 0.5
        for points, name in estimate.contributions:
            text[shape.SIZE + crc32(name.encode(errors="replace")) % POINTS] += points
        if len(estimate.features):
            text[-PROJECTED:] = self._projected(np.asarray(estimate.features, dtype=np.float64))
        return text * TEXT_SCALE

    def _projected(self, features: Vector) -> Vector:
        """Return *features* at the length 2, in fewer dimensions."""
        if self._projection.shape[1] != len(features):
            signs = np.random.default_rng(len(features)).integers(0, 2, (PROJECTED, len(features)))
            self._projection = (2.0 * signs - 1.0) / math.sqrt(PROJECTED)
        length = float(np.sqrt(features @ features))
        projected: Vector = self._projection @ features * (2.0 / length if 0 < length < math.inf else 0.0)
        return projected

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {"labels": list(self._labels)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        labels = {str(label): place for place, label in enumerate(state["labels"])}
        if len(labels) > MOST_LABELS:
            raise ValueError("more labels than there is room for")
        self._labels = labels
