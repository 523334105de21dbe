"""Intervals by the bootstrap: how far a figure would have moved with other prompts of the same kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from asyncrouter.lab.outcomes.table import Floats

Interval = tuple[float, float]
LEVEL = 0.95
REPLICATES = 1000
AT_ONCE = 2_000_000
"""Weights held at a time: 16 MB."""


@attrs.frozen(kw_only=True)
class Resampling:
    """How the prompts of a file are drawn again: ``replicates`` times from ``seed``.

    With ``by_group`` whole groups are drawn, for the question what other groups (subjects, tasks) would have given;
    else single prompts are.
    """

    replicates: int = REPLICATES
    seed: int = 0
    by_group: bool = False

    def weights(self, groups: Sequence[str], stream: int, rows: int) -> Iterator[Floats]:
        """Yield how often each row counts in some of the replicates, shape (some, len(groups)).

        They are the same for the same *groups* and *stream*, so that what is measured on the same rows is drawn alike.
        So many come at a time as *rows*, of this file and of others beside it, leave room for.
        """
        random = np.random.default_rng([self.seed, stream])
        members = np.unique(groups, return_inverse=True)[1] if self.by_group else np.arange(len(groups))
        drawn = int(members.max()) + 1
        for count in self._counts(rows):
            picked = random.integers(drawn, size=(count, drawn)) + drawn * np.arange(count)[:, None]
            times = np.bincount(picked.ravel(), minlength=count * drawn).reshape(count, drawn)
            yield times[:, members].astype(float)

    def _counts(self, rows: int) -> Iterator[int]:
        step = max(1, AT_ONCE // max(rows, 1))
        for done in range(0, self.replicates, step):
            yield min(step, self.replicates - done)


def interval(values: Floats) -> Interval | None:
    """Return the middle 95 % of *values*, ``None`` where fewer than half of them are defined or there are none."""
    defined = values[~np.isnan(values)]
    if len(defined) == 0 or len(defined) < len(values) / 2:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
