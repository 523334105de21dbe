"""The pair of models between which a complexity decides: told, or found in the outcomes."""

from __future__ import annotations

import attrs
import numpy as np

from asyncrouter.lab.outcomes.table import STRONG, WEAK, Floats, Outcomes, known_means
from asyncrouter.types.errors import ConfigError


def with_pair(table: Outcomes, strong: str | None, weak: str | None, place: str) -> Outcomes:
    """Return *table* with its pair *strong* and *weak*.

    By default they are the columns of these names.  Of other models the strong one is that with the best mean score,
    the weak one the cheapest that is worse, or without prices the one in the middle by mean score.  Raises
    :class:`ConfigError` naming *place* when a model is unknown or the strong one is not better.
    """
    for name in (strong, weak):
        if name is not None and name not in table.models:
            raise ConfigError(f"{place}: no model {name!r}; there are: {', '.join(table.models)}")
    if strong is None and weak is None and {STRONG, WEAK} <= set(table.models):
        return attrs.evolve(table, strong=STRONG, weak=WEAK)
    means = known_means(table.scores)
    strong = strong or table.models[int(np.nanargmax(means))]
    return attrs.evolve(table, strong=strong, weak=weak or _weak(table, means, strong, place))


def _weak(table: Outcomes, means: Floats, strong: str, place: str) -> str:
    worse = np.flatnonzero(means < means[table.models.index(strong)])
    if worse.size == 0:
        raise ConfigError(f"{place}: no model is worse than {strong!r}; name the pair by --strong and --weak")
    costs = known_means(table.costs)[worse] if table.costs is not None else np.full(worse.size, np.nan)
    if np.isnan(costs).all():
        return table.models[int(worse[np.argsort(means[worse], kind="stable")[worse.size // 2]])]
    return table.models[int(worse[np.nanargmin(costs)])]
