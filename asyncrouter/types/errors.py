"""Every error the library raises, and what each permits.

The class is the classification: engine, strategies and callers decide by class, never by reading a status or a
message.  Where the standard library has a family for the condition, the class joins it, so ``except TimeoutError``
works as expected.

::

    AsyncRouterError
    ├─ ConfigError (ValueError)
    │  └─ UnknownStrategy
    ├─ PluginError
    │  ├─ PluginLoadError
    │  └─ PluginContractError
    ├─ RoutingError                     .trace
    │  ├─ UnknownModelGroup (LookupError)
    │  ├─ NoDeploymentAvailable         .retry_after_s
    │  ├─ DeadlineExceeded (TimeoutError)
    │  ├─ BudgetExceeded
    │  ├─ RouterClosed
    │  └─ AllAttemptsFailed             .errors, __cause__ is the last of them
    └─ ProviderError                    .deployment .status .request_id .retry_after_s .disposition .trace
       ├─ RateLimited · Overloaded · ServerError · MalformedResponse · StreamInterrupted      RETRY
       ├─ ConnectionFailed (ConnectionError)                                                  RETRY
       ├─ QuotaExhausted · AuthenticationFailed · ModelNotFound                               FALLBACK
       ├─ AttemptTimedOut (TimeoutError)                                                      FALLBACK
       ├─ ContentFiltered                                                                     RAISE
       └─ InvalidRequest (ValueError)                                                         RAISE
          └─ ContextWindowExceeded                                                            RAISE
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

if TYPE_CHECKING:
    from asyncrouter.types.allowances import Allowances
    from asyncrouter.types.trace import RouteTrace


class Disposition(enum.Enum):
    """What an error permits the router to do next."""

    RETRY = "retry"
    """The same deployment may be asked again; another one too."""
    FALLBACK = "fallback"
    """Asking the same deployment again is pointless; another one may answer."""
    RAISE = "raise"
    """The request itself is at fault: raise, unless a fallback made for this class knows better."""


class AsyncRouterError(Exception):
    """Base of every error raised by asyncrouter.

    ``trace`` tells how the routed call came to this end; ``None`` when no routing had begun.
    """

    trace: RouteTrace | None = None


@attrs.frozen
class ConfigFault:
    """One fault of a configuration: where it is, what is wrong and what cures it."""

    path: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}; {self.cure}" if self.cure else text


class ConfigError(AsyncRouterError, ValueError):
    """The configuration is wrong.  ``faults`` holds every fault found, each with its path and its cure.

    A *message* alone is one fault without a path.
    """

    def __init__(self, message: str = "", *, faults: Sequence[ConfigFault] = ()) -> None:
        self.faults = tuple(faults) or (ConfigFault("", message),) * bool(message)
        super().__init__(message or "\n".join(map(str, self.faults)))


class UnknownStrategy(ConfigError):
    """A strategy, provider kind or plugin was named that nothing installed provides."""


class PluginError(AsyncRouterError):
    """A plugin misbehaved.  ``plugin`` names it (with its distribution when known), ``hook`` the hook concerned."""

    def __init__(self, message: str = "", *, plugin: str = "", hook: str = "") -> None:
        self.plugin = plugin
        self.hook = hook
        super().__init__(message)


class PluginLoadError(PluginError):
    """An installed plugin could not be imported or registered; the router without it stays usable."""


class PluginContractError(PluginError):
    """A plugin broke a hook's contract: wrong signature, wrong kind of function, wrong type of result, exception."""


class RoutingError(AsyncRouterError):
    """The router could not answer."""

    def __init__(self, message: str = "", *, trace: RouteTrace | None = None) -> None:
        self.trace = trace
        super().__init__(message)


class UnknownModelGroup(RoutingError, LookupError):
    """No deployment, group, provider or known model has the name that the caller asked for."""


class NoDeploymentAvailable(RoutingError):
    """Every candidate is set aside, unsuitable, or busy with a full line.

    ``retry_after_s``: seconds until one may be free, or ``None``.
    """

    def __init__(
        self, message: str = "", *, trace: RouteTrace | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, trace=trace)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(RoutingError, TimeoutError):
    """The deadline of the whole request passed before an answer came."""


