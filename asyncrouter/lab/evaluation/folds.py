"""Splits of outcomes into what is learned from and what is tested, such that nothing leaks from one to the other."""

from __future__ import annotations

import numpy as np

from asyncrouter.lab.outcomes.table import Indices, Outcomes, identity
from asyncrouter.types.errors import ConfigError


def folds(table: Outcomes, count: int, seed: int, *, by_group: bool = False) -> Indices:
    """Return the fold of each row, from 0 to *count* - 1, shape (rows,).

    The same prompt is in one fold, however often it occurs; with *by_group* a whole group is.  Folds are of about
    equal size, as far as the sizes of groups permit.
    """
    units = table.groups if by_group else tuple(map(identity, table.prompts))
    members, sizes = np.unique(units, return_inverse=True, return_counts=True)[1:]
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(count, dtype=np.intp)
    fold_of = np.empty(len(sizes), dtype=np.intp)
    for unit in largest_first:
        emptiest = int(np.argmin(filled))
        fold_of[unit] = emptiest
        filled[emptiest] += sizes[unit]
    placed: Indices = fold_of[members]
    return placed


def without_prompts_of(table: Outcomes, tested: Outcomes) -> Outcomes:
    """Return the rows of *table* whose prompt does not occur in *tested*; raise :class:`ConfigError` without any."""
    seen = set(map(identity, tested.prompts))
    left = [row for row, one in enumerate(table.prompts) if identity(one) not in seen]
    if not left:
        files = ", ".join(dict.fromkeys(table.sources))
        raise ConfigError(f"{files}: every prompt is in {tested.sources[0]} too, so nothing is left to learn from")
    return table.rows(np.array(left))


def some(table: Outcomes, count: int, seed: int) -> Outcomes:
    """Return *count* rows of *table* drawn by lot, all of them where there are no more."""
    if count >= len(table):
        return table
    return table.rows(np.sort(np.random.default_rng(seed).permutation(len(table))[:count]))
