"""What the models of the outcomes are worth at each kind of task, and how far each follows the ease of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.packing import Pack
from asyncrouter_semantic.panel import LEAST_COST, plain

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

LEAST_ROWS = 30
"""Rows from which a model is of the panel."""
PRESUMED_ROWS = 20.0
"""What strength and difficulty say of a model at a task counts as so many of its rows there."""
ROUNDS = 60
LEAST_PRICED = 5
ROLES = frozenset({"strong", "weak"})
"""Columns that name a part in a pair, not a model."""


def ease(outcomes: Outcomes) -> Floats:
    """Return the mean score of each row over the models that are known there."""
    return np.asarray(np.nanmean(outcomes.scores, axis=1))


def panel(outcomes: Outcomes, of_row: Indices, tasks: int, easier: Floats) -> Pack:
    """Return what :class:`~asyncrouter_semantic.panel.Panel` reads; *easier* is each row's ease beside its task's."""
    names, scores = _columns(outcomes)
    known = ~np.isnan(scores)
    one_hot = np.eye(tasks)[of_row]
    counts, sums = one_hot.T @ known, one_hot.T @ np.where(known, scores, 0.0)
    strengths, difficulties = _rasch(sums.T, counts.T)
    presumed = 1 / (1 + np.exp(difficulties[None, :] - strengths[:, None]))
    means = (sums.T + PRESUMED_ROWS * presumed) / (counts.T + PRESUMED_ROWS)
    rest = np.where(known, scores - means[:, of_row].T, 0.0)
    slopes = (rest * easier[:, None]).sum(axis=0) / ((known * easier[:, None] ** 2).sum(axis=0) + 1.0)
    arrays = {"means": means, "slopes": slopes, "strengths": strengths, "difficulties": difficulties}
    line = _by_price(outcomes, names, strengths)
    return Pack({name: one.astype(np.float32) for name, one in arrays.items()}, {"models": names, "by_price": line})


def _columns(outcomes: Outcomes) -> tuple[list[str], Floats]:
    """Return the models' plain names and their scores; columns of the same model are joined."""
    joined: dict[str, Floats] = {}
    for place, name in enumerate(outcomes.models):
        if name not in ROLES:
            column = outcomes.scores[:, place]
            before = joined.get(plain(name))
            joined[plain(name)] = column if before is None else np.where(np.isnan(before), column, before)
    kept = {name: column for name, column in joined.items() if (~np.isnan(column)).sum() >= LEAST_ROWS}
    return list(kept), np.column_stack([*kept.values()]) if kept else np.empty((len(outcomes), 0))


def _rasch(sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return strengths of models and difficulties of tasks, from *sums* of scores and *counts*, shape (models, tasks).

    Newton's steps in turns for the likelihood, with a normal prior of deviation 2 on both.
    """
    strengths, difficulties = np.zeros(sums.shape[0]), np.zeros(sums.shape[1])
    for _ in range(ROUNDS):
        strengths += _step(sums, counts, strengths, difficulties)
        difficulties += _step(counts.T - sums.T, counts.T, difficulties, strengths)
    return strengths, difficulties


def _step(sums: Floats, counts: Floats, values: Floats, others: Floats) -> Floats:
    chance = 1 / (1 + np.exp(others[None, :] - values[:, None]))
    slope = (sums - counts * chance).sum(axis=1) - values / 4
    bend = (counts * chance * (1 - chance)).sum(axis=1) + 1 / 4
    return np.asarray(np.clip(slope / bend, -1.0, 1.0))


def _by_price(outcomes: Outcomes, names: list[str], strengths: Floats) -> list[float] | None:
    """Return the line that gives a strength for the logarithm of a call's cost, ``None`` where too few are known."""
    if outcomes.costs is None:
        return None
    paid: dict[str, float] = {}
    for place, name in enumerate(outcomes.models):
        costs = outcomes.costs[:, place]
        if name not in ROLES and plain(name) in names and not np.isnan(costs).all():
            paid.setdefault(plain(name), float(np.nanmean(costs)))
    if len(paid) < LEAST_PRICED:
        return None
    logs = np.log(np.maximum(list(paid.values()), LEAST_COST))
    slope, start = np.polyfit(logs, strengths[[names.index(name) for name in paid]], 1)
    return [float(np.float32(start)), float(np.float32(max(slope, 0.0)))]
