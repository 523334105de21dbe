"""Estimators for ``adaptive.py`` that have learned from other rows, and the bound on what text alone can tell."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from asyncrouter_adaptive.shape import FORMS, shape_of

from asyncrouter.assembler import builtin_registry
from asyncrouter.lab.estimates import NamedEstimator, trained_estimator
from asyncrouter.lab.evaluation.folds import folds
from asyncrouter.lab.outcomes import Outcomes, concat
from asyncrouter.lab.training import NO_PRIOR, NamedTrainer

SEED = 7
FOLDS = 10
TRAINER = "semantic"
LITTLE = 1e-9
"""For kinds that do not occur."""


def learned(table: Outcomes, count: int, others: Sequence[Outcomes]) -> tuple[Outcomes, NamedEstimator]:
    """Return the rows of *table* but *count* of them, and the estimator learned from *others* and those *count*."""
    order = np.random.default_rng(SEED).permutation(len(table))
    own = [table.rows(np.sort(order[:count]))] if count else []
    return table.rows(np.sort(order[count:])), trained([*others, *own])


def trained(tables: Sequence[Outcomes]) -> NamedEstimator:
    """Return the estimator ``semantic`` learned from *tables* alone."""
    registry = builtin_registry()
    model = NamedTrainer(TRAINER, {}, registry).train(concat(tables), seed=0, prior=NO_PRIOR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learned.model"
        path.write_bytes(bytes(model))
        return trained_estimator(TRAINER, path, registry)


def bound(table: Outcomes, *, forms: bool) -> float:
    """Return the share of the gap that is reached by choosing the best model for the kinds that the text is like.

    The likeness is what the estimator's gate says that has learned from the other parts of the file, or with *forms*
    which form the text has; the quality of each model for a kind is its mean there: nothing is explored, every score
    of the other rows is known.
    """
    known = np.flatnonzero(~np.isnan(table.scores).any(axis=0))
    scores = table.scores[:, known]
    category = np.unique(table.groups, return_inverse=True)[1]
    means = np.array([scores[category == one].mean(axis=0) for one in range(category.max() + 1)])[category]
    chosen = np.empty(len(table), dtype=int)
    fold_of = folds(table, FOLDS, SEED)
    for fold in range(FOLDS):
        told, others = np.flatnonzero(fold_of == fold), np.flatnonzero(fold_of != fold)
        estimator = None if forms else trained([table.rows(others)])
        likeness, of_told = (
            marks(rows) if estimator is None else shares(estimator, rows)
            for rows in (table.rows(others), table.rows(told))
        )
        qualities = likeness.T @ scores[others] / np.maximum(likeness.sum(axis=0), LITTLE)[:, None]
        chosen[told] = (of_told @ qualities).argmax(axis=1)
    reached = means[np.arange(len(table)), chosen].mean()
    fixed = scores.mean(axis=0).argmax()
    return float((reached - means[:, fixed].mean()) / (means.max(axis=1).mean() - means[:, fixed].mean()))


def shares(estimator: NamedEstimator, table: Outcomes) -> np.ndarray:
    """Return how much each row is like each kind: what the vectors begin with, up to where they add up to 1."""
    vectors = np.array([estimate.features for estimate in estimator.estimates(table.prompts)])
    kinds = int(np.argmax(np.isclose(np.cumsum(vectors, axis=1), 1.0, atol=1e-4).all(axis=0))) + 1
    return vectors[:, :kinds]


def marks(table: Outcomes) -> np.ndarray:
    """Return which form each row has."""
    return np.eye(len(FORMS))[[shape_of(text)[0] for text in table.prompts]]
