"""The decision: estimate, filter, select.  No upstream call is made here, save by a plugin that makes one."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Coroutine
from typing import Any

from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.route import Route
from asyncrouter.hooks.pipeline import must_wait
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.decisions import Decision, Estimate, Ranked, Selection
from asyncrouter.types.deployments import Deployment, DeploymentView, FleetView
from asyncrouter.types.errors import AsyncRouterError, PluginContractError, PluginError
from asyncrouter.types.events import PluginFailed
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import message_tokens
from asyncrouter.types.trace import TraceBuilder

FALLBACK_COMPLEXITY = 0.5
"""What is assumed when no estimator answers, or the estimator fails: neither easy nor hard."""
FALLBACK_OUTPUT_TOKENS = 256
"""What is assumed of an answer's length when nobody forecasts it and no answer has been seen."""


Decided = Selection | None | Coroutine[Any, Any, Selection | None]
"""A decision, or a coroutine of it where a strategy awaits something: few do, and the others have none made.

Hence the exact type before ``must_wait``: a plain answer is known by it at a third of the cost."""


def decide(request: Request, route: Route, fleet: Fleet, trace: TraceBuilder, view: FleetView | None = None) -> Decided:
    """Return the selection in the group of *route*, ``None`` when the filters leave none; record it in *trace*.

    *view* is what the strategies see of the fleet, where that is not the fleet itself.
    """
    view = view or fleet
    if trace.estimate is None:
        estimate = _estimate(request, route, fleet, trace)
        if type(estimate) is not Estimate and must_wait(estimate):
            return _decide_after(estimate, request, route, trace, view)
        trace.estimate = estimate
    return _select(request, route, trace, view)


async def _decide_after(
    estimate: Awaitable[Estimate], request: Request, route: Route, trace: TraceBuilder, view: FleetView
) -> Selection | None:
    trace.estimate = await estimate
    decided = _select(request, route, trace, view)
    return decided if decided is None or isinstance(decided, Selection) else await decided


def _select(request: Request, route: Route, trace: TraceBuilder, view: FleetView) -> Decided:
    pipeline = route.pipeline
    candidates = pipeline.filter(request, route.group.deployments, view)
    if not candidates:
        return None
    selection = pipeline.select(request, trace.estimate, candidates, view)
    if type(selection) is Selection:
        trace.selected(selection)
        return selection
    if must_wait(selection):
        return _select_after(selection, candidates, trace)
    return _noted(selection, candidates, trace)


async def _select_after(
    selection: Awaitable[Selection | None], candidates: tuple[Deployment, ...], trace: TraceBuilder
) -> Selection:
    return _noted(await selection, candidates, trace)


def _noted(selection: Selection | None, candidates: tuple[Deployment, ...], trace: TraceBuilder) -> Selection:
    if selection is None:
        selection = Selection(deployments=candidates, reason="configured order")
    trace.selected(selection)
    return selection


class _Preview:
    """The fleet with random numbers of its own: the same that the next request will draw, which still has them."""

    def __init__(self, fleet: Fleet) -> None:
        self.random = random.Random()  # noqa: S311 - no secret
        self.random.setstate(fleet.random.getstate())
        self._fleet = fleet

    def now(self) -> float:
        return self._fleet.now()

    def __getitem__(self, deployment: str) -> DeploymentView:
        return self._fleet[deployment]


async def explain(request: Request, route: Route, fleet: Fleet, trace: TraceBuilder) -> Decision:
    """Return the decision with every deployment of the group ranked, those that were filtered out last."""
    decided = decide(request, route, fleet, trace, _Preview(fleet))
    selection = decided if decided is None or isinstance(decided, Selection) else await decided
    assert trace.estimate is not None  # noqa: S101 - decide sets it
    estimate = trace.estimate
    ordered = selection.deployments if selection else ()
    left_out = [one for one in route.group.deployments if one not in ordered]
    ranking = [
        _ranked(rank, one, estimate, fleet, selection.reason if selection and rank == 1 else "next in the selection")
        for rank, one in enumerate(ordered, start=1)
    ]
    ranking += [_ranked(0, one, estimate, fleet, _why_left_out(one, fleet)) for one in left_out]
    return Decision(
        group=route.group.name,
        estimate=estimate,
        selection=selection,
        ranking=tuple(ranking),
        fallbacks=route.group.fallbacks,
    )


