"""What some rows say of a mean, whatever the distribution: exact for right or wrong, by betting for the rest.

A p-value here is the chance, at most, of seeing rows at least as good when the true mean is not above the floor.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrouter.lab.outcomes.table import Floats

BOLDEST = 0.75
"""The part of the capital that a bet may lose at most."""
HALVINGS = 40
"""Steps of a bisection: the bound is right to twelve digits."""


def binomial_p(successes: Floats, rows: int, floor: float) -> Floats:
    """Return the p-value of so many *successes* in *rows* rows that are right or wrong, for the mean *floor*.

    It is the upper tail of the binomial distribution, so it is exact.
    """
    from scipy.special import betainc

    tail: Floats = np.where(successes > 0, betainc(np.maximum(successes, 1), rows - successes + 1, floor), 1.0)
    return tail


def binomial_interval(successes: int, rows: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided interval of Clopper and Pearson (1934) for a share, of *confidence* at least."""
    from scipy.special import betaincinv

    outside = (1 - confidence) / 2
    low = float(betaincinv(successes, rows - successes + 1, outside)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, rows - successes, 1 - outside)) if successes < rows else 1.0
    return low, high


def quantile_interval(values: Floats, share: float, confidence: float) -> tuple[float, float]:
    """Return where the number lies over which *share* of all such values are, with *confidence* at least.

    Its ends are two of *values*, in [0, 1], chosen by the binomial distribution, so that no assumption is made; 0 or 1
    where the values do not reach far enough.
    """
    from scipy.special import bdtr

    outside, rows, descending = (1 - confidence) / 2, len(values), np.sort(values)[::-1]
    chances = bdtr(np.arange(rows + 1), rows, share)
    fewest, most = int(np.argmax(chances > outside)), int(np.argmax(chances >= 1 - outside))
    low = float(descending[most]) if most < rows else 0.0
    return low, float(descending[fewest - 1]) if fewest > 0 else 1.0


def betting_p(values: Floats, floor: float, risk: float) -> Floats:
    """Return the p-value of each column of *values*, shape (rows, columns), in [0, 1], for the mean *floor*.

    The rows are in an order drawn by lot.  A gambler bets on each next row being above *floor*, with stakes that the
    rows before it suggest; while the mean is not above *floor* the game is not in his favour, so that his capital
    reaches 1/p with a chance of at most p (Ville).  The stakes are those of Waudby-Smith and Ramdas, "Estimating
    means of bounded random variables by betting" (2024), tuned to *risk*; they follow the variance, so that rows which
    differ little say much.
    """
    rows = len(values)
    counts = np.arange(1, rows + 1)[:, None]
    means = (0.5 + np.cumsum(values, axis=0)) / (counts + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2, axis=0)) / (counts + 1)
    before = np.concatenate([np.full((1, values.shape[1]), 0.25), variances[:-1]])
    boldest = BOLDEST / floor if floor > 0 else math.inf
    stakes = np.minimum(np.sqrt(2 * math.log(1 / risk) / (rows * before)), boldest)
    capital = np.cumsum(np.log1p(stakes * (values - floor)), axis=0)
    p: Floats = np.exp(-np.maximum(capital.max(axis=0), 0.0))
    return p


def lower_bound(values: Floats, confidence: float) -> float:
    """Return what the mean of *values*, shape (rows,), in [0, 1], is at least, with *confidence*."""
    risk, low, high = 1 - confidence, 0.0, float(np.mean(values))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if p_values(values[:, None], middle, risk)[0] <= risk:
            low = middle
        else:
            high = middle
    return low


def p_values(values: Floats, floor: float, risk: float) -> Floats:
    """Return the p-value of each column of *values*: exact where all are right or wrong, by betting otherwise."""
    if is_right_or_wrong(values):
        return binomial_p(values.sum(axis=0), len(values), floor)
    return betting_p(values, floor, risk)


def is_right_or_wrong(values: Floats) -> bool:
    """Whether *values* are 0 and 1 only."""
    return bool(((values == 0) | (values == 1)).all())
