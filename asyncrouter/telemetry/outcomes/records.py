"""What is logged of a request, as typed records; the table's columns are made of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from asyncrouter.types.decisions import UNKNOWN, Contribution
from asyncrouter.types.request import Message, text_of

SQL = "sql"
"""The key under which a field says how its column is kept: an SQLite type, or one of the two words below."""
JSON = "JSON"
"""Kept as text in JSON."""
HALVES = "HALVES"
"""Kept as little-endian numbers of two bytes each: three digits are enough for what is learned from."""


def _kept(as_: str, **options: Any) -> Any:
    return attrs.field(metadata={SQL: as_}, **options)


@attrs.frozen(kw_only=True)
class LoggedAttempt:
    """One attempt: fields as in :class:`~asyncrouter.types.trace.Attempt`; ``error`` is the error's class."""

    deployment: str
    group: str
    kind: str
    outcome: str
    error: str | None = None
    duration_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    score: float | None = None


@attrs.frozen(kw_only=True)
class LoggedCall:
    """One routed call, or one shadow of it: what was known, what was decided, what came of it.

    Known: ``complexity`` in [0, 1] by the ``estimator`` of that name, ``expected_input_tokens`` and
    ``expected_output_tokens``, ``contributions``, ``qualities`` (expected, by deployment), ``features`` (with
    ``vectors`` only), ``messages`` (with ``prompts`` only), ``session`` (a digest).  Decided: ``ranking`` is the
    selection's order, ``chosen`` its first, with ``propensity`` in (0, 1].  ``id`` is the request's; ``at`` the end, in
    seconds since 1970.

    Came of it: ``outcome`` is "answered", "failed" (``error`` is the class) or "cancelled"; ``deployment`` is who
    answered, ``cost_usd`` that answer's price and ``spent_usd`` that of all attempts, ``None`` where no price is known.
    ``strong_usd`` and ``weak_usd``: the price of the same tokens at the group's strongest and weakest deployment.
    ``accepted`` and ``judged`` are the judge's verdict and score of a shadow's answer, ``judged`` of the given one too;
    ``feedback`` is the caller's latest score, in [0, 1].  A shadow has the ``id`` of its request in ``shadow_of``.
    """

    id: str = _kept("TEXT")
    at: float = _kept("REAL")
    label: str | None = _kept("TEXT", default=None)
    shadow_of: str | None = _kept("TEXT", default=None)
    agent: str | None = _kept("TEXT", default=None)
    session: str | None = _kept("TEXT", default=None)
    group: str = _kept("TEXT")
    stream: bool = _kept("INTEGER", default=False)
    complexity: float | None = _kept("REAL", default=None)
    estimator: str = _kept("TEXT", default="")
    expected_input_tokens: int = _kept("INTEGER", default=0)
    expected_output_tokens: int | None = _kept("INTEGER", default=None)
    contributions: tuple[Contribution, ...] = _kept(JSON, default=())
    qualities: Mapping[str, float] = _kept(JSON, default=UNKNOWN)
    features: tuple[float, ...] = _kept(HALVES, default=(), repr=False)
    ranking: tuple[str, ...] = _kept(JSON, default=())
    chosen: str | None = _kept("TEXT", default=None)
    propensity: float | None = _kept("REAL", default=None)
    parallel: int = _kept("INTEGER", default=1)
    reason: str = _kept("TEXT", default="")
    outcome: str = _kept("TEXT")
    error: str | None = _kept("TEXT", default=None)
    deployment: str | None = _kept("TEXT", default=None)
    model: str | None = _kept("TEXT", default=None)
    finish_reason: str | None = _kept("TEXT", default=None)
    attempts: tuple[LoggedAttempt, ...] = _kept(JSON, default=())
    waits: int = _kept("INTEGER", default=0)
    waited_s: float = _kept("REAL", default=0.0)
    duration_s: float = _kept("REAL", default=0.0)
    input_tokens: int = _kept("INTEGER", default=0)
    output_tokens: int = _kept("INTEGER", default=0)
    cached_input_tokens: int = _kept("INTEGER", default=0)
    reasoning_tokens: int = _kept("INTEGER", default=0)
    usage_estimated: bool = _kept("INTEGER", default=False)
    cost_usd: float | None = _kept("REAL", default=None)
    spent_usd: float | None = _kept("REAL", default=None)
    strong_usd: float | None = _kept("REAL", default=None)
    weak_usd: float | None = _kept("REAL", default=None)
    accepted: bool | None = _kept("INTEGER", default=None)
    judged: float | None = _kept("REAL", default=None)
    messages: tuple[Message, ...] | None = _kept(JSON, default=None, repr=False)
    feedback: float | None = attrs.field(default=None)

    @property
    def prompt(self) -> str | None:
        """The texts of the messages, a blank line between two of them; ``None`` where prompts are not logged."""
        if self.messages is None:
            return None
        return "\n\n".join(filter(None, map(text_of, self.messages)))


@attrs.frozen
class Feedback:
    """The caller's score of the request with that id, given at that moment."""

    request: str
    at: float
    score: float
