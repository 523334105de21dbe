"""What the learner sees of a request: a few numbers, the shape of its text, and labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrouter.types.decisions import Estimate
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import tool_count
from asyncrouter_adaptive.shape import FORMS, last_text
from asyncrouter_adaptive.teller import Sight, Teller

Vector = NDArray[np.floating]

DENSE = 5
"""The intercept, complexity, length, tools and an asked-for format."""
MOST_LABELS = 24
"""Different labels (kinds that callers name, agents) that get a feature of their own; later ones get none."""
CONTEXT = 24
"""Numbers that tell kinds apart where the caller does not: what the estimator saw, else the shape of the text."""
FORM = 0.7
"""What marks the form of the text: less than a label, for its form tells the kind less surely than its name."""
TEXT_SCALE = 0.1
"""Of the numbers of the text beside labels: how well deployments do varies by so much less with them."""
VECTOR_LENGTH = 0.6
"""Of an estimator's vector that does not begin with the shares of kinds."""
ALL_SHARES = 0.999
"""What shares of kinds add up to at least."""
SIZE = DENSE + MOST_LABELS + CONTEXT


class Features:
    """Makes :data:`SIZE` numbers of a request; *tag* is the key in its metadata that names its kind."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._labels: dict[str, int] = {}
        self._teller = Teller()
        self._asks = False

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
        if request.agent is not None and (place := self._place(f"agent {request.agent}")) is not None:
            x[DENSE + place] = 1.0
        kind = self._kind(request)
        if kind is None:
            self._asks = True
            self._see(x, request, estimate)
        elif (place := self._place(kind)) is not None:
            x[DENSE + place] = 1.0
        return x

    def _see(self, x: Vector, request: Request, estimate: Estimate) -> None:
        """Enter what tells the kind of a *request* without one: texts of named kinds, the estimator, or its shape."""
        sight = None
        if self._teller.kinds:
            sight = Sight(last_text(request))
            shares = self._teller.tell(sight)
            if shares is not None:
                for kind, share in zip(self._teller.kinds, shares, strict=True):
                    x[DENSE + kind] = share
                return
        context = _kinds(estimate.features) or _other(estimate.features) or _shape(sight or Sight(last_text(request)))
        x[DENSE + MOST_LABELS : DENSE + MOST_LABELS + len(context)] = context

    def teach(self, request: Request) -> None:
        """Learn how texts of the kind look that *request* names; not before a call has come that names none."""
        kind = self._kind(request)
        if kind is not None and self._asks and (place := self._place(kind)) is not None:
            self._teller.learn(Sight(last_text(request)), place)

    def _kind(self, request: Request) -> str | None:
        named = request.metadata.get(self._tag)
        return f"kind {named}" if isinstance(named, (str, int)) else None

    def _place(self, label: str) -> int | None:
        """Return the place of *label*, a new one while there is room."""
        place = self._labels.get(label)
        if place is None and len(self._labels) < MOST_LABELS:
            place = self._labels[label] = len(self._labels)
        return place

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {"labels": list(self._labels), "teller": self._teller.dump(), "asks": self._asks}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        labels = {str(label): place for place, label in enumerate(state["labels"])}
        if len(labels) > MOST_LABELS:
            raise ValueError("more labels than there is room for")
        teller = Teller()
        teller.load(state["teller"])
        if not set(teller.kinds) <= set(labels.values()):
            raise ValueError("kinds are told that have no label")
        self._labels, self._teller, self._asks = labels, teller, bool(state["asks"])


def _shape(sight: Sight) -> list[float]:
    marks = [0.0] * len(FORMS)
    marks[sight.form] = FORM
    return marks + [(one - 0.5) * TEXT_SCALE for one in sight.numbers]


def _kinds(features: Sequence[float]) -> list[float]:
    """Return the shares of kinds that an estimator's vector begins with; none where it begins with something else.

    What comes after them only disturbs: with it the regression follows single prompts, and tells kinds worse.
    """
    first, total = [float(one) for one in features[:CONTEXT]], 0.0
    for count, one in enumerate(first, start=1):
        total += one
        if one < 0.0 or total > 1.0 / ALL_SHARES:
            return []
        if total >= ALL_SHARES:
            return first[:count]
    return []


def _other(features: Sequence[float]) -> list[float]:
    """Return the beginning of a vector at one length; nothing where it tells nothing."""
    first = [float(one) for one in features[:CONTEXT]]
    length = math.sqrt(sum([one * one for one in first]))
    return [one * VECTOR_LENGTH / length for one in first] if 0.0 < length < math.inf else []
