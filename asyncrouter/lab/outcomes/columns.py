"""What the columns of a file are: identity, prompt, group, and a score for each model.

Files differ in their names for the same, so the usual ones are known.  A column of numbers from 0 to 1 is a model's
score; ``<model>__len`` beside it is the length of its answer in characters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from asyncrouter.lab.outcomes.files import Batch
from asyncrouter.lab.outcomes.table import STRONG, WEAK, Floats, identity
from asyncrouter.types.errors import ConfigError
from asyncrouter.types.request import text_of

PROMPT = ("prompt", "question", "instruction", "query", "input", "text", "messages")
IDENTITY = ("id", "prompt_id", "question_id", "uid", "key")
GROUP = ("group", "category", "task", "subject", "dataset", "source", "src")
INPUT_LENGTH = ("inlen", "input_len", "prompt_len")
NO_MODELS = frozenset({*PROMPT, *IDENTITY, *GROUP, *INPUT_LENGTH, "split", "index", "row", "fold", "label", "seed"})
"""Names of columns that tell something else, even where they hold numbers."""
LENGTH_SUFFIX = "__len"
DETAIL = "__"
"""What separates a model's name from what a further column tells of it."""


@attrs.define
class Columns:
    """The columns of the file at *path*, found in its first rows; ``ignored`` are those of numbers that are no scores.

    ``wanted`` are the models to read, all of them when it is empty.
    """

    path: Path
    wanted: tuple[str, ...] = ()
    ignored: set[str] = attrs.field(factory=set, init=False)
    models: dict[str, None] = attrs.field(factory=dict, init=False)

    def prompts(self, batch: Batch, first: int) -> tuple[str, ...]:
        """Return the prompts of *batch*, whose first row is the file's row *first*, counted from 1."""
        name = _first_of(PROMPT, batch)
        if name is None:
            names = ", ".join(map(str, batch))
            raise ConfigError(f"{self.path}: no column of prompts; name it prompt (the columns are: {names})")
        return tuple(self._text(value, name, row) for row, value in enumerate(batch[name], start=first))

    def ids(self, batch: Batch, prompts: Sequence[str]) -> tuple[str, ...]:
        """Return the identities that *batch* gives, or those of its prompts where it gives none."""
        name = _first_of(IDENTITY, batch)
        given: Sequence[Any] = [None] * len(prompts) if name is None else batch[name]
        return tuple(
            identity(prompt) if value is None or value == "" else str(value)
            for value, prompt in zip(given, prompts, strict=True)
        )

    def groups(self, batch: Batch, rows: int) -> tuple[str, ...]:
        """Return the groups of the rows of *batch*; where there is no such column, its file is the group."""
        name = _first_of(GROUP, batch)
        if name is None:
            return (self.path.name,) * rows
        return tuple("" if value is None else str(value) for value in batch[name])

    def scores(self, batch: Batch, first: int) -> dict[str, Floats]:
        """Return each model's scores in *batch*, ``nan`` where unknown; raise :class:`ConfigError` naming the cell."""
        is_pair = {STRONG, WEAK} <= batch.keys() and not self.wanted
        names = self.wanted or ((STRONG, WEAK) if is_pair else tuple(map(str, batch)))
        found = {}
        for name in names:
            if name not in batch:
                raise ConfigError(f"{self.path}: no column {name!r}; there are: {', '.join(map(str, batch))}")
            is_meant = is_pair or bool(self.wanted) or name in self.models or f"{name}{LENGTH_SUFFIX}" in batch
            if not is_meant and (name in NO_MODELS or DETAIL in name or name in self.ignored):
                continue
            values = self._numbers(batch[name], name, first, is_meant=is_meant)
            if values is not None:
                found[name] = values
                self.models[name] = None
        return found

    def lengths(self, batch: Batch, model: str, rows: int) -> Floats:
        """Return the lengths of the answers of *model* in characters, ``nan`` where they are not told."""
        name = f"{model}{LENGTH_SUFFIX}"
        return _floats(batch[name]) if name in batch else np.full(rows, np.nan)

    def input_lengths(self, batch: Batch, prompts: Sequence[str]) -> Floats:
        """Return the lengths of what was sent in characters: as the file tells, else those of the prompts."""
        name = _first_of(INPUT_LENGTH, batch)
        return np.array([len(prompt) for prompt in prompts], dtype=float) if name is None else _floats(batch[name])

    def _text(self, value: Any, name: str, row: int) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(message, dict) for message in value):
            return "\n".join(text_of(message) for message in value)
        raise ConfigError(f"{self.path}, row {row}, column {name!r}: expected a text, not {type(value).__name__}")

    def _numbers(self, values: Sequence[Any], name: str, first: int, *, is_meant: bool) -> Floats | None:
        """Return *values* as scores, or ``None`` where the column cannot be meant as a model's."""
        try:
            numbers = _floats(values)
        except (TypeError, ValueError):
            if not is_meant:
                return None
            row = first + next(row for row, value in enumerate(values) if not _is_number(value))
            raise ConfigError(
                f"{self.path}, row {row}, column {name!r}: is no number; leave unknown scores empty"
            ) from None
        outside = ~np.isnan(numbers) & ~((numbers >= 0) & (numbers <= 1))
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            if is_meant:
                place = f"{self.path}, row {first + row}, column {name!r}"
                raise ConfigError(f"{place}: {numbers[row]:g} is no score from 0 to 1; scale it")
            self.ignored.add(name)
            return None
        return None if np.isnan(numbers).all() and not is_meant else numbers


def _first_of(names: Sequence[str], batch: Batch) -> str | None:
    return next((name for name in names if name in batch), None)


def _floats(values: Sequence[Any]) -> Floats:
    return np.array([math.nan if value is None or value == "" else value for value in values], dtype=float)


def _is_number(value: Any) -> bool:
    try:
        _floats([value])
    except (TypeError, ValueError):
        return False
    return True
