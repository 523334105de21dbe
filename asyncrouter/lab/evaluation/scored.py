"""Outcomes with what estimators and baselines say of each prompt; the prompts themselves are let go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.loading import read, whole
from asyncrouter.lab.outcomes.table import Floats, Outcomes

RANDOM, LENGTH, ORACLE = "random", "length", "oracle"
"""Baselines: chance, the prompt's characters, and the true gain, which no router can know."""


@attrs.frozen
class Scored:
    """Outcomes without their prompts, and what was said of these.

    ``scores`` holds for each name the shape (rows,): the higher, the rather the strong model.  ``qualities`` holds
    the shape (rows, models) for those estimators that expect a quality of each model.
    """

    outcomes: Outcomes
    scores: Mapping[str, Floats]
    qualities: Mapping[str, Floats]


@attrs.frozen(kw_only=True)
class Reading:
    """How files of outcomes are read: the pair, and the file of prices, each found by itself where it is ``None``."""

    strong: str | None = None
    weak: str | None = None
    prices: Path | None = None


def score_file(
    path: Path, estimators: Sequence[NamedEstimator], reading: Reading, progress: Progress = ignored
) -> Scored:
    """Return the outcomes of the file at *path* with what *estimators* and the baselines say.

    Memory holds the prompts of some thousands of rows at a time.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` naming file, row and column.
    """
    parts = [
        (attrs.evolve(batch, prompts=()), *_said(batch, estimators))
        for batch in read(path, prices=reading.prices, progress=progress)
    ]
    outcomes = whole(path, (part[0] for part in parts), strong=reading.strong, weak=reading.weak)
    scores = _joined(part[1] for part in parts)
    return Scored(outcomes, {RANDOM: np.zeros(len(outcomes)), **scores}, _joined(part[2] for part in parts))


def _said(batch: Outcomes, estimators: Sequence[NamedEstimator]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    scores = {LENGTH: np.array([len(prompt) for prompt in batch.prompts], dtype=float)}
    qualities = {}
    for estimator in estimators:
        said = estimator.ask(batch.prompts, batch.models)
        scores[estimator.name] = said.complexities
        if not np.isnan(said.qualities).all():
            qualities[estimator.name] = said.qualities
    return scores, qualities


def _joined(parts: Iterable[Mapping[str, Floats]]) -> dict[str, Floats]:
    collected: dict[str, list[Floats]] = {}
    for part in parts:
        for name, values in part.items():
            collected.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in collected.items()}
