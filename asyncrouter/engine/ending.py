"""The end of a routed call, plain or streamed: told once, however it ends."""

from __future__ import annotations

from asyncrouter.engine.inflight import Endable
from asyncrouter.engine.route import Route
from asyncrouter.engine.savings import compared, costs_of
from asyncrouter.state.fleet import Fleet
from asyncrouter.state.tallies import Tally
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.events import RequestFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import RouteTrace, TraceBuilder


class Ending:
    """Tells how a routed call ended, once: tallies, trace and the last event.  Left however the call ends.

    From :meth:`began` on the call is under way in its version of the configuration.
    """

    __slots__ = ("_call", "_fleet", "_request", "_response", "_route", "_trace")

    def __init__(self, request: Request, route: Route, trace: TraceBuilder, fleet: Fleet) -> None:
        self._request = request
        self._route = route
        self._trace = trace
        self._fleet = fleet
        self._response: Response | None = None
        self._call: Endable | None = None

    def began(self, call: Endable) -> None:
        """Count *call* as under way."""
        self._call = call
        self._route.in_flight.begin(call)

    def answered(self, response: Response, own: Response | None = None) -> Response:
        """Note the answer and return it with its trace.  *own*: the answer that is the router's own copy, if any is."""
        trace = self._trace.freeze(self._fleet.now())
        if response is own:
            response.attach(trace)
        else:
            response = response.finished(response.usage, response.cost_usd, trace)
        self._response = response
        return response

    def __enter__(self) -> None:
        """Nothing begins here: what has to be told is told at the end."""

    def __exit__(self, _type: object, error: BaseException | None, _tb: object) -> None:
        """End the call."""
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """Count the call, attach the trace to its error, and tell the observers."""
        if self._call is not None:
            self._route.in_flight.end(self._call)
            self._call = None  # the two hold one another: else what the call held would wait for the garbage collector
        trace = self._response.trace if self._response else self._trace.freeze(self._fleet.now())
        routing_error = error if isinstance(error, AsyncRouterError) else None
        if routing_error is not None:
            routing_error.trace = trace
        answer = None if error else self._response
        costs = None if answer is None else costs_of(self._route.baselines, answer, trace)
        for tally in self._fleet.tallies(self._request.agent):
            _count(tally, trace, error)
            if costs is not None:
                tally.count_savings(*costs)
        observe = self._route.pipeline.observe
        if observe is not None:
            savings = None if costs is None else compared(*costs)
            observe(RequestFinished(self._request, trace, answer, routing_error, savings))


def _count(tally: Tally, trace: RouteTrace, error: BaseException | None) -> None:
    tally.calls += 1
    for attempt in trace.attempts:
        tally.count_kind(attempt.kind)
    if error is None:
        tally.latency.observe(trace.duration_s)
    elif isinstance(error, Exception):
        tally.failures += 1
    else:
        tally.cancelled += 1
