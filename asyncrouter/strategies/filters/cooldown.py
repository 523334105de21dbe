"""The filter for deployments that are set aside for a time."""

from __future__ import annotations

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.deployments import Deployment, FleetView


@attrs.frozen(kw_only=True, eq=False)
class CooldownFilter:
    """Drop deployments that may not be called yet: cooling down, breaker open, or over a limit.

    It may leave none; whether to wait is the engine's decision.
    """

    @hookimpl(trylast=True)
    def asyncrouter_filter(self, candidates: tuple[Deployment, ...], state: FleetView) -> tuple[Deployment, ...] | None:
        """Return the candidates that are ready; ``None`` when all are."""
        now = state.now()
        ready = [one for one in candidates if state[one.name].ready_at <= now]
        return None if len(ready) == len(candidates) else tuple(ready)
