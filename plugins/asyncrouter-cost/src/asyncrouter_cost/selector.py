"""The best expected quality for its money comes first."""

from __future__ import annotations

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.events import Event
from asyncrouter.types.request import Request
from asyncrouter_cost.offers import Expectations


class ValueSelector:
    """Orders deployments by quality - cost / usd_per_quality, those without a price last."""

    def __init__(self, expectations: Expectations) -> None:
        self._expectations = expectations

    @hookimpl
    def asyncrouter_select(self, request: Request, estimate: Estimate, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates*, the best value first."""
        offers = self._expectations.offers(request, estimate, candidates)
        return Selection(deployments=tuple(one.deployment for one in offers), reason=str(offers[0]))

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Learn what answers take, and how good they were."""
        self._expectations.learn(event)
