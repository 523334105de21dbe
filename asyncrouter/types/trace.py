"""How an answer came about: attempts, the immutable trace, and the builder that one request fills."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs

from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.errors import ProviderError
from asyncrouter.types.making import maker


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    OK = "ok"
    FAILED = "failed"
    REJECTED = "rejected"
    """It answered, and the judge did not accept the answer."""
    CANCELLED = "cancelled"
    """The caller left, or another attempt of a hedge or race won."""
    SKIPPED = "skipped"
    """No call was made: no deployment of the group was ready.  Given to ``fallback``, never part of a trace."""


class AttemptKind(enum.StrEnum):
    """Why an attempt was made."""

    FIRST = "first"
    RETRY = "retry"
    FALLBACK = "fallback"
    CASCADE = "cascade"
    HEDGE = "hedge"


FIRST, OK = AttemptKind.FIRST, Outcome.OK
"""Those of nearly every attempt: looked up in its class, a member costs 60 ns, and a global one."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One call to one deployment.  ``started_at`` is in the clock's seconds; ``number`` counts from 1.

    ``input_tokens``, ``output_tokens`` and ``cost_usd`` are what it took, as ``metrics()`` counts it: nothing when it
    failed, ``None`` without a price.  ``score``: what the judge thought of its answer, in [0, 1], where it said.
    """

    number: int
    deployment: str
    group: str
    kind: AttemptKind
    outcome: Outcome
    reason: str = ""
    error: ProviderError | None = None
    started_at: float = 0.0
    duration_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    score: float | None = None


new_attempt = maker(Attempt)


class TraceView(Protocol):
    """What ``retry``, ``fallback`` and ``judge`` may read of the request's course so far."""

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts so far, in the order in which they ended."""
        ...

    @property
    def groups(self) -> Sequence[str]:
        """The groups visited in this round, the first being the one that was asked for."""
        ...

    @property
    def waits(self) -> int:
        """How often the request has waited before a retry."""
        ...

    @property
    def estimate(self) -> Estimate | None:
        """The estimate, once made."""
        ...

    @property
    def selection(self) -> Selection | None:
        """The latest selection, once made."""
        ...


@attrs.frozen(kw_only=True)
class RouteTrace:
    """The whole course of one request.

    ``selection`` is the first one; ``groups`` are the groups visited in order; ``waits`` counts the backoffs;
    ``notes`` tells what was skipped or survived (a plugin that failed, a deployment without patience), in order;
    ``judging_usd`` is what judging the answers has cost.
    """

    request_id: str
    agent: str | None = None
    groups: tuple[str, ...] = ()
    estimate: Estimate | None = None
    selection: Selection | None = None
    attempts: tuple[Attempt, ...] = ()
    waits: int = 0
    waited_s: float = 0.0
    duration_s: float = 0.0
    notes: tuple[str, ...] = ()
    judging_usd: float = 0.0

    @property
    def cost_usd(self) -> float:
        """What the request has cost in US dollars as far as prices are known: every attempt, and the judging."""
        return sum(one.cost_usd for one in self.attempts if one.cost_usd is not None) + self.judging_usd


new_trace = maker(RouteTrace)


class TraceBuilder:
    """The one mutable record of a request under way; :meth:`freeze` makes the trace of it."""

    __slots__ = ("agent", "attempts", "estimate", "first_selection", "groups", "judging_usd", "notes", "request_id",
                 "selection", "started_at", "visited", "waited_s", "waits")  # fmt: skip

    def __init__(self, request_id: str, agent: str | None, group: str, started_at: float) -> None:
        self.request_id = request_id
        self.agent = agent
        self.groups: tuple[str, ...] = (group,)
        self.visited: tuple[str, ...] = self.groups
        self.started_at = started_at
        self.estimate: Estimate | None = None
        self.first_selection: Selection | None = None
        self.selection: Selection | None = None
        self.attempts: list[Attempt] = []
        self.waits = 0
        self.waited_s = 0.0
        self.notes: list[str] = []
        self.judging_usd = 0.0

    def selected(self, selection: Selection) -> None:
        """Record *selection* as the latest, and as the first when it is."""
        if self.first_selection is None:
            self.first_selection = selection
        self.selection = selection

    def entered(self, group: str) -> None:
        """Record that *group* is visited."""
        self.groups += (group,)
        if group not in self.visited:
            self.visited += (group,)

    def new_round(self) -> None:
        """Begin again with the group that was asked for."""
        if len(self.groups) > 1:
            self.groups = self.groups[:1]

    def waiting(self, delay_s: float) -> None:
        """Record one wait."""
        self.waits += 1
        self.waited_s += delay_s

    def freeze(self, now: float) -> RouteTrace:
        """Return the immutable trace as it stands at *now*."""
        return new_trace(
            request_id=self.request_id,
            agent=self.agent,
            groups=self.visited,
            estimate=self.estimate,
            selection=self.first_selection,
            attempts=tuple(self.attempts),
            waits=self.waits,
            waited_s=self.waited_s,
            duration_s=now - self.started_at,
            notes=tuple(self.notes),
            judging_usd=self.judging_usd,
        )
