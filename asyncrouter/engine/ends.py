"""What a request, or its visit of a group, ends with when there is no answer: typed errors and their words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from asyncrouter.engine.route import Route
from asyncrouter.state.fleet import DeploymentState
from asyncrouter.types.decisions import Fallback
from asyncrouter.types.errors import AllAttemptsFailed, Disposition, NoDeploymentAvailable, ProviderError
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, TraceBuilder


def all_failed(errors: Sequence[ProviderError]) -> AllAttemptsFailed:
    """Return the error that tells of every attempt; its cause is the last of *errors*."""
    failures = "; ".join(f"{error.deployment}: {type(error).__name__}: {error}" for error in errors)
    error = AllAttemptsFailed(f"all {len(errors)} attempts failed: {failures}", errors=errors)
    error.__cause__ = errors[-1]
    return error


def none_suits(groups: str) -> NoDeploymentAvailable:
    """Return the error for a request that nobody in *groups* can serve, however long it waits."""
    return NoDeploymentAvailable(
        f"no deployment of {groups} can serve this request: the filters left none; see explain() for what each lacks"
    )


def all_set_aside(groups: str, ready_in_s: float) -> NoDeploymentAvailable:
    """Return the error for a request that cannot wait until the first deployment of *groups* is ready."""
    return NoDeploymentAvailable(
        f"every deployment of {groups} is set aside; the first may be ready in {ready_in_s:.3g} s",
        retry_after_s=ready_in_s,
    )


def all_busy(groups: str, states: Iterable[DeploymentState]) -> NoDeploymentAvailable:
    """Return the error for a request that found every line for a slot full.

    When the next slot will be free is an estimate: one answer's time over the number of slots; ``None`` before the
    first answer.
    """
    waits = (
        state.latency_s / state.slots.limit
        for state in states
        if state.slots is not None and state.latency_s is not None
    )
    return NoDeploymentAvailable(
        f"every deployment of {groups} is busy, and the lines for a slot are full",
        retry_after_s=min(waits, default=None),
    )


def too_late(trace: TraceBuilder, deadline: float) -> str:
    """Return the words of a :class:`~asyncrouter.types.errors.DeadlineExceeded`: when, and what had been tried."""
    allowed = deadline - trace.started_at
    tried = ", ".join(f"{a.deployment} {a.error.__class__.__name__ if a.error else a.outcome}" for a in trace.attempts)
    return f"no answer within the deadline of {allowed:.3g} s; attempts: {tried or 'none ended'}"


def skipped(route: Route) -> Attempt:
    """Return what stands for an attempt where nobody in a group was ready: ``fallback`` is asked with it."""
    return Attempt(
        number=0,
        deployment="",
        group=route.group.name,
        kind=AttemptKind.FIRST,
        outcome=Outcome.SKIPPED,
        reason=f"no deployment of {route.group.name} was ready",
    )


def raise_if_final(failed: Attempt, fallback: object) -> None:
    """Raise the error of *failed* where it permits nothing else, and the hook ``fallback`` thinks so too."""
    error = failed.error
    if error is not None and error.disposition is Disposition.RAISE and not isinstance(fallback, Fallback):
        raise error


def why(reason: str, failed: Attempt) -> str:
    """Return *reason* with the deployment that failed, if one did."""
    return f"{reason} on {failed.deployment}" if failed.deployment else reason
