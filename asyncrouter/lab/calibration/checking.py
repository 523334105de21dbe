"""Whether a promised floor is kept as often as promised: many calibrations on rows drawn from a known population."""

from __future__ import annotations

import attrs
import numpy as np

from asyncrouter.lab.calibration.bounds import binomial_interval
from asyncrouter.lab.calibration.thresholds import PROMISES, Rows
from asyncrouter.lab.evaluation.curves import PairCurve, pair_curve
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.types.errors import ConfigError

LEVEL = 0.95
"""Confidence of the interval of the share that was broken."""


@attrs.frozen(kw_only=True)
class Checked:
    """What became of ``calibrations``, each on ``rows`` rows drawn by lot from all.

    ``broken``: so many thresholds whose true quality is below the floor; ``unproven``: so many times none was given.
    ``broken_share`` has its exact interval; ``promised`` is what it may be at most.  ``strong_share`` is the mean share
    of strong calls of the thresholds given, ``possible_share`` the least at which the population keeps the floor.
    """

    calibrations: int
    rows: int
    promised: float
    broken: int
    unproven: int
    broken_share: float
    broken_share_interval: tuple[float, float]
    strong_share: float | None
    possible_share: float | None


def check(
    population: Rows,
    goal: str,
    value: float,
    *,
    confidence: float,
    rows: int,
    calibrations: int,
    seed: int = 0,
    progress: Progress = ignored,
) -> Checked:
    """Calibrate so many times on *rows* rows, and hold each threshold against the truth.

    *goal* is one of :data:`~asyncrouter.lab.calibration.thresholds.PROMISES`, *value* how much is wanted of it.  The
    truth is what the threshold gives on all of *population*, from which the rows are drawn with replacement.
    """
    assert population.strong is not None  # noqa: S101 - the caller has asked for it
    assert population.weak is not None  # noqa: S101
    floor = float(population.strong.mean()) - value if goal == "loss" else value
    broken = unproven = 0
    shares = []
    for number in range(calibrations):
        drawn = np.random.default_rng([seed, number]).integers(len(population), size=rows)
        sample = population.drawn(drawn)
        try:
            found = PROMISES[goal](sample, value, confidence, number)
        except ConfigError:
            unproven += 1
        else:
            is_strong = population.scores >= found.value
            shares.append(float(np.mean(is_strong)))
            broken += bool(np.where(is_strong, population.strong, population.weak).mean() < floor)
        progress((number + 1) / calibrations)
    return Checked(
        calibrations=calibrations,
        rows=rows,
        promised=1 - confidence,
        broken=broken,
        unproven=unproven,
        broken_share=broken / calibrations,
        broken_share_interval=binomial_interval(broken, calibrations, LEVEL),
        strong_share=float(np.mean(shares)) if shares else None,
        possible_share=_possible(pair_curve(population.scores, population.strong, population.weak), floor),
    )


def _possible(curve: PairCurve, floor: float) -> float | None:
    """Return the least share of strong calls at which some threshold keeps *floor* on the population itself."""
    kept = curve.shares[curve.qualities >= floor]
    return float(kept.min()) if kept.size else None
