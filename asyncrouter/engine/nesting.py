"""What comes out of a router that serves as the provider of another one.

The inner router has tried what there was to try, so its end says "not again here": whoever is outside may fall back,
and must not retry.  Else each layer would multiply the attempts of the one below.  Over HTTP,
``x-should-retry: false`` says the same.
"""

from __future__ import annotations

from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AllAttemptsFailed,
    AsyncRouterError,
    AttemptTimedOut,
    BudgetExceeded,
    DeadlineExceeded,
    Disposition,
    ModelNotFound,
    NoDeploymentAvailable,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    ServerError,
    UnknownModelGroup,
)

OUTSIDE: tuple[tuple[type[AsyncRouterError], type[ProviderError]], ...] = (
    (NoDeploymentAvailable, Overloaded),
    (DeadlineExceeded, AttemptTimedOut),
    (BudgetExceeded, QuotaExhausted),
    (UnknownModelGroup, ModelNotFound),
)
"""What an inner router's end is outside of it; any other is a :class:`ServerError`."""


def seen_from_outside(error: AsyncRouterError, deployment: Deployment) -> ProviderError:
    """Return *error*, raised by the provider of *deployment*, as the failure of the attempt that it is.

    A provider's own error stays what it is.  One that ended a call inside permits a fallback at most.
    """
    if isinstance(error, ProviderError):
        if error.trace is not None and error.disposition is Disposition.RETRY:
            error.disposition = Disposition.FALLBACK
        return error
    kind = next((outside for inside, outside in OUTSIDE if isinstance(error, inside)), ServerError)
    return kind(
        f"the router inside: {type(error).__name__}: {error}",
        deployment=deployment.name,
        retry_after_s=_patience_s(error),
        disposition=Disposition.FALLBACK,
    )


def _patience_s(error: AsyncRouterError) -> float | None:
    """Return after how many seconds the inner router may be asked again, where all that it tried has said so."""
    if isinstance(error, NoDeploymentAvailable):
        return error.retry_after_s
    if isinstance(error, AllAttemptsFailed) and error.errors:
        told = [one.retry_after_s for one in error.errors]
        return min((one for one in told if one is not None), default=None) if None not in told else None
    return None
