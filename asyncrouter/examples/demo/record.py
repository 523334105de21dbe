"""What happened: calls, the outage, and what is counted of them.  All times are in seconds since the first call."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import attrs

from asyncrouter.examples.demo.prompts import Task
from asyncrouter.examples.demo.setting import chosen_by
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace


class Way(enum.StrEnum):
    """How a call came to its answer."""

    CHOSEN = "chosen by complexity"
    STEERED = "steered around an open breaker"
    FELL_BACK = "fell back after a failure"
    LOST = "lost"


@attrs.frozen(kw_only=True)
class Call:
    """One call that ended: with ``response``, or with ``error``."""

    task: Task
    begun_s: float
    ended_s: float
    response: Response | None = None
    error: AsyncRouterError | None = None

    @property
    def trace(self) -> RouteTrace:
        """How it came about; empty when the call failed before there was anything to tell."""
        told = self.response or self.error
        return getattr(told, "trace", None) or RouteTrace(request_id="")

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Its attempts; their ``started_at`` is in the router clock's seconds."""
        return self.trace.attempts

    @property
    def complexity(self) -> float | None:
        """The estimate from 0 to 1, ``None`` when none was made."""
        estimate = self.trace.estimate
        return None if estimate is None else estimate.complexity

    @property
    def latency_s(self) -> float:
        """Seconds from asking until the whole answer was there."""
        return self.ended_s - self.begun_s

    @property
    def way(self) -> Way:
        """How it came to its answer."""
        if self.response is None:
            return Way.LOST
        if any(attempt.kind is AttemptKind.FALLBACK for attempt in self.attempts):
            return Way.FELL_BACK
        if self.complexity is not None and self.response.deployment != chosen_by(self.complexity):
            return Way.STEERED
        return Way.CHOSEN


@attrs.frozen(kw_only=True)
class Outage:
    """When the server of ``deployment`` was stopped, told to start again, and ready."""

    deployment: str
    stopped_s: float
    told_to_start_s: float
    ready_s: float


@attrs.frozen(kw_only=True)
class BreakerChange:
    """A breaker went over to ``state``."""

    deployment: str
    at_s: float
    state: str


@attrs.frozen(kw_only=True, slots=False)
class Run:
    """The whole run.  ``began_at`` is when the first call began, in the router clock's seconds."""

    tasks: tuple[Task, ...]
    calls: tuple[Call, ...]
    outage: Outage
    breaker: tuple[BreakerChange, ...]
    concurrency: int
    began_at: float
    duration_s: float

    @cached_property
    def lost(self) -> tuple[Task, ...]:
        """The prompts that did not get exactly one answer."""
        answers = Counter(call.task.number for call in self.calls if call.response is not None)
        return tuple(task for task in self.tasks if answers[task.number] != 1)

    @cached_property
    def failed_attempts(self) -> tuple[Attempt, ...]:
        """Every attempt that failed, whatever became of its call."""
        attempts = (attempt for call in self.calls for attempt in call.attempts)
        return tuple(attempt for attempt in attempts if attempt.outcome is Outcome.FAILED)

    @cached_property
    def recovered(self) -> tuple[Call, ...]:
        """The calls that the restarted server answered, begun after it was ready."""
        outage = self.outage
        return tuple(
            call
            for call in self.calls
            if call.response is not None
            and call.response.deployment == outage.deployment
            and self.seconds(call.attempts[-1].started_at) >= outage.ready_s
        )

    @cached_property
    def set_aside(self) -> tuple[tuple[str, float, float], ...]:
        """``(deployment, from, until)`` of each time that a breaker was not closed."""
        opened: dict[str, float] = {}
        spans = []
        for change in self.breaker:
            if change.state != BreakerState.CLOSED:
                opened.setdefault(change.deployment, change.at_s)
            elif change.deployment in opened:
                spans.append((change.deployment, opened.pop(change.deployment), change.at_s))
        return (*spans, *((name, at_s, self.duration_s) for name, at_s in opened.items()))

    def count(self, way: Way) -> int:
        """Return how many calls came to their answers in this *way*."""
        return sum(call.way is way for call in self.calls)

    def seconds(self, moment: float) -> float:
        """Return a *moment* of the router's clock in seconds since the first call."""
        return moment - self.began_at


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that *share* (over 0, up to 1) of *values* do not exceed, by nearest rank; ``None`` of none."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
