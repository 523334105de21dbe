"""The best value within budgets: money is set aside before each call, and what it took is counted after it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.specs import AttemptCall, Call
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment, FleetView
from asyncrouter.types.errors import (
    AttemptTimedOut,
    BudgetExceeded,
    ConnectionFailed,
    Disposition,
    InvalidRequest,
    StreamInterrupted,
)
from asyncrouter.types.events import AttemptFinished, Event
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response
from asyncrouter.types.tokens import input_tokens
from asyncrouter.types.trace import Attempt, Outcome
from asyncrouter_cost.books import Books
from asyncrouter_cost.ledger import Hold, Ledger
from asyncrouter_cost.offers import AVERAGE, Expectations, Offer
from asyncrouter_cost.options import Budget

CUT_SHORT = (AttemptTimedOut, ConnectionFailed, StreamInterrupted)
"""Failures that come while the upstream may be at work: what was set aside counts as spent."""
SHOWN_FROM = 0.01
"""An urgency below this does not appear in a reason."""


class BudgetedSelector:
    """Orders deployments by value and keeps budgets: overspent at most by what calls under way take beyond their holds.

    Money grows dearer in the choice as a budget is spent ahead of its time, and a deployment that a budget has no room
    for is not called.  Room is taken where the choice is made, so that no two calls count on the same money.
    """

    def __init__(
        self, expectations: Expectations, budgets: tuple[Budget, ...], books: Books, *, downgrades: bool
    ) -> None:
        self.books = books
        self._expectations = expectations
        self._budgets = budgets
        self._downgrades = downgrades
        self._ledger: Ledger | None = None
        self._chosen: dict[str, Hold | None] = {}
        self._estimates: dict[str, Estimate] = {}
        self._under_way: dict[tuple[str, str], list[Hold]] = {}

    @hookimpl
    async def asyncrouter_startup(self) -> None:
        """Take up what was spent before."""
        self.books.open()

    @hookimpl
    async def asyncrouter_shutdown(self) -> None:
        """Keep what was spent."""
        self.books.close()

    # ------------------------------------------------------------------ the choice

    @hookimpl
    def asyncrouter_select(
        self, request: Request, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView
    ) -> Selection:
        """Return *candidates*, the best value first, and set aside the money of the first.

        Unless it downgrades, the best must fit every budget; otherwise those that do not fit are left out.  Raises
        :class:`BudgetExceeded` when nothing is left.
        """
        ledger = self._ledger
        if ledger is None:
            ledger = self._ledger = Ledger(self._budgets, state.now, self.books)
        self._give_back(request)
        urgency = ledger.urgency(request)
        offers = self._expectations.offers(request, estimate, candidates, dearer=math.exp(urgency))
        most = {one.deployment.name: self._expectations.most_usd(one.deployment, request, estimate) for one in offers}
        acceptable = offers if self._downgrades else offers[:1]
        fitting = [one for one in acceptable if ledger.has_room(request, most[one.deployment.name])]
        if not fitting:
            usd = min(most[one.deployment.name] for one in acceptable)
            raise BudgetExceeded(_told(ledger.shortage(request, usd), usd))
        if request.id in self._chosen:  # a call, and no mere question about one
            self._estimates[request.id] = estimate
            self._chosen[request.id] = ledger.reserve(request, most[fitting[0].deployment.name])
        ordered = fitting if self._downgrades else offers
        return Selection(
            deployments=tuple(one.deployment for one in ordered), reason=_reason(ordered[0], offers[0], urgency)
        )

    # ------------------------------------------------------------------ the call

    @hookimpl
    async def asyncrouter_around_request(self, call: Call, request: Request) -> Response:
        """Let the choice set money aside, and give back what is left of it in the end."""
        with self._open(request):
            return await call(request)

    @hookimpl
    async def asyncrouter_around_request_stream(
        self, chunks: AsyncIterator[Chunk], request: Request
    ) -> AsyncIterator[Chunk]:
        """Do the same for a stream."""
        with self._open(request):
            async with aclosing(chunks):  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk

    @hookimpl
    async def asyncrouter_around_attempt(self, call: AttemptCall, request: Request, deployment: Deployment) -> Response:
        """Set money aside for one call of an upstream; without room for it, it fails as if it had been refused."""
        self._begin(request, deployment)
        return await call(request, deployment)

    @hookimpl
    async def asyncrouter_around_attempt_stream(
        self, chunks: AsyncIterator[Chunk], request: Request, deployment: Deployment
    ) -> AsyncIterator[Chunk]:
        """Do the same for a stream."""
        self._begin(request, deployment)
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Count what an attempt took, and learn from answers and feedback."""
        if isinstance(event, AttemptFinished):
            self._end(event.request, event.attempt)
        else:
            self._expectations.learn(event)

    @contextmanager
    def _open(self, request: Request) -> Iterator[None]:
        if request.id in self._chosen:  # a plugin makes the same call twice at once: its attempts set aside enough
            yield
            return
        self._chosen[request.id] = None
        try:
            yield
        finally:
            self._give_back(request)
            self._estimates.pop(request.id, None)
            del self._chosen[request.id]

    def _begin(self, request: Request, deployment: Deployment) -> None:
        """Set aside what one call may take, first of all the money that the choice has set aside."""
        ledger = self._ledger
        if ledger is None:
            return
        self._give_back(request)
        estimate = self._estimates.get(request.id)
        if estimate is None:
            estimate = Estimate(complexity=AVERAGE, input_tokens=input_tokens(request))
        usd = self._expectations.most_usd(deployment, request, estimate)
        shortage = ledger.shortage(request, usd)
        if shortage is not None:
            raise InvalidRequest(_told(shortage, usd), deployment=deployment.name, disposition=Disposition.FALLBACK)
        self._under_way.setdefault((request.id, deployment.name), []).append(ledger.reserve(request, usd))

    def _end(self, request: Request, attempt: Attempt) -> None:
        """Count what an attempt has cost in place of what was set aside for it."""
        key = (request.id, attempt.deployment)
        holds = self._under_way.get(key)
        if holds and self._ledger is not None:
            hold = holds.pop()
            self._ledger.settle(hold, charged_usd(attempt, hold.usd))
            if not holds:
                del self._under_way[key]

    def _give_back(self, request: Request) -> None:
        hold = self._chosen.get(request.id)
        if hold is not None and self._ledger is not None:
            self._chosen[request.id] = None
            self._ledger.settle(hold, 0.0)


def charged_usd(attempt: Attempt, reserved_usd: float) -> float:
    """Return what an *attempt* has cost: as counted, or what was set aside where nobody can tell."""
    counted = attempt.cost_usd or 0.0
    if attempt.outcome is Outcome.CANCELLED or isinstance(attempt.error, CUT_SHORT):
        return max(counted, reserved_usd)
    return counted


def _reason(first: Offer, best: Offer, urgency: float) -> str:
    reason = str(first)
    if urgency >= SHOWN_FROM:
        reason += f", money {math.exp(urgency):.3g} times as dear"
    return reason if first is best else f"{reason}; the budget has no room for {best.deployment.name}"


def _told(shortage: tuple[Budget, float] | None, usd: float) -> str:
    if shortage is None or math.isinf(usd):
        return "no deployment has a price, and without one no budget can be kept; give it a price, 0 if it is free"
    budget, left = shortage
    whose = f", by {budget.by}," if budget.by else ""
    return (
        f"the budget of {budget.usd:g} USD per {budget.per}{whose} has {left:.2g} USD left; the call may take {usd:.2g}"
    )
