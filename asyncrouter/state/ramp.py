"""How a deployment that is back is loaded: by turns that come faster and faster.

While it was set aside, requests have gathered that wait for it; let in together they would be a herd that knocks it
over once more.  So for ``ramp_s`` after its breaker has closed, and until nobody waits for a turn any longer, calls are
let in at a rate that grows from :data:`START` to :data:`PEAK` times the present rate of requests: those that waited and
those that come anew are never more than twice the usual load together.  The turns are spaced at random, so that several
routers do not march in step.
"""

from __future__ import annotations

import random
from collections.abc import Callable

START = 0.2
"""The share of the requests' rate that is let in at first (Envoy's slow start begins at 0.1)."""
PEAK = 1.8
"""What it grows to: under 2, so that chance in the spacing and in the counting stays within twice the rate."""
LEAST_PER_S = 5.0
"""Calls a second that are let in whatever the rate, and as many at once at first: a quiet router has no herd."""
ALWAYS = float("-inf")


class Ramp:
    """See the module.  *demand* tells the requests a second at a moment; ``next_at``: when the next turn is."""

    __slots__ = ("_began_at", "_demand", "_free", "_length_s", "_random", "next_at")

    def __init__(self, length_s: float, now: float, random: random.Random, demand: Callable[[float], float]) -> None:
        self.next_at = ALWAYS
        self._began_at = now
        self._length_s = length_s
        self._random = random
        self._demand = demand
        self._free = LEAST_PER_S

    def take(self, now: float) -> float:
        """Take the next turn and return its moment, *now* or later."""
        if self._free > 0:
            self._free -= 1
            return now
        turn = max(now, self.next_at)
        grown = min(1.0, (turn - self._began_at) / self._length_s)
        per_s = max(LEAST_PER_S, self._demand(now) * (START + (PEAK - START) * grown))
        self.next_at = turn + self._random.uniform(0.75, 1.25) / per_s
        return turn

    def is_over(self, now: float) -> bool:
        """Whether its time has passed and nobody waits for a turn."""
        return now >= self._began_at + self._length_s and self.next_at <= now
