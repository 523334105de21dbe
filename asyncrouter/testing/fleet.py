"""A fleet's state made up by the test: what ``select`` and ``filter`` hooks get as ``state``."""

from __future__ import annotations

import random
from collections.abc import Mapping

import attrs

from asyncrouter.types.request import EMPTY


@attrs.frozen(kw_only=True)
class FakeView:
    """How one deployment fares; the defaults are those of a deployment never called (seconds, tokens)."""

    in_flight: int = 0
    latency_s: float | None = None
    silent_s: float = 0.0
    output_tokens: float | None = None
    ready_at: float = 0.0


def _seeded(fleet: FakeFleet) -> random.Random:
    return random.Random(fleet.seed)  # noqa: S311 - reproducible, not secret


@attrs.frozen(eq=False)
class FakeFleet:
    """A :class:`~asyncrouter.types.deployments.FleetView` with given views, time (seconds) and random numbers.

    A deployment that *views* does not name was never called.  Setting an attribute is refused: strategies read the
    state and never write it.  ``asked`` holds the names that were looked up.
    """

    views: Mapping[str, FakeView] = EMPTY
    seed: int = attrs.field(default=0, kw_only=True)
    _now: float = attrs.field(default=0.0, kw_only=True)
    random: random.Random = attrs.field(default=attrs.Factory(_seeded, takes_self=True), init=False, repr=False)
    asked: set[str] = attrs.field(factory=set, init=False)

    def now(self) -> float:
        """Return the present moment in seconds."""
        return self._now

    def __getitem__(self, deployment: str) -> FakeView:
        self.asked.add(deployment)
        return self.views.get(deployment, FakeView())
