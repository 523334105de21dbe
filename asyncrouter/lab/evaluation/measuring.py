"""The measures of scored outcomes, with intervals: of one file, in the mean of several, and of all rows together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from asyncrouter.lab.evaluation.bootstrap import Interval, Resampling, interval
from asyncrouter.lab.evaluation.curves import PairCurve, pair_curve
from asyncrouter.lab.evaluation.scored import ORACLE, Scored
from asyncrouter.lab.outcomes.table import Floats
from asyncrouter.types.errors import ConfigError

PAIR_MEASURES: Mapping[str, Callable[[PairCurve], Floats]] = {
    "apgr": PairCurve.apgr,
    "cpt50": lambda curve: curve.cpt(0.5),
    "cpt80": lambda curve: curve.cpt(0.8),
}


@attrs.frozen
class Measured:
    """A figure, and where it would have been with other prompts: ``None`` where that cannot be told."""

    value: float
    interval: Interval | None
    replicates: Floats = attrs.field(repr=False, eq=False)


Measures = Mapping[str, Measured]


@attrs.frozen
class PairRows:
    """The rows of a file on which both models of its pair are known."""

    strong: Floats
    weak: Floats
    groups: tuple[str, ...]
    scores: Mapping[str, Floats]
    stream: int

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.strong)


def pair_rows(scored: Scored, place: str, stream: int = 0) -> PairRows:
    """Return what the measures of a pair need; *stream* tells the draws of one file from those of another.

    Raises :class:`ConfigError` naming *place* when no row has both scores, or the strong model is not better.
    """
    table = scored.outcomes
    known = np.flatnonzero(~np.isnan(table.gain))
    if known.size == 0:
        raise ConfigError(f"{place}: no row has scores of both {table.strong!r} and {table.weak!r}")
    kept = table.rows(known)
    if not np.mean(kept.gain) > 0:
        raise ConfigError(
            f"{place}: {table.strong!r} is not better than {table.weak!r}; name another pair by --strong and --weak"
        )
    scores = {**{name: values[known] for name, values in scored.scores.items()}, ORACLE: kept.gain}
    return PairRows(kept.of(table.strong), kept.of(table.weak), kept.groups, scores, stream)


def measure_pair(rows: Sequence[PairRows], name: str, resampling: Resampling) -> Measures:
    """Return the measures of the scores called *name* on all *rows* together, whose files are drawn each by itself."""
    scores, strong, weak = (
        np.concatenate(parts)
        for parts in ([one.scores[name] for one in rows], [one.strong for one in rows], [one.weak for one in rows])
    )
    curve = pair_curve(scores, strong, weak)
    drawn: dict[str, list[Floats]] = {measure: [] for measure in PAIR_MEASURES}
    for weights in _weights(rows, resampling):
        replicate = pair_curve(scores, strong, weak, weights)
        for measure, of in PAIR_MEASURES.items():
            drawn[measure].append(of(replicate))
    return {
        measure: measured(float(of(curve)), np.concatenate(drawn[measure])) for measure, of in PAIR_MEASURES.items()
    }


def measured(value: float, replicates: Floats) -> Measured:
    """Return a figure with the interval of its *replicates*."""
    return Measured(value, interval(replicates), replicates)


def mean_of(measures: Sequence[Measures]) -> Measures:
    """Return the mean of each measure over files, which count alike (the macro average)."""
    return {
        name: measured(
            float(np.mean([one[name].value for one in measures])),
            np.mean([one[name].replicates for one in measures], axis=0),
        )
        for name in measures[0]
        if all(name in one for one in measures)
    }


def _weights(rows: Sequence[PairRows], resampling: Resampling) -> Iterator[Floats]:
    """Yield weights of all rows, of so many replicates at a time that all of them fit in memory."""
    total = sum(map(len, rows))
    streams = [resampling.weights(one.groups, one.stream, total) for one in rows]
    for parts in zip(*streams, strict=True):
        yield np.hstack(parts)
