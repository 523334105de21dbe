"""The JSON shapes that ``--json`` prints.  Fields may be added, never renamed."""

from __future__ import annotations

from typing import Any

import attrs

from asyncrouter.types.decisions import Decision, Estimate
from asyncrouter.types.errors import AsyncRouterError, ConfigError
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, RouteTrace

Document = dict[str, Any]


def response_document(response: Response) -> Document:
    """Return an answer with its usage, cost and trace."""
    return {
        "text": response.text,
        "tool_calls": list(response.tool_calls),
        "finish_reason": response.finish_reason,
        "model": response.model,
        "deployment": response.deployment,
        "usage": attrs.asdict(response.usage),
        "cost_usd": response.cost_usd,
        "trace": trace_document(response.trace),
    }


def trace_document(trace: RouteTrace) -> Document:
    """Return how an answer came about."""
    selection = trace.selection
    return {
        "request_id": trace.request_id,
        "agent": trace.agent,
        "groups": list(trace.groups),
        "estimate": estimate_document(trace.estimate) if trace.estimate else None,
        "selection": {
            "deployments": [one.name for one in selection.deployments],
            "reason": selection.reason,
            "propensity": selection.propensity,
        }
        if selection
        else None,
        "attempts": [attempt_document(attempt) for attempt in trace.attempts],
        "waits": trace.waits,
        "waited_s": trace.waited_s,
        "duration_s": trace.duration_s,
        "notes": list(trace.notes),
    }


def attempt_document(attempt: Attempt) -> Document:
    """Return one call to one deployment."""
    return {
        "number": attempt.number,
        "deployment": attempt.deployment,
        "group": attempt.group,
        "kind": attempt.kind.value,
        "outcome": attempt.outcome.value,
        "reason": attempt.reason,
        "error": {"type": type(attempt.error).__name__, "message": str(attempt.error)} if attempt.error else None,
        "duration_s": attempt.duration_s,
    }


def estimate_document(estimate: Estimate) -> Document:
    """Return how hard a request was thought to be."""
    return {
        "complexity": estimate.complexity,
        "input_tokens": estimate.input_tokens,
        "output_tokens": estimate.output_tokens,
        "reason": estimate.reason,
        "source": estimate.source,
    }


def decision_document(decision: Decision) -> Document:
    """Return what the router would do."""
    return {
        "group": decision.group,
        "estimate": estimate_document(decision.estimate),
        "reason": decision.selection.reason if decision.selection else "no deployment can serve this request",
        "ranking": [attrs.asdict(ranked) for ranked in decision.ranking],
        "fallbacks": list(decision.fallbacks),
    }


def error_document(error: AsyncRouterError) -> Document:
    """Return a typed error: its class, message, faults (of a configuration) and trace (of a call)."""
    document: Document = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ConfigError):
        document["faults"] = [attrs.asdict(fault) for fault in error.faults]
    if error.trace is not None:
        document["trace"] = trace_document(error.trace)
    return document
