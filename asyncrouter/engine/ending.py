"""The end of a routed call, plain or streamed: its answer with its trace, and what is told of it, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrouter.engine.savings import compared, costs_of
from asyncrouter.state.tallies import CALLS, CANCELLED, FAILURES, Tally
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.events import RequestFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import FIRST, RouteTrace

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course


def answered(course: Course, response: Response, own: Response | None = None) -> Response:
    """Return *response* with the trace of *course*.  *own*: the answer that is the router's own copy, if any is."""
    trace = course.trace.freeze(course.fleet.now())
    if response is own:
        response.attach(trace)
        return response
    return response.finished(response.usage, response.cost_usd, trace)


def ended(course: Course, request: Request, response: Response | None, error: BaseException | None) -> None:
    """Count the call of *request*, attach the trace to its error, and tell the observers.

    It ended with the *response* that :func:`answered` returned, or with *error*.
    """
    fleet, route, costs, routing_error = course.fleet, course.first_route, None, None
    if response is None:
        trace = course.trace.freeze(fleet.now())
    else:
        trace = response.trace
        costs = costs_of(route.baselines, response, trace)
    if error is not None and isinstance(error, AsyncRouterError):
        routing_error = error
        error.trace = trace
    for tally in fleet.tallies(request.agent):
        _count(tally, trace, error)
        if costs is not None:
            tally.count_savings(*costs)
    observe = route.pipeline.observe
    if observe is not None:
        savings = None if costs is None else compared(*costs)
        observe(RequestFinished(request, trace, response, routing_error, savings))


def _count(tally: Tally, trace: RouteTrace, error: BaseException | None) -> None:
    tally.counts[CALLS] += 1
    for attempt in trace.attempts:
        if attempt.kind is not FIRST:
            tally.count_kind(attempt.kind)
    if error is None:
        tally.latency.observe(trace.duration_s)
    elif isinstance(error, Exception):
        tally.counts[FAILURES] += 1
    else:
        tally.counts[CANCELLED] += 1