def expected_cost_usd(deployment: Deployment, estimate: Estimate, fleet: Fleet) -> float | None:
    """Return what the call would cost: the estimate's tokens, or else the mean length of the answers seen."""
    if deployment.price is None:
        return None
    output_tokens = estimate.output_tokens or fleet[deployment.name].output_tokens or FALLBACK_OUTPUT_TOKENS
    return deployment.price.cost_usd(estimate.input_tokens, output_tokens)


def _estimate(request: Request, route: Route, fleet: Fleet, trace: TraceBuilder) -> Any:
    """Return the estimate, or an awaitable of it where an estimator awaits something."""
    if request.complexity is not None:
        return _uninformed(request, request.complexity, "given by the caller", "caller")
    try:
        estimate = route.pipeline.estimate(request, route.group)
    except AsyncRouterError as error:
        return _unestimated(error, request, route, fleet, trace)
    if type(estimate) is Estimate:
        return estimate
    if must_wait(estimate):
        return _awaited_estimate(estimate, request, route, fleet, trace)
    return estimate or _unestimated(None, request, route, fleet, trace)


async def _awaited_estimate(
    waiting: Awaitable[Estimate | None], request: Request, route: Route, fleet: Fleet, trace: TraceBuilder
) -> Estimate:
    """Return what the estimators say that await something; they have ``estimate_s`` for it."""
    estimate_s = route.group.timeouts.estimate_s
    plugin, hook = ", ".join(route.pipeline.awaiting_estimators), "asyncrouter_estimate"
    error: AsyncRouterError | None
    error = PluginContractError(
        f"plugin {plugin!r}, {hook}: no estimate within estimate_s = {estimate_s:g} s", plugin=plugin, hook=hook
    )
    try:
        with cut_off_after(estimate_s):
            if (estimate := await waiting) is not None:
                return estimate
            error = None
    except AsyncRouterError as failure:
        error = failure
    return _unestimated(error, request, route, fleet, trace)


def _unestimated(
    error: AsyncRouterError | None, request: Request, route: Route, fleet: Fleet, trace: TraceBuilder
) -> Estimate:
    """Return what is assumed without an estimate: it fails open, a broken estimator must not lose the call."""
    if error is not None:
        trace.notes.append(f"estimate failed, complexity {FALLBACK_COMPLEXITY} assumed: {error}")
        tell_failure(error, route, fleet)
    return _uninformed(request, FALLBACK_COMPLEXITY, "no estimate", "default")


def tell_failure(error: AsyncRouterError, route: Route, fleet: Fleet) -> None:
    """Count the failure of a plugin that the call goes on without, and tell the observers."""
    if isinstance(error, PluginError):
        fleet.plugin_failures[error.plugin] += 1
        if route.pipeline.observe is not None:
            route.pipeline.observe(PluginFailed(error))


def _uninformed(request: Request, complexity: float, reason: str, source: str) -> Estimate:
    return Estimate(complexity=complexity, input_tokens=message_tokens(request), reason=reason, source=source)


def _ranked(rank: int, deployment: Deployment, estimate: Estimate, fleet: Fleet, reason: str) -> Ranked:
    return Ranked(
        rank=rank,
        deployment=deployment.name,
        model=deployment.model,
        expected_cost_usd=expected_cost_usd(deployment, estimate, fleet),
        ready=fleet[deployment.name].ready_at <= fleet.now(),
        reason=reason,
    )


def _why_left_out(deployment: Deployment, fleet: Fleet) -> str:
    ready_in = fleet[deployment.name].ready_at - fleet.now()
    return f"set aside for {ready_in:.3g} s" if ready_in > 0 else "filtered out: it cannot serve this request"
