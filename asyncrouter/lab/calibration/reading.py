"""The rows that a threshold is calibrated on: an estimator's scores of the prompts of files, outcomes where known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from asyncrouter.lab.calibration.thresholds import Rows
from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.evaluation.scored import Reading, score_file
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.loading import read_prompts
from asyncrouter.lab.outcomes.table import Floats, Outcomes
from asyncrouter.types.errors import ConfigError


def prompts_of(files: Sequence[Path], estimator: NamedEstimator, progress: Progress = ignored) -> Rows:
    """Return the scores of the prompts of *files*, which need no outcomes."""
    scores = [estimator.ask(batch.prompts).complexities for file in files for batch in read_prompts(file, progress)]
    if not scores:
        raise ConfigError(f"{files[0]}: holds no row")
    return Rows(scores=np.concatenate(scores))


def rows_of(files: Sequence[Path], estimator: NamedEstimator, reading: Reading, progress: Progress = ignored) -> Rows:
    """Return the scores and outcomes of the rows of *files* on which both models of the pair are known."""
    parts = []
    for file in files:
        scored = score_file(file, [estimator], reading, progress)
        known = np.flatnonzero(~np.isnan(scored.outcomes.gain))
        parts.append(_rows(scored.outcomes.rows(known), scored.scores[estimator.name][known]))
    fields = [field.name for field in attrs.fields(Rows)]
    joined: dict[str, Any] = {name: _joined([getattr(part, name) for part in parts]) for name in fields}
    if not len(joined["scores"]):
        raise ConfigError(f"{files[0]}: no row has scores of both models")
    return Rows(**joined)


def _rows(table: Outcomes, scores: Floats) -> Rows:
    pair = [table.models.index(table.strong), table.models.index(table.weak)]
    costs = None if table.costs is None or np.isnan(table.costs[:, pair]).any() else table.costs[:, pair]
    return Rows(
        scores=scores,
        strong=table.of(table.strong),
        weak=table.of(table.weak),
        strong_usd=None if costs is None else costs[:, 0],
        weak_usd=None if costs is None else costs[:, 1],
    )


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
