"""What a simulation counts: requests and upstream calls, in all and per step of the time line.

Memory grows with the simulated time by a few numbers a step, and by 8 bytes for each answer: its exact latency.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.events import BreakerChanged, Event

Now = Callable[[], float]


class Steps:
    """A count per step of the time line."""

    def __init__(self, now: Now, interval_s: float) -> None:
        self._now = now
        self._interval_s = interval_s
        self._counts = array("L")

    def add(self) -> None:
        """Count one event now."""
        step = int(self._now() / self._interval_s)
        missing = step + 1 - len(self._counts)
        if missing > 0:
            self._counts.extend([0] * missing)
        self._counts[step] += 1

    def counts(self, length: int) -> list[int]:
        """Return the counts of the first *length* steps."""
        return [*self._counts[:length], *([0] * (length - len(self._counts)))]

    @property
    def most(self) -> int:
        """The largest count of a step."""
        return max(self._counts, default=0)


class UpstreamRecord:
    """What reached one simulated upstream: its true load, whatever the router thinks of it.

    ``ends`` counts the calls by how they ended: "ok", the way they failed, or "cancelled" by the router.
    """

    def __init__(self, now: Now, interval_s: float) -> None:
        self.calls = 0
        self.while_down = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.ends: Counter[str] = Counter()
        self.steps = Steps(now, interval_s)

    def begun(self, *, is_down: bool) -> None:
        """Count a call that arrives."""
        self.calls += 1
        self.while_down += is_down
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.steps.add()

    def ended(self, how: str) -> None:
        """Count the end of a call."""
        self.in_flight -= 1
        self.ends[how] += 1


@attrs.frozen
class Change:
    """A breaker's change at ``at_s`` to ``state``."""

    at_s: float
    deployment: str
    state: str


class BreakerWatch:
    """The plugin that notes when the breakers of a router change."""

    def __init__(self, now: Now) -> None:
        self.changes: list[Change] = []
        self._now = now

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Note a breaker's change."""
        if isinstance(event, BreakerChanged):
            self.changes.append(Change(self._now(), event.deployment, str(event.after)))


class RequestRecord:
    """What the callers saw.  ``errors`` counts by the error's class; ``waits`` are the router's backoffs."""

    def __init__(self, now: Now, interval_s: float) -> None:
        self.now = now
        self.begun = 0
        self.answered = 0
        self.waits = 0
        self.worst_s = 0.0
        self.errors: Counter[str] = Counter()
        self.latencies_s = array("d")
        self.first_outputs_s = array("d")
        self.arrivals, self.answers, self.failures = (Steps(now, interval_s) for _ in range(3))
        self.p50_s: list[float | None] = []
        self.p95_s: list[float | None] = []
        self.slowest_s: list[float | None] = []
        self._seen = 0

    def arrived(self) -> float:
        """Count a request that begins; return the moment."""
        self.begun += 1
        self.arrivals.add()
        return self.now()

    def ended(self, began: float, error: str | None, waits: int) -> None:
        """Count a request's end: with an answer, or with an *error* of that class."""
        took_s = self.now() - began
        self.waits += waits
        self.worst_s = max(self.worst_s, took_s)
        if error is not None:
            self.errors[error] += 1
            self.failures.add()
            return
        self.answered += 1
        self.answers.add()
        self.latencies_s.append(took_s)

    def close_step(self) -> None:
        """End a step of the time line: its latencies become three numbers."""
        found = quantiles(self.latencies_s[self._seen :], (0.5, 0.95, 1.0))
        for values, value in zip((self.p50_s, self.p95_s, self.slowest_s), found, strict=True):
            values.append(value)
        self._seen = len(self.latencies_s)


def quantiles(values: Iterable[float], qs: Iterable[float]) -> list[float | None]:
    """Return the quantiles *qs* (0 to 1) of *values* by nearest rank; ``None`` for each when there are no values."""
    ordered = sorted(values)
    return [ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None for q in qs]
