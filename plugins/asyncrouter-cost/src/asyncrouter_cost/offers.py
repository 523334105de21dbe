"""What each deployment would do for a request: its expected quality, its expected cost, and the value of the two."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.events import Event, FeedbackGiven, RequestFinished
from asyncrouter.types.request import Request
from asyncrouter_cost.forecast import Forecast
from asyncrouter_cost.options import Options
from asyncrouter_cost.quality import Qualities

AVERAGE = 0.5
"""The complexity taken where an answer's own is not known."""


@attrs.frozen
class Offer:
    """What one deployment would do: ``quality`` in [0, 1], ``usd``, and ``value``, the quality less what it costs."""

    deployment: Deployment
    quality: float
    usd: float
    value: float

    def __str__(self) -> str:
        return f"quality {self.quality:.2f} for {self.usd:.2g} USD"


class Expectations:
    """What is known of the deployments of a group: told by the estimator, configured, and learned from events."""

    def __init__(self, options: Options) -> None:
        self._usd_per_quality = options.usd_per_quality
        self._qualities = Qualities(options.qualities, options.difficulty)
        self._forecast = Forecast(options.output_tokens)

    def offers(
        self, request: Request, estimate: Estimate, candidates: tuple[Deployment, ...], *, dearer: float = 1.0
    ) -> list[Offer]:
        """Return what each of *candidates* offers, best value first, money counting so many times *dearer* than it is.

        The value is quality - dearer * cost / usd_per_quality: minus infinity where no price is known.
        """
        told: Mapping[str, float] = estimate.qualities
        price = dearer / self._usd_per_quality
        offers = []
        for one in candidates:
            quality = told.get(one.name)
            if quality is None:
                quality = self._qualities.expected(one, estimate.complexity)
            usd = self._forecast.cost_usd(one, request, estimate)
            offers.append(Offer(one, quality, usd, quality - price * usd))
        return sorted(offers, key=lambda offer: offer.value, reverse=True)

    def most_usd(self, deployment: Deployment, request: Request, estimate: Estimate) -> float:
        """Return what a call of *deployment* is unlikely to exceed in US dollars; infinity without a price."""
        return self._forecast.cost_usd(deployment, request, estimate, most=True)

    def learn(self, event: Event) -> None:
        """Learn what an answer took, or how good it was."""
        if isinstance(event, RequestFinished) and event.response is not None:
            response = event.response
            if response.usage.total_tokens:
                self._forecast.learn(response.deployment, event.request, event.trace.estimate, response.usage)
        elif isinstance(event, FeedbackGiven):
            trace = event.response.trace
            estimate = None if trace is None else trace.estimate
            complexity = AVERAGE if estimate is None else estimate.complexity
            self._qualities.learn(event.response.deployment, complexity, event.score)