class BudgetExceeded(RoutingError):
    """A budget of attempts or money does not allow the call."""


class RouterClosed(RoutingError):
    """The router was closed while the call was under way, and its grace is over."""


class AllAttemptsFailed(RoutingError):
    """Every permitted attempt failed.  ``errors`` holds one error an attempt, in order; the last is the cause."""

    def __init__(
        self,
        message: str = "",
        *,
        trace: RouteTrace | None = None,
        errors: Sequence[ProviderError] = (),
    ) -> None:
        super().__init__(message, trace=trace)
        self.errors = tuple(errors)


class ProviderError(AsyncRouterError):
    """One attempt failed.

    ``deployment``: its name; ``status``: the HTTP status or ``None``; ``request_id``: the upstream's own id;
    ``retry_after_s``: the patience that the upstream asked for, in seconds; ``trace``: set when the error ends a
    routed call.  ``other_keys``: the upstream refused one key of several, and so many others stand ready; the engine
    then asks again at once.  ``allowances``: what the upstream says is left of its rate limits; ``sent``: false when it
    cannot have had the request, since no connection came about.  ``cure``: what to change in the configuration, ""
    where that is not at fault; the message ends with it.  The message never holds a key or a prompt.
    """

    default_disposition: ClassVar[Disposition] = Disposition.RETRY
    other_keys: int = 0
    allowances: Allowances | None = None
    sent: bool = True
    cure: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        deployment: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        disposition: Disposition | None = None,
    ) -> None:
        self.deployment = deployment
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.disposition = disposition or self.default_disposition
        super().__init__(message)


class RateLimited(ProviderError):
    """Too many requests or tokens for now (429)."""


class QuotaExhausted(ProviderError):
    """The account has no credit left (402, or 429 with an insufficient-quota code)."""

    default_disposition = Disposition.FALLBACK


class Overloaded(ProviderError):
    """The upstream has no capacity for now (503, 529)."""


class ServerError(ProviderError):
    """The upstream failed (other 5xx, 408, 409, 425)."""


class ConnectionFailed(ProviderError, ConnectionError):
    """No connection, or the connection was lost.

    ``lost_before_answer``: the connection stood, and went before a byte of the answer came (a stale keep-alive
    connection looks like this); the engine then asks once more at once.
    """

    def __init__(
        self,
        message: str = "",
        *,
        deployment: str | None = None,
        disposition: Disposition | None = None,
        lost_before_answer: bool = False,
    ) -> None:
        super().__init__(message, deployment=deployment, disposition=disposition)
        self.lost_before_answer = lost_before_answer


class AttemptTimedOut(ProviderError, TimeoutError):
    """The attempt took longer than its timeout (connect, first token, idle or whole attempt).

    ``blocked_s``: for how long the event loop of the caller was blocked when the timeout was due; above 0 it says
    nothing about the deployment.
    """

    blocked_s = 0.0
    default_disposition = Disposition.FALLBACK


class MalformedResponse(ProviderError):
    """The upstream's answer cannot be read, or holds no answer."""


class StreamInterrupted(ProviderError):
    """A stream ended before its end.  ``partial`` is the text that had come."""

    def __init__(
        self,
        message: str = "",
        *,
        deployment: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        disposition: Disposition | None = None,
        partial: str = "",
    ) -> None:
        super().__init__(
            message,
            deployment=deployment,
            status=status,
            request_id=request_id,
            retry_after_s=retry_after_s,
            disposition=disposition,
        )
        self.partial = partial


class AuthenticationFailed(ProviderError):
    """The upstream refused the key (401, 403)."""

    default_disposition = Disposition.FALLBACK


class ModelNotFound(ProviderError):
    """The upstream does not serve this model or path (404)."""

    default_disposition = Disposition.FALLBACK


class ContentFiltered(ProviderError):
    """The upstream's content policy refused the prompt or the answer."""

    default_disposition = Disposition.RAISE


class InvalidRequest(ProviderError, ValueError):
    """The request is wrong and would be wrong everywhere (400, 413, 422, or found before any call)."""

    default_disposition = Disposition.RAISE


class ContextWindowExceeded(InvalidRequest):
    """The prompt is longer than the deployment's context window; only a larger window can answer."""
