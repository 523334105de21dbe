"""What observers are told: events hold the request and the answer; what of them is logged is the observer's care."""

from __future__ import annotations

import attrs

from asyncrouter.types.decisions import Verdict
from asyncrouter.types.errors import AsyncRouterError, PluginError
from asyncrouter.types.metrics import Savings
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, RouteTrace


@attrs.frozen
class AttemptFinished:
    """One attempt ended, however it ended."""

    request: Request
    attempt: Attempt


@attrs.frozen
class RequestFinished:
    """The routed call ended: with ``response``, with ``error``, or with neither when the caller cancelled it.

    ``savings`` compares the answer's cost with the group's strongest and weakest, where the prices are known.
    """

    request: Request
    trace: RouteTrace
    response: Response | None = None
    error: AsyncRouterError | None = None
    savings: Savings | None = None


@attrs.frozen
class BreakerChanged:
    """A deployment's breaker went from one state to another ("closed", "open", "half_open")."""

    deployment: str
    before: str
    after: str


@attrs.frozen
class ShadowFinished:
    """A shadow ended: ``request`` is what was sent, ``of`` the id of the caller's request.

    ``attempt`` is its one attempt; ``response`` its answer, if it has any, and ``verdict`` what the group's judge
    thinks of that.
    """

    request: Request
    of: str
    attempt: Attempt
    response: Response | None = None
    verdict: Verdict | None = None


@attrs.frozen
class FeedbackGiven:
    """The caller scored an answer, in [0, 1]."""

    response: Response
    score: float


@attrs.frozen
class PluginFailed:
    """A plugin failed where the router goes on without it."""

    error: PluginError


Event = AttemptFinished | RequestFinished | BreakerChanged | ShadowFinished | FeedbackGiven | PluginFailed
