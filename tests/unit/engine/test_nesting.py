"""What the end of an inner router is to the one outside: the failure of an attempt, that permits a fallback at most."""

from __future__ import annotations

import pytest

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    BudgetExceeded,
    DeadlineExceeded,
    Disposition,
    InvalidRequest,
    ModelNotFound,
    NoDeploymentAvailable,
    Overloaded,
    PluginError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
    UnknownModelGroup,
)
from asyncrouter.engine.nesting import seen_from_outside
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.trace import RouteTrace

OUTER = Deployment(name="outer", provider="nested", model="m")


@pytest.mark.parametrize(
    ("inside", "outside", "retry_after_s"),
    [
        (NoDeploymentAvailable("set aside", retry_after_s=7.0), Overloaded, 7.0),
        (NoDeploymentAvailable("unsuitable"), Overloaded, None),
        (DeadlineExceeded("late"), AttemptTimedOut, None),
        (BudgetExceeded("spent"), QuotaExhausted, None),
        (UnknownModelGroup("who?"), ModelNotFound, None),
        (PluginError("broken", plugin="p"), ServerError, None),
        (AllAttemptsFailed("all", errors=[ServerError("x"), RateLimited("y", retry_after_s=3.0)]), ServerError, None),
        (AllAttemptsFailed("all", errors=[RateLimited("x", retry_after_s=9.0), RateLimited("y", retry_after_s=3.0)]),
         ServerError, 3.0),
        (AllAttemptsFailed("all"), ServerError, None),
    ],
)  # fmt: skip
def test_an_end_inside_is_a_failure_that_is_not_retried(inside, outside, retry_after_s):
    seen = seen_from_outside(inside, OUTER)
    assert type(seen) is outside
    assert (seen.disposition, seen.deployment, seen.retry_after_s) == (Disposition.FALLBACK, "outer", retry_after_s)
    assert type(inside).__name__ in str(seen)
    assert str(inside) in str(seen)


@pytest.mark.parametrize("error", [InvalidRequest("no"), ServerError("down"), RateLimited("wait", retry_after_s=1.0)])
def test_a_providers_own_error_stays_what_it_is(error):
    before = error.disposition
    assert seen_from_outside(error, OUTER) is error
    assert error.disposition is before


def test_an_error_that_ended_a_call_inside_is_not_retried():
    error = StreamInterrupted("broke off", partial="half")
    error.trace = RouteTrace(request_id="inner")
    assert seen_from_outside(error, OUTER) is error
    assert error.disposition is Disposition.FALLBACK
    refused = InvalidRequest("no")
    refused.trace = error.trace
    assert seen_from_outside(refused, OUTER).disposition is Disposition.RAISE
