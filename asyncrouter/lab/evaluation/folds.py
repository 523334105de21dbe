"""Splits of outcomes into what is learned from and what is tested, such that nothing leaks from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from asyncrouter.lab.outcomes.table import Indices, Outcomes, identity
from asyncrouter.types.errors import ConfigError


def folds(
    table: Outcomes, count: int, seed: int, *, by_group: bool = False, placed: Mapping[str, int] | None = None
) -> Indices:
    """Return the fold of each row, from 0 to *count* - 1, shape (rows,).

    The same prompt is in one fold, however often it occurs; with *by_group* a whole group is.  Folds are of about
    equal size, as far as the sizes of groups permit.  *placed* tells the folds of prompts, or of groups, that have one.
    """
    units = _units(table, by_group)
    names, members, sizes = np.unique(units, return_inverse=True, return_counts=True)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled = np.zeros(count, dtype=np.intp)
    fold_of = np.array([(placed or {}).get(str(name), -1) for name in names], dtype=np.intp)
    np.add.at(filled, fold_of[fold_of >= 0], sizes[fold_of >= 0])
    for unit in largest_first[fold_of[largest_first] < 0]:
        emptiest = int(np.argmin(filled))
        fold_of[unit] = emptiest
        filled[emptiest] += sizes[unit]
    of_row: Indices = fold_of[members]
    return of_row


def folds_together(tables: Sequence[Outcomes], count: int, seed: int, *, by_group: bool = False) -> list[Indices]:
    """Return the folds of each of *tables* as :func:`folds` does, a prompt that is in several in the same of each."""
    placed: dict[str, int] = {}
    split = []
    for table in tables:
        split.append(folds(table, count, seed, by_group=by_group, placed=placed))
        placed |= zip(_units(table, by_group), split[-1].tolist(), strict=True)
    return split


def _units(table: Outcomes, by_group: bool) -> tuple[str, ...]:
    return table.groups if by_group else tuple(map(identity, table.prompts))


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
