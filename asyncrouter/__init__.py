"""Route each LLM call to the cheapest model that will do, and never lose a call to a provider's bad day.

The names below are loaded when they are first used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from asyncrouter.version import VERSION

if TYPE_CHECKING:
    from asyncrouter.backoff import with_exponential_backoff as with_exponential_backoff
    from asyncrouter.config.schema import RouterConfig as RouterConfig
    from asyncrouter.hooks.markers import hookimpl as hookimpl
    from asyncrouter.manager import ModelManager as ModelManager
    from asyncrouter.manager import ModelManagerProvider as ModelManagerProvider
    from asyncrouter.router import AgentRouter as AgentRouter
    from asyncrouter.router import Router as Router
    from asyncrouter.sync import SyncRouter as SyncRouter
    from asyncrouter.types.decisions import (
        Decision as Decision,
    )
    from asyncrouter.types.decisions import (
        Estimate as Estimate,
    )
    from asyncrouter.types.decisions import (
        Fallback as Fallback,
    )
    from asyncrouter.types.decisions import (
        GiveUp as GiveUp,
    )
    from asyncrouter.types.decisions import (
        Retry as Retry,
    )
    from asyncrouter.types.decisions import (
        Selection as Selection,
    )
    from asyncrouter.types.decisions import (
        Verdict as Verdict,
    )
    from asyncrouter.types.deployments import Deployment as Deployment
    from asyncrouter.types.deployments import ModelGroup as ModelGroup
    from asyncrouter.types.errors import (
        AllAttemptsFailed as AllAttemptsFailed,
    )
    from asyncrouter.types.errors import (
        AsyncRouterError as AsyncRouterError,
    )
    from asyncrouter.types.errors import (
        AttemptTimedOut as AttemptTimedOut,
    )
    from asyncrouter.types.errors import (
        AuthenticationFailed as AuthenticationFailed,
    )
    from asyncrouter.types.errors import (
        BudgetExceeded as BudgetExceeded,
    )
    from asyncrouter.types.errors import (
        ConfigError as ConfigError,
    )
    from asyncrouter.types.errors import (
        ConnectionFailed as ConnectionFailed,
    )
    from asyncrouter.types.errors import (
        ContentFiltered as ContentFiltered,
    )
    from asyncrouter.types.errors import (
        ContextWindowExceeded as ContextWindowExceeded,
    )
    from asyncrouter.types.errors import (
        DeadlineExceeded as DeadlineExceeded,
    )
    from asyncrouter.types.errors import (
        Disposition as Disposition,
    )
    from asyncrouter.types.errors import (
        InvalidRequest as InvalidRequest,
    )
    from asyncrouter.types.errors import (
        MalformedResponse as MalformedResponse,
    )
    from asyncrouter.types.errors import (
        ModelNotFound as ModelNotFound,
    )
    from asyncrouter.types.errors import (
        NoDeploymentAvailable as NoDeploymentAvailable,
    )
    from asyncrouter.types.errors import (
        Overloaded as Overloaded,
    )
    from asyncrouter.types.errors import (
        PluginContractError as PluginContractError,
    )
    from asyncrouter.types.errors import (
        PluginError as PluginError,
    )
    from asyncrouter.types.errors import (
        PluginLoadError as PluginLoadError,
    )
    from asyncrouter.types.errors import (
        ProviderError as ProviderError,
    )
    from asyncrouter.types.errors import (
        QuotaExhausted as QuotaExhausted,
    )
    from asyncrouter.types.errors import (
        RateLimited as RateLimited,
    )
    from asyncrouter.types.errors import (
        RouterClosed as RouterClosed,
    )
    from asyncrouter.types.errors import (
        RoutingError as RoutingError,
    )
    from asyncrouter.types.errors import (
        ServerError as ServerError,
    )
    from asyncrouter.types.errors import (
        StreamInterrupted as StreamInterrupted,
    )
    from asyncrouter.types.errors import (
        UnknownModelGroup as UnknownModelGroup,
    )
    from asyncrouter.types.errors import (
        UnknownStrategy as UnknownStrategy,
    )
    from asyncrouter.types.metrics import Metrics as Metrics
    from asyncrouter.types.request import Request as Request
    from asyncrouter.types.response import Chunk as Chunk
    from asyncrouter.types.response import Response as Response
    from asyncrouter.types.response import Usage as Usage
    from asyncrouter.types.trace import Attempt as Attempt
    from asyncrouter.types.trace import RouteTrace as RouteTrace

_WHERE = {
    "asyncrouter.backoff": ("with_exponential_backoff",),
    "asyncrouter.config.schema": ("RouterConfig",),
    "asyncrouter.hooks.markers": ("hookimpl",),
    "asyncrouter.manager": ("ModelManager", "ModelManagerProvider"),
    "asyncrouter.router": ("AgentRouter", "Router"),
    "asyncrouter.sync": ("SyncRouter",),
    "asyncrouter.types.decisions": ("Decision", "Estimate", "Fallback", "GiveUp", "Retry", "Selection", "Verdict"),
    "asyncrouter.types.deployments": ("Deployment", "ModelGroup"),
    "asyncrouter.types.errors": (
        "AllAttemptsFailed",
        "AsyncRouterError",
        "AttemptTimedOut",
        "AuthenticationFailed",
        "BudgetExceeded",
        "ConfigError",
        "ConnectionFailed",
        "ContentFiltered",
        "ContextWindowExceeded",
        "DeadlineExceeded",
        "Disposition",
        "InvalidRequest",
        "MalformedResponse",
        "ModelNotFound",
        "NoDeploymentAvailable",
        "Overloaded",
        "PluginContractError",
        "PluginError",
        "PluginLoadError",
        "ProviderError",
        "QuotaExhausted",
        "RateLimited",
        "RouterClosed",
        "RoutingError",
        "ServerError",
        "StreamInterrupted",
        "UnknownModelGroup",
        "UnknownStrategy",
    ),
    "asyncrouter.types.metrics": ("Metrics",),
    "asyncrouter.types.request": ("Request",),
    "asyncrouter.types.response": ("Chunk", "Response", "Usage"),
    "asyncrouter.types.trace": ("Attempt", "RouteTrace"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__version__ = VERSION
__all__ = sorted([*_MODULE_OF, "__version__"])  # noqa: PLE0605 - made of the table; a test holds it against the imports


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
