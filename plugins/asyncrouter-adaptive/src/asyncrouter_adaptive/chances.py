"""With what probability each of several normal variables is the greatest: the propensities of Thompson sampling."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.floating]

CELLS = 48
REACH = 4.0
"""Standard deviations on both sides of a mean that are looked at: 6e-5 lies outside."""
_STEPS = 100
"""Of the table of the normal distribution, for each standard deviation."""
_LAST = int(2 * REACH * _STEPS)
_PHI = np.array([0.5 * (1.0 + math.erf((step / _STEPS - REACH) / math.sqrt(2.0))) for step in range(_LAST + 1)])
_RAMP = np.arange(CELLS + 1)[:, None]


def chances_of_best(means: Vector, deviations: Vector) -> Vector:
    """Return for each of the independent normal variables the probability that it is the greatest; they add up to 1.

    By numerical integration of its density times the others' distribution functions over :data:`CELLS` cells, exact to
    about 0.01; ties of certain variables are shared.
    """
    spread = np.maximum(deviations, 1e-6)
    reach = REACH * spread
    lowest = float((means - reach).max())  # below that, nobody can be the greatest
    able = np.flatnonzero(means + reach > lowest)
    chances: Vector = np.zeros(len(means))
    chances[able] = _shares(means[able], spread[able], lowest) if len(able) > 1 else 1.0
    return chances


def _shares(means: Vector, spread: Vector, lowest: float) -> Vector:
    """Return the chances of those that may be the greatest."""
    reach = REACH * spread
    cell = (float((means + reach).max()) - lowest) / CELLS
    places = (_RAMP * cell + (lowest - means + reach)) * (_STEPS / spread)
    below = _PHI[np.clip(places, 0, _LAST).astype(np.intp)]
    middle = np.maximum((below[1:] + below[:-1]) * 0.5, 1e-12)
    shares: Vector = ((below[1:] - below[:-1]) * (middle.prod(axis=1)[:, None] / middle)).sum(axis=0)
    total = float(shares.sum())
    return shares / total if total > 0 else np.full(len(means), 1.0 / len(means))
