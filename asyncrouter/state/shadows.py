"""What shadows may take: a sample of the calls, so many at once, so much money an hour; counted by themselves."""

from __future__ import annotations

import math

from asyncrouter.state.latency import smoothed
from asyncrouter.state.window import SlidingCounts
from asyncrouter.types.deployments import ShadowSettings
from asyncrouter.types.metrics import ShadowMetrics

HOUR_S = 3600.0


class ShadowBudget:
    """The bounds of one group's shadows, and what they came to.

    ``usd_per_hour`` is kept with what those under way are expected to cost: as forecast, and no less than they cost on
    average.  Beyond it may be what those under way cost more than that.
    """

    def __init__(self, settings: ShadowSettings) -> None:
        self.settings = settings
        self._in_flight = 0
        self._reserved_usd = 0.0
        self._usual_usd: float | None = None
        self._spent = SlidingCounts(HOUR_S)
        self._counts = ShadowMetrics()

    def begin(self, forecast_usd: float, now: float) -> float | None:
        """Take a place for a shadow; return what is set aside for it, or ``None``, and count that, when there is none.

        *forecast_usd*: what it will cost in US dollars as far as one knows, 0 without a price.
        """
        bound = math.inf if self.settings.usd_per_hour is None else self.settings.usd_per_hour
        reserved_usd = max(forecast_usd, self._usual_usd or 0.0)
        spent, _ = self._spent.totals(now)
        if self._in_flight >= self.settings.max_in_flight or spent + self._reserved_usd + reserved_usd > bound:
            self.skip()
            return None
        self._in_flight += 1
        self._reserved_usd += reserved_usd
        return reserved_usd

    def end(self, reserved_usd: float, cost_usd: float | None, now: float) -> None:
        """Hand the place back with what was set aside, and count what the shadow cost."""
        self._in_flight -= 1
        self._reserved_usd = 0.0 if not self._in_flight else self._reserved_usd - reserved_usd
        if cost_usd is not None:
            self._usual_usd = smoothed(self._usual_usd, cost_usd)
            self._spent.add(now, cost_usd)
            self._count(cost_usd=cost_usd)

    def skip(self) -> None:
        """Count a call that was drawn and yet got no shadow."""
        self._count(skipped=1)

    def count(self, outcome: str) -> None:
        """Count a shadow by how it ended: "answered", "accepted", "rejected", "failed" or "cancelled"."""
        self._count(calls=1, **({} if outcome == "answered" else {outcome: 1}))

    def metrics(self) -> ShadowMetrics:
        """Return the counts."""
        return self._counts

    def _count(self, **more: float) -> None:
        before = self._counts
        names = ("calls", "failed", "cancelled", "skipped", "accepted", "rejected", "cost_usd")
        self._counts = ShadowMetrics(**{name: getattr(before, name) + more.get(name, 0) for name in names})
