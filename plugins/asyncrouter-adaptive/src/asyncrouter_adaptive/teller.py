"""Tells the kinds of texts, taught by the calls that name theirs; not where only calls of another sort name them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.logistic import Logistic
from asyncrouter_adaptive.packing import numbers
from asyncrouter_adaptive.shape import FORMS, NUMBERS, SAMPLE, shape_of

WORDS = 1024
"""Places for words, by a hash of each.  With half of them 0.05 less of the prompts of seven subjects was told right."""
STEP = 1.0
"""Of 0.3, 0.5 and 1 it tells best on three files of outcomes, after 100, 300 and 1,000 lessons."""
STEP_OF_SORTS = 0.3
"""With 300 lessons a fifteenth of the texts whose calls named kinds by chance are then taken for another sort, with 1 a
third; of texts of other kinds 72 to 95 % are (six of eight kinds of prompts that no call named)."""
NUMBER_SCALE = 0.5
LEARNED_FROM = 10
"""Texts of a form that were told right before those of that form are told at all."""
HALF = 0.5
"""The share of the last ones that must have been told right."""
LAST = 200.0
"""The last texts of a form, about, over which that share is counted."""
LIKE_NAMED = 0.25
"""The chance that a text is one of a call that names its kind, were there as many of these as of others: where it is
less, its kind may be one that no call names."""

Vector = NDArray[np.floating]
_NUMBERS_AT = tuple(range(WORDS, WORDS + NUMBERS + 1))
_FORMS_AT = WORDS + NUMBERS + 1
SIZE = _FORMS_AT + len(FORMS)
OTHER, NAMED = 0, 1


class Sight:
    """What is seen of a text: its ``form``, the place of it in ``FORMS``, its ``numbers``, and when asked its words."""

    def __init__(self, text: str) -> None:
        self._sample = text[:SAMPLE]
        self.form, self.numbers = shape_of(text)

    def features(self) -> tuple[list[int], Vector]:
        """Return the places of the features that the text has, each once, and their values."""
        words = {crc32(word) % WORDS for word in self._sample.lower().encode("utf-8", "replace").split()}
        values = [1.0 / math.sqrt(max(len(words), 1))] * len(words)
        values += [(one - 0.5) * NUMBER_SCALE for one in self.numbers]
        return [*words, *_NUMBERS_AT, _FORMS_AT + self.form], np.array([*values, 1.0, 1.0])


class Teller:
    """What was learned of texts of named kinds; a kind is a number."""

    def __init__(self) -> None:
        self.kinds: list[int] = []
        """The kinds that were named, in the order of :meth:`tell`."""
        self._by_kind = Logistic(SIZE, 0, STEP)
        self._by_sort = Logistic(SIZE, 2, STEP_OF_SORTS)
        self._other: tuple[list[int], Vector] | None = None
        self._told = [0.0] * len(FORMS)
        self._right = [0.0] * len(FORMS)

    def tell(self, sight: Sight) -> list[float] | None:
        """Return how likely each kind is for a text that comes without; ``None`` where that cannot be told."""
        places, values = self._other = sight.features()
        right = self._right[sight.form]
        if right < LEARNED_FROM or right < HALF * self._told[sight.form]:
            return None
        if self._by_sort.shares(places, values)[NAMED] < LIKE_NAMED:
            return None
        likely: list[float] = self._by_kind.shares(places, values).tolist()
        return likely

    def learn(self, sight: Sight, kind: int) -> None:
        """Learn that the text which *sight* is of has that *kind*; count first whether it would have been told."""
        if kind not in self.kinds:
            self.kinds.append(kind)
            self._by_kind.add()
        row = self.kinds.index(kind)
        places, values = sight.features()
        right = self._by_kind.learn(places, values, row) == row
        faded = 1.0 - 1.0 / LAST
        self._told[sight.form] = self._told[sight.form] * faded + 1.0
        self._right[sight.form] = self._right[sight.form] * faded + right
        if self._other is not None:  # as many lessons of the one sort as of the other
            self._by_sort.learn(places, values, NAMED)
            self._by_sort.learn(*self._other, OTHER)
            self._other = None

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {
            "kinds": list(self.kinds),
            "by_kind": self._by_kind.dump(),
            "by_sort": self._by_sort.dump(),
            "told": list(self._told),
            "right": list(self._right),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped; raise ``ValueError``, ``KeyError`` or ``TypeError`` when it does not fit."""
        kinds = [int(kind) for kind in state["kinds"]]
        told, right = numbers(state["told"]), numbers(state["right"])
        if (len(set(kinds)), len(told), len(right)) != (len(kinds), len(FORMS), len(FORMS)):
            raise ValueError("the kinds of texts do not fit")
        self._by_kind.load(state["by_kind"], len(kinds))
        self._by_sort.load(state["by_sort"], 2)
        self.kinds, self._told, self._right = kinds, told, right
