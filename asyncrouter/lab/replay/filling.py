"""What a log tells of the answers that nobody has asked for, so that a trainer can learn from it.

A log knows one answer a call.  For the other model, and for the one that was asked too, a score stands in that is
right on average: what such calls are expected to give, corrected by what this one gave, weighed by its propensity (the
pseudo-outcomes of the DR-learner: Kennedy, "Towards optimal doubly robust estimation of heterogeneous causal effects",
2023).  Such a score may lie outside of [0, 1]; the mean of many does not.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np

from asyncrouter.lab.outcomes.logs import Answers, answers_in, known_before, table_of
from asyncrouter.lab.outcomes.pairs import with_pair
from asyncrouter.lab.outcomes.table import Floats, Outcomes
from asyncrouter.lab.replay.values import expectations
from asyncrouter.types.errors import ConfigError

HEAVIEST = 20.0
"""Bound of a call's weight: a choice of 1 in 20 corrects no more than one of 1 in 5."""


def learnable(path: Path, strong: str | None, weak: str | None, seed: int) -> tuple[Outcomes, int]:
    """Return the outcomes in the log at *path* with both scores of the pair in each row, and how many rows stand in.

    Rows that tell of neither model of the pair are left out, and those without a prompt where others have one.  Raises
    :class:`ConfigError` when no row is left, or one of the two was never asked.
    """
    answers = answers_in(path)
    if not answers:
        raise ConfigError(f"{path}: no call with feedback or a judge's score")
    table = with_pair(table_of(answers, path.name), strong, weak, str(path))
    pair = (table.strong, table.weak)
    has_prompts = any(table.prompts)
    told = [
        row
        for row, one in enumerate(answers)
        if set(pair) & set(one.scores) and (table.prompts[row] or not has_prompts)
    ]
    table, answers = table.rows(np.array(told, dtype=np.intp)), [answers[row] for row in told]
    missing = np.isnan(table.gain)
    for name in pair:
        if np.isnan(table.of(name)).all():
            raise ConfigError(f"{path}: {name!r} was never asked, or nobody said how well it went; nothing to compare")
    if missing.any():
        scores, stand_ins = table.scores.copy(), _stand_ins(answers, pair, seed)
        for name, values in zip(pair, stand_ins.T, strict=True):
            scores[missing, table.models.index(name)] = values[missing]
        table = attrs.evolve(table, scores=scores)
    return table, int(missing.sum())


def _stand_ins(answers: list[Answers], pair: tuple[str, str], seed: int) -> Floats:
    """Return the pseudo-outcomes of both models of *pair*, shape (calls, 2)."""
    asked = [next(name for name in one.scores if name in pair) for one in answers]
    results = np.array([one.scores[name] for one, name in zip(answers, asked, strict=True)])
    expected = expectations(known_before([one.call for one in answers]), results, asked, pair, seed)
    weights = np.array([_weight(one, name) for one, name in zip(answers, asked, strict=True)])
    is_asked = np.array([[name == one for one in pair] for name in asked])
    return np.where(is_asked, expected + weights[:, None] * (results[:, None] - expected), expected)


def _weight(one: Answers, asked: str) -> float:
    """Return what the answer of *asked* weighs: 1/p where it was chosen with p, 1 where it came about otherwise."""
    propensity = one.call.propensity if one.call.chosen == asked else None
    return min(1 / propensity, HEAVIEST) if propensity else 1.0
