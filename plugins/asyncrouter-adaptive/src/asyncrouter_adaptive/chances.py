"""With what probability each of several normal variables is the greatest: the propensities of Thompson sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

CELLS = 48
REACH = 4.0
"""Standard deviations on both sides of a mean that are looked at: 6e-5 lies outside."""
_STEPS = 100
"""Of the table of the normal distribution, for each standard deviation."""
_LAST = int(2 * REACH * _STEPS)
_HALF = np.array([0.25 * (1.0 + math.erf((step / _STEPS - REACH) / math.sqrt(2.0))) for step in range(_LAST + 1)])
"""Of the normal distribution function: two of them make its mean over a cell."""
_RAMP = np.stack([np.arange(CELLS + 1.0), np.ones(CELLS + 1)])
_LITTLE = 1e-12
_LEAST = 1e-6
"""Standard deviation of a variable that is certain."""


def chances_of_best(means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """Return for each of the independent normal variables the probability that it is the greatest; they add up to 1.

    Of two it is exact.  Of more, by numerical integration of its density times the others' distribution functions over
    :data:`CELLS` cells, exact to about 0.01; ties of certain variables are shared.
    """
    spread = [max(one, _LEAST) for one in deviations]
    floors = [mean - REACH * one for mean, one in zip(means, spread, strict=True)]
    lowest = max(floors)  # below that, nobody can be the greatest
    able = [place for place, mean in enumerate(means) if mean + REACH * spread[place] > lowest]
    chances = [0.0] * len(means)
    if len(able) == 1:
        shares = [1.0]
    elif len(able) == 2:  # noqa: PLR2004 - a pair
        one, other = able
        apart = (means[one] - means[other]) / math.hypot(spread[one], spread[other])
        first = 0.5 * (1.0 + math.erf(apart / math.sqrt(2.0)))
        shares = [first, 1.0 - first]
    else:
        shares = _shares([means[place] for place in able], [spread[place] for place in able], lowest)
    for place, share in zip(able, shares, strict=True):
        chances[place] = share
    return chances


def _shares(means: Sequence[float], spread: Sequence[float], lowest: float) -> list[float]:
    """Return the chances of those that may be the greatest."""
    cell = (max([mean + REACH * one for mean, one in zip(means, spread, strict=True)]) - lowest) / CELLS
    starts = [(lowest - mean + REACH * one) * _STEPS / one for mean, one in zip(means, spread, strict=True)]
    steps = [cell * _STEPS / one for one in spread]
    below = _HALF.take(np.dot(np.array([steps, starts]).T, _RAMP).astype(np.intp), mode="clip")
    lower, upper = below[:, :-1], below[:, 1:]
    both = lower + upper
    both += _LITTLE
    upper = upper - lower
    upper /= both
    shares: list[float] = np.dot(upper, np.multiply.reduce(both)).tolist()
    total = sum(shares)
    return [share / total for share in shares] if total > 0 else [1.0 / len(shares)] * len(shares)
