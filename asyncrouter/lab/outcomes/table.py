"""The table of outcomes: a row for each prompt, a column for each model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import DIGEST_BYTES

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

OF_ANSWERS = ("costs", "answer_costs", "lengths")
"""The fields of :class:`Outcomes` that tell more of each answer, where anything is known."""
STRONG, WEAK = "strong", "weak"
"""The names of a pair where a table holds rows of several."""
ID_DIGITS = 16
"""Hexadecimal digits of a prompt's identity."""


@attrs.frozen(kw_only=True, eq=False)
class Outcomes:
    """How well each of some models answered each of some prompts.

    Row *i* is the prompt ``prompts[i]`` with the identity ``ids[i]`` (the same for the same prompt), its group
    ``groups[i]`` (category, task, dataset: what a split without leaks keeps together) and the file it came from,
    ``sources[i]``.  ``scores`` has the shape (rows, models): qualities in [0, 1], ``nan`` where unknown.  ``costs`` is
    of the same shape in US dollars, or ``None`` where no price is known; ``answer_costs`` is the part of them that
    the answers cost, which nobody knows before, or ``None`` where it cannot be told apart.  ``lengths`` are those of
    the answers in tokens, or ``None``.  ``strong`` and ``weak`` name the two of ``models`` between which a complexity
    decides.

    Outcomes of a log without prompts have empty ``prompts``, and in ``features``, shape (rows, any), the vectors that
    the estimator gave; ``nan`` where it gave none, ``None`` where there are none at all.
    """

    ids: tuple[str, ...] = attrs.field(repr=False)
    prompts: tuple[str, ...] = attrs.field(repr=False)
    groups: tuple[str, ...] = attrs.field(repr=False)
    sources: tuple[str, ...] = attrs.field(repr=False)
    models: tuple[str, ...]
    scores: Floats = attrs.field(repr=False)
    costs: Floats | None = attrs.field(default=None, repr=False)
    answer_costs: Floats | None = attrs.field(default=None, repr=False)
    lengths: Floats | None = attrs.field(default=None, repr=False)
    features: Floats | None = attrs.field(default=None, repr=False)
    strong: str = STRONG
    weak: str = WEAK

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.ids)

    def of(self, model: str) -> Floats:
        """Return the scores of *model*, shape (rows,); raise :class:`ConfigError` where there is no such model."""
        if model not in self.models:
            raise ConfigError(f"no outcomes of the model {model!r}; there are: {', '.join(self.models)}")
        column: Floats = self.scores[:, self.models.index(model)]
        return column

    @property
    def gain(self) -> Floats:
        """What the strong model's answer is better by, shape (rows,), in [-1, 1]; ``nan`` where one is unknown."""
        return self.of(self.strong) - self.of(self.weak)

    def rows(self, indices: Indices) -> Outcomes:
        """Return the rows at *indices*, in their order."""
        return attrs.evolve(
            self,
            ids=_picked(self.ids, indices),
            prompts=_picked(self.prompts, indices),
            groups=_picked(self.groups, indices),
            sources=_picked(self.sources, indices),
            scores=self.scores[indices],
            features=None if self.features is None else self.features[indices],
            **{name: values[indices] for name, values in self.of_answers().items()},
        )

    def of_models(self, places: Indices) -> Outcomes:
        """Return the same rows with the models at *places* only."""
        return attrs.evolve(
            self,
            models=_picked(self.models, places),
            scores=self.scores[:, places],
            **{name: values[:, places] for name, values in self.of_answers().items()},
        )

    def of_answers(self) -> dict[str, Any]:
        """Return what is known of the answers besides their scores, by the field's name."""
        return {name: values for name in OF_ANSWERS if (values := getattr(self, name)) is not None}


def concat(tables: Sequence[Outcomes]) -> Outcomes:
    """Return the rows of all *tables* below one another; models that a table does not know are unknown in its rows.

    Where the tables differ in their pair, the models ``strong`` and ``weak`` hold each row's own.  Raises
    :class:`ConfigError` when there is no table.
    """
    if not tables:
        raise ConfigError("no outcomes: give a file")
    pairs = {(table.strong, table.weak) for table in tables}
    if len(pairs) > 1:
        tables = [_with_pair_columns(table) for table in tables]
        pairs = {(STRONG, WEAK)}
    ((strong, weak),) = pairs
    models = tuple(dict.fromkeys(model for table in tables for model in table.models))
    known = [name for name in OF_ANSWERS if any(getattr(table, name) is not None for table in tables)]
    return Outcomes(
        ids=tuple(one for table in tables for one in table.ids),
        prompts=tuple(one for table in tables for one in table.prompts),
        groups=tuple(one for table in tables for one in table.groups),
        sources=tuple(one for table in tables for one in table.sources),
        models=models,
        scores=np.concatenate([spread(table.scores, table.models, models) for table in tables]),
        **{name: np.concatenate([_spread_of(table, name, models) for table in tables]) for name in known},
        features=_joined_features(tables),
        strong=strong,
        weak=weak,
    )


def known_means(values: Floats) -> Floats:
    """Return the mean of what is known in each column, ``nan`` where nothing is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    means: Floats = np.where(known, values, 0.0).sum(axis=0) / np.where(counts == 0, np.nan, counts)
    return means


def identity(prompt: str) -> str:
    """Return a prompt's identity: a hash of its letters and digits, so that spacing, case and signs make no other."""
    letters = re.sub(r"[\W_]+", "", prompt.lower()) or prompt
    return hashlib.sha1(letters.encode(errors="replace"), usedforsecurity=False).hexdigest()[:ID_DIGITS]


def _picked(values: Sequence[str], indices: Indices) -> tuple[str, ...]:
    return tuple(values[index] for index in indices) if values else ()


def spread(values: Floats, known: Sequence[str], models: Sequence[str]) -> Floats:
    """Return *values*, whose columns are those of the models *known*, as columns of *models*; others are ``nan``."""
    wide = np.full((len(values), len(models)), np.nan)
    wide[:, [models.index(model) for model in known]] = values
    return wide


def _spread_of(table: Outcomes, name: str, models: tuple[str, ...]) -> Floats:
    values: Floats | None = getattr(table, name)
    return np.full((len(table), len(models)), np.nan) if values is None else spread(values, table.models, models)


def _joined_features(tables: Sequence[Outcomes]) -> Floats | None:
    """Return the features of all *tables*, ``nan`` in the rows of those that have none or others."""
    width = max((0 if table.features is None else table.features.shape[1] for table in tables), default=0)
    if width == 0:
        return None
    return np.concatenate([
        table.features
        if table.features is not None and table.features.shape[1] == width
        else np.full((len(table), width), np.nan)
        for table in tables
    ])  # fmt: skip


def digest(prompt: str) -> bytes:
    """Return the digest by which a model file names a prompt that it has learned from."""
    return bytes.fromhex(identity(prompt))[:DIGEST_BYTES]


def _with_pair_columns(table: Outcomes) -> Outcomes:
    if (table.strong, table.weak) == (STRONG, WEAK):
        return table
    pair = [table.models.index(table.strong), table.models.index(table.weak)]
    wide = {name: np.hstack([values, values[:, pair]]) for name, values in table.of_answers().items()}
    added: dict[str, Any] = {"scores": np.hstack([table.scores, table.scores[:, pair]]), **wide}
    return attrs.evolve(table, models=(*table.models, STRONG, WEAK), strong=STRONG, weak=WEAK, **added)
