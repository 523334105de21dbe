"""The filter for deployments that are set aside for a time."""

from __future__ import annotations

from typing import Any

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.deployments import Deployment, FleetView


@attrs.frozen(kw_only=True, eq=False)
class CooldownFilter:
    """Drop deployments that may not be called yet: cooling down, breaker open, or over a limit.

    It may leave none; whether to wait is the engine's decision.

    Where the fleet tells who is away, nobody is looked at, and while the same are away, the same tuple is left: what is
    known of it need not be found out again (``benchmarks/scale.py``).
    """

    _left: OncePerCandidates[dict[frozenset[str], Candidates]] = attrs.field(
        init=False, repr=False, factory=lambda: OncePerCandidates(lambda _candidates: {})
    )

    @hookimpl(trylast=True)
    def asyncrouter_filter(self, candidates: tuple[Deployment, ...], state: FleetView) -> tuple[Deployment, ...] | None:
        """Return the candidates that are ready; ``None`` when all are."""
        tell: Any = getattr(state, "away", None)
        away: frozenset[str] = _looked_at(candidates, state) if tell is None else tell()
        if not away:
            return None
        known = self._left.of(candidates)
        left = known.get(away)
        if left is None:
            known.clear()  # of one moment is enough: the next is mostly the same
            left = known[away] = tuple(one for one in candidates if one.name not in away)
        return None if len(left) == len(candidates) else left


def _looked_at(candidates: Candidates, state: FleetView) -> frozenset[str]:
    now = state.now()
    return frozenset(one.name for one in candidates if state[one.name].ready_at > now)
