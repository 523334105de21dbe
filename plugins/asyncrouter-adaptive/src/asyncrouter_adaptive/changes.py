"""Whether a deployment has changed: Page's test (1954) on what its rewards are beside what was expected, both ways.

In bandits: Liu, Lee and Shroff 2018, "A change-detection based framework for piecewise-stationary multi-armed bandits".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DRIFT = 0.15
"""Deviations of the mean up to this are none."""
ALARM = 10.0
"""The sum at which there is an alarm.  With rewards of a standard deviation of 0.45 it comes by chance once in a
million outcomes of a deployment (Siegmund's approximation, 1985), and a fall of 0.4 is found in about 40."""
LEARNED_FROM = 60
"""Outcomes of a deployment before its expectation can be held against it."""

SPAN = 250.0
"""Outcomes of all deployments after which one counts a third for how fresh knowledge is."""
FRESH = 10.0
"""So many of these a deployment needs to be known as it is now: one that gets 4 % of the calls has them."""


class Changes:
    """The sums of every deployment, downwards and upwards."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def see(self, name: str, surprise: float) -> bool:
        """Count a reward that was by *surprise* over its expectation; return whether that raises the alarm."""
        down, up = self._sums.get(name, (0.0, 0.0))
        down, up = max(0.0, down - surprise - DRIFT), max(0.0, up + surprise - DRIFT)
        alarm = max(down, up) >= ALARM
        self._sums[name] = (0.0, 0.0) if alarm else (down, up)
        return alarm

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {name: list(sums) for name, sums in self._sums.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        self._sums = {str(name): (float(down), float(up)) for name, (down, up) in state.items()}


class Freshness:
    """How many of the last outcomes were those of each deployment: old ones fade within :data:`SPAN`."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}

    def note(self, name: str, now: int) -> None:
        """Count an outcome of *name*, the router's number *now*."""
        self._counts[name] = (self._count(name, now) + 1.0, now)

    def is_stale(self, name: str, now: int) -> bool:
        """Whether *name* has hardly been asked of late, so that nobody would have noticed that it has changed."""
        return self._count(name, now) < FRESH

    def _count(self, name: str, now: int) -> float:
        count, at = self._counts.get(name, (0.0, now))
        return count * math.exp((at - now) / SPAN)

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {name: list(count) for name, count in self._counts.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        self._counts = {str(name): (float(count), int(at)) for name, (count, at) in state.items()}
