"""How good an answer of a deployment will be: told by the estimator, configured, or learned from feedback.

Without an estimator that tells, the curve is Rasch's (G. Rasch, "Probabilistic Models for Some Intelligence and
Attainment Tests", 1960): the logit of the quality is the deployment's ability less the request's difficulty,

    quality = logistic(ability - difficulty * (complexity - 1/2)),

so the ability is the logit of the quality at complexity 1/2.  Feedback moves it by the online Newton step of logistic
regression (an extended Kalman filter of one parameter, as in the rating system of Glicko), which takes into account how
hard the request was: who is asked the hard ones is not thought worse of for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from asyncrouter.types.deployments import Deployment, Price

LOWEST, HIGHEST = 0.001, 0.999
"""Configured qualities are kept within these, for their logits are finite."""
PRICE_LOGIT, PRICE_SLOPE = 0.80, 0.45
"""The ability presumed by price: at 1 USD per million tokens, and more for each ten times that.  Least squares over the
18 models of one benchmark at their list prices, correlation 0.64 (``benchmarks/n_models.py`` prints it for a file)."""
CHEAPEST = 0.05
"""US dollars per million tokens: a lower price says no less of a model."""
PRIOR_CALLS = 20.0
"""How many scores at complexity 1/2 and quality 1/2 the presumed or configured quality weighs."""
MOST_CALLS = 1000.0
"""What is known of a deployment weighs no more scores than these, so that a change is seen some time."""
INFORMATION = 0.25
"""What one such score tells of the ability: p (1 - p) at 1/2."""


class Qualities:
    """The expected qualities of deployments, by name; ``configured`` ones are at complexity 1/2."""

    def __init__(self, configured: Mapping[str, float], difficulty: float) -> None:
        self._difficulty = difficulty
        self._abilities = {name: _logit(quality) for name, quality in configured.items()}
        self._precisions: dict[str, float] = {}

    def expected(self, deployment: Deployment, complexity: float) -> float:
        """Return the quality, in (0, 1), of an answer of *deployment* to a request of *complexity*."""
        ability = self._abilities.get(deployment.name)
        if ability is None:
            ability = self._abilities[deployment.name] = presumed_ability(deployment.price)
        return _logistic(ability - self._difficulty * (complexity - 0.5))

    def learn(self, name: str, complexity: float, score: float) -> None:
        """Take to heart that an answer of the deployment *name* was scored, from 0 to 1."""
        ability = self._abilities.get(name)
        if ability is None:
            return
        expected = _logistic(ability - self._difficulty * (complexity - 0.5))
        precision = self._precisions.get(name, PRIOR_CALLS * INFORMATION) + expected * (1.0 - expected)
        self._precisions[name] = min(precision, MOST_CALLS * INFORMATION)
        self._abilities[name] = ability + (score - expected) / precision


def presumed_ability(price: Price | None) -> float:
    """Return the ability presumed of a deployment of that *price*, of which nothing else is known."""
    if price is None:
        return PRICE_LOGIT
    usd = max((price.input + price.output) / 2, CHEAPEST)
    return PRICE_LOGIT + PRICE_SLOPE * math.log10(usd)


def _logit(quality: float) -> float:
    quality = min(max(quality, LOWEST), HIGHEST)
    return math.log(quality / (1.0 - quality))


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min(value, 500.0), -500.0)))
