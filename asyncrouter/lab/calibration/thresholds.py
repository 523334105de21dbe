"""The threshold from which on prompts go to the strong model, for what is wanted of it.

A floor of quality is kept by fixed-sequence testing, as in Angelopoulos et al., "Learn then Test: Calibrating
Predictive Algorithms to Achieve Risk Control" (2021): thresholds are tried from the safest on, where all calls go to
the strong model, and the first that is not proven to keep the floor ends it.  The last proven one breaks the floor with
a chance of at most 1 - confidence, over the draw of the rows, whatever their distribution and the estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import numpy as np

from asyncrouter.lab.calibration.bounds import (
    binomial_interval,
    binomial_p,
    is_right_or_wrong,
    lower_bound,
    p_values,
    quantile_interval,
)
from asyncrouter.lab.outcomes.table import Floats, Indices
from asyncrouter.types.errors import ConfigError

LEVELS = np.linspace(0.0, 1.0, 1001)
"""The thresholds that are tried, fixed before any row is seen; more would cost nothing but time."""
TESTED = 0.7
"""The part of the risk that the tests take.

They are exact, so that with all of it the floor would be broken as often as permitted, and half of all checks by a
thousand calibrations would count a few more; with seven tenths of 5 %, one in fifty does.
"""
AT_ONCE = 50
"""Levels tested at a time."""


@attrs.frozen(kw_only=True)
class Threshold:
    """A threshold, and what it gives on the rows it was found on: a request at or over it goes to the strong model.

    ``interval`` is where, with that confidence, the threshold for a share of all prompts of the kind lies; ``None`` for
    other goals.  ``strong_share`` is in [0, 1], with its exact interval.  ``quality`` is the mean quality,
    ``quality_at_least`` what it is at least with the confidence asked for, had the threshold been given; ``None``
    without outcomes.  ``spend_usd`` is the mean cost of a call, ``None`` without prices.
    """

    value: float
    interval: tuple[float, float] | None = None
    strong_share: float
    strong_share_interval: tuple[float, float]
    quality: float | None = None
    quality_at_least: float | None = None
    spend_usd: float | None = None


@attrs.frozen(kw_only=True)
class Rows:
    """What is calibrated on, each of shape (rows,): the estimator's scores, and outcomes and costs where known."""

    scores: Floats
    strong: Floats | None = None
    weak: Floats | None = None
    strong_usd: Floats | None = None
    weak_usd: Floats | None = None

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.scores)

    def drawn(self, indices: Indices) -> Rows:
        """Return the rows at *indices*."""
        fields = attrs.asdict(self, recurse=False)
        return attrs.evolve(self, **{name: values[indices] for name, values in fields.items() if values is not None})


def for_strong_share(rows: Rows, share: float, confidence: float) -> Threshold:
    """Return the threshold over which the part of the scores nearest to *share* lies."""
    found = told(rows, _between(rows.scores, round(share * len(rows))), confidence)
    return attrs.evolve(found, interval=quantile_interval(rows.scores, share, confidence))


def for_spend(rows: Rows, usd: float, confidence: float) -> Threshold:
    """Return the lowest threshold at which a call costs *usd* at most on average.

    Raises :class:`ConfigError` when not even the weak model alone is that cheap, or without prices.
    """
    if rows.strong_usd is None or rows.weak_usd is None:
        raise ConfigError("a spend needs the prices of both models: give --prices")
    order = np.argsort(-rows.scores, kind="stable")
    extra = np.cumsum((rows.strong_usd - rows.weak_usd)[order])
    spends = (rows.weak_usd.sum() + np.concatenate([[0.0], extra])) / len(rows)
    affordable = np.flatnonzero(spends <= usd)
    if not affordable.size:
        raise ConfigError(f"a call to the weak model alone costs {spends[0]:.3g} USD on average; give more than that")
    threshold = _between(rows.scores, int(affordable[-1]))
    if _spend(rows, threshold) > usd:  # equal scores: those that are over cannot be told from the rest
        threshold = _just_over(threshold)
    return told(rows, threshold, confidence)


def for_quality(rows: Rows, floor: float, confidence: float, seed: int = 0) -> Threshold:
    """Return the highest threshold whose mean quality is proven to be *floor* at least, with *confidence*.

    Raises :class:`ConfigError` when that is not proven even for the strong model alone.
    """
    strong, weak = _outcomes(rows)
    values = _Values(rows.scores, strong, weak, seed)
    level = last_proven(values, floor, 1 - confidence)
    if level is None:
        least = lower_bound(strong[values.order], confidence)
        raise ConfigError(
            f"a quality of {floor:g} is not proven even with all calls to the strong model: it has {strong.mean():.4f} "
            f"on these {len(rows):,} rows, {least:.4f} at least with confidence {confidence:g}; "
            "ask for less, or bring more rows"
        )
    return told(rows, level, confidence, seed)


