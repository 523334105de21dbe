"""What the learner sees of a request: a few numbers, its kind, and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import attrs
import numpy as np
from numpy.typing import NDArray

from asyncrouter.types.decisions import Estimate
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import tool_count
from asyncrouter_adaptive.kinds import Kinds
from asyncrouter_adaptive.shape import last_text, shape_of

Vector = NDArray[np.floating]

DENSE = 5
"""The intercept, complexity, length, tools and an asked-for format."""
MOST_LABELS = 24
"""Different labels (kinds that callers name, agents) that get a feature of their own; later ones get none."""
CONTRIBUTIONS = 12
"""Slots that the names of an estimator's contributions are hashed to."""


@attrs.frozen
class Scene:
    """One request as the learner sees it: *x*, and the blocks of which kinds are formed (``None`` where it has one)."""

    x: Vector
    blocks: tuple[Vector, ...] | None


class Features:
    """Makes :attr:`size` numbers of a request; *tag* is the key in its metadata that names its kind."""

    def __init__(self, kinds: int, tag: str) -> None:
        self.size = DENSE + kinds + MOST_LABELS
        self.kinds = Kinds(kinds)
        self._tag = tag
        self._labels: dict[str, int] = {}
        self._first_kind = DENSE
        self._first_label = DENSE + kinds

    def scene(self, request: Request, estimate: Estimate) -> Scene:
        """Return what is seen of *request*.  A kind that the caller names is taken for it; else one is found."""
        x = np.zeros(self.size)
        asked_format = "response_format" in request.params
        x[:DENSE] = (
            1.0,
            estimate.complexity - 0.5,
            math.log1p(estimate.input_tokens) / 10 - 0.5,
            min(tool_count(request), 10) / 10,
            0.5 * asked_format,
        )
        if request.agent is not None:
            self._mark(x, f"agent {request.agent}")
        named = request.metadata.get(self._tag)
        if isinstance(named, (str, int)):
            self._mark(x, f"kind {named}")
            return Scene(x, None)
        blocks = _blocks(request, estimate)
        kind = self.kinds.of(blocks)
        if kind is not None:
            x[self._first_kind + kind] = 1.0
        return Scene(x, blocks)

    def _mark(self, x: Vector, label: str) -> None:
        place = self._labels.get(label)
        if place is None and len(self._labels) < MOST_LABELS:
            place = self._labels[label] = len(self._labels)
        if place is not None:
            x[self._first_label + place] = 1.0

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {"labels": list(self._labels), "kinds": self.kinds.dump()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        labels = {str(label): place for place, label in enumerate(state["labels"])}
        if len(labels) > MOST_LABELS:
            raise ValueError("more labels than there is room for")
        if state["kinds"] is not None:
            self.kinds.load(state["kinds"])
        self._labels = labels


def _blocks(request: Request, estimate: Estimate) -> tuple[Vector, ...]:
    """Return what kinds are formed of: the text's shape, the estimator's contributions, and its own features."""
    points = np.zeros(CONTRIBUTIONS)
    for value, name in estimate.contributions:
        points[crc32(name.encode(errors="replace")) % CONTRIBUTIONS] += value
    shape = np.array(shape_of(last_text(request)))
    if len(estimate.features):
        return shape, points, np.asarray(estimate.features, dtype=np.float64)
    return shape, points
