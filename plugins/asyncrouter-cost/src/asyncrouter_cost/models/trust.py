"""How far learned differences between models are to be trusted, judged by the choices that they lead to.

The penalty of a regression is the best for the error of each model by itself.  A choice takes the highest of many
values, and so the one that errs upwards the most: differences that are right on average are too large for it.  So they
are drawn to the models' means by one more factor: half way to the one whose choices are worth most on prompts not
learned from, for that is itself the luckiest of some.  One factor for all would do as well on a thousand prompts, but
goes on drawing where many more have told the truth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FACTORS = (1.0, 0.8, 0.65, 0.5, 0.35)
"""Of equals the first is taken."""
RATES = np.geomspace(0.02, 100.0, 60)
"""What money is worth in quality, as multiples of what the step from the cheapest model to the best one is worth; the
first steps to better models are the cheaper ones by far."""
SPENDS = 50
"""Mean costs, from the cheapest model's to the best one's, at which qualities are compared."""


def trust(scores: Floats, costs: Floats, plain: Floats, apart: Floats) -> float:
    """Return the factor for *apart*: what each model was held to do better than *plain* by who had not seen the row.

    All have the shape (rows, models), and nothing is unknown; *plain* is right but for a number that all models share.
    """
    usual, best = costs.mean(axis=0), int(scores.mean(axis=0).argmax())
    if usual[best] <= usual.min():  # nothing to weigh
        return 1.0
    worth = [_quality(plain + factor * apart, scores, costs) for factor in FACTORS]
    return (1.0 + FACTORS[int(np.argmax(worth))]) / 2


def _quality(expected: Floats, scores: Floats, costs: Floats) -> float:
    """Return the mean quality over the range of spends, where the best by *expected* and by usual costs is chosen."""
    usual, qualities, rows = costs.mean(axis=0), scores.mean(axis=0), np.arange(len(scores))
    best, cheapest = int(qualities.argmax()), int(usual.argmin())
    rates = RATES * (qualities[best] - qualities[cheapest]) / (usual[best] - usual[cheapest])
    chosen = [(expected - rate * usual).argmax(axis=1) for rate in rates]
    paid = np.array([costs[rows, one].mean() for one in chosen])
    gained = np.array([scores[rows, one].mean() for one in chosen])
    order = np.argsort(paid, kind="stable")
    spends = np.linspace(usual[cheapest], usual[best], SPENDS)
    return float(np.interp(spends, paid[order], np.maximum.accumulate(gained[order])).mean())