def for_loss(rows: Rows, most: float, confidence: float, seed: int = 0) -> Threshold:
    """Return the highest threshold that is proven to lose *most* at most against the strong model alone.

    The loss is the mean of what the strong model would have been better by.  Raises :class:`ConfigError` when nothing
    above 0 is proven, which then needs more rows.
    """
    strong, weak = _outcomes(rows)
    kept = (1 + weak - strong) / 2  # of a call to the weak model; 1/2 of one to the strong: from [-1, 1] to [0, 1]
    values = _Values(rows.scores, np.full(len(rows), 0.5), kept, seed)
    level = last_proven(values, (1 - most) / 2, 1 - confidence)
    if level is None:
        raise ConfigError(f"{len(rows):,} rows do not prove a loss of {most:g} at most; allow more, or bring more rows")
    return told(rows, level, confidence, seed)


PROMISES: Mapping[str, Callable[[Rows, float, float, int], Threshold]] = {"quality": for_quality, "loss": for_loss}
"""What a threshold may promise: given rows, how much of it, the confidence and a seed."""


@attrs.frozen
class _Values:
    """The quality of each row at each threshold, in an order drawn by lot."""

    scores: Floats
    above: Floats
    below: Floats
    seed: int

    @property
    def order(self) -> Indices:
        return np.random.default_rng(self.seed).permutation(len(self.scores))

    def at(self, levels: Floats) -> Floats:
        """Return the values at *levels*, shape (rows, levels)."""
        order = self.order
        is_strong = self.scores[order, None] >= levels
        return np.where(is_strong, self.above[order, None], self.below[order, None])

    def successes(self, levels: Floats) -> Floats:
        """Return the sums of the values at *levels*, without a value for each row and level."""
        order = np.argsort(self.scores, kind="stable")
        gains = np.concatenate([[0.0], np.cumsum((self.below - self.above)[order])])
        sums: Floats = self.above.sum() + gains[np.searchsorted(self.scores[order], levels, side="left")]
        return sums


def last_proven(values: _Values, floor: float, risk: float) -> float | None:
    """Return the last of :data:`LEVELS` up to which each is proven to keep *floor*; ``None`` if not even the first."""
    risk *= TESTED
    if is_right_or_wrong(np.concatenate([values.above, values.below])):
        return _last_before(binomial_p(values.successes(LEVELS), len(values.scores), floor) > risk, LEVELS)
    levels = _distinct(values.scores)
    last = None
    for start in range(0, len(levels), AT_ONCE):
        some = levels[start : start + AT_ONCE]
        failed = p_values(values.at(some), floor, risk) > risk
        proven = _last_before(failed, some)
        last = last if proven is None else proven
        if failed.any():
            break
    return last


def _last_before(failed: np.ndarray[tuple[int], np.dtype[np.bool_]], levels: Floats) -> float | None:
    proven = int(np.argmax(failed)) if failed.any() else len(levels)
    return float(levels[proven - 1]) if proven else None


def _distinct(scores: Floats) -> Floats:
    """Return the last of each run of :data:`LEVELS` that send the same rows to the strong model."""
    below = np.searchsorted(np.sort(scores), LEVELS, side="left")
    distinct: Floats = LEVELS[np.append(np.diff(below) > 0, True)]
    return distinct


def told(rows: Rows, threshold: float, confidence: float, seed: int = 0) -> Threshold:
    """Return what *threshold* gives on *rows*."""
    is_strong = rows.scores >= threshold
    strong = int(is_strong.sum())
    quality = at_least = None
    if rows.strong is not None and rows.weak is not None:
        values = np.where(is_strong, rows.strong, rows.weak)
        quality = float(values.mean())
        at_least = lower_bound(np.random.default_rng(seed).permutation(values), confidence)
    return Threshold(
        value=threshold,
        strong_share=strong / len(rows),
        strong_share_interval=binomial_interval(strong, len(rows), confidence),
        quality=quality,
        quality_at_least=at_least,
        spend_usd=None if rows.strong_usd is None else _spend(rows, threshold),
    )


def _outcomes(rows: Rows) -> tuple[Floats, Floats]:
    if rows.strong is None or rows.weak is None:
        raise ConfigError("a quality needs outcomes of both models: give a file with scores of the pair")
    return rows.strong, rows.weak


def _spend(rows: Rows, threshold: float) -> float:
    assert rows.strong_usd is not None  # noqa: S101 - asked of rows with prices only
    assert rows.weak_usd is not None  # noqa: S101
    return float(np.where(rows.scores >= threshold, rows.strong_usd, rows.weak_usd).mean())


def _between(scores: Floats, count: int) -> float:
    """Return a threshold over which about *count* of *scores* are: halfway between two of them where they differ."""
    descending = np.sort(scores)[::-1]
    if count <= 0:
        return _just_over(descending[0])
    if count >= len(scores):
        return 0.0
    above, below = descending[count - 1], descending[count]
    if above > below:
        return float((above + below) / 2)
    run = np.flatnonzero(descending == above)
    return float(above) if run[-1] + 1 - count <= count - run[0] else _just_over(above)


def _just_over(score: float) -> float:
    """Return the next threshold over *score*; there is none over 1."""
    return min(1.0, float(np.nextafter(score, 2.0)))
