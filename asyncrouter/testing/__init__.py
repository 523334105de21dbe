"""The test kit: doubles for providers, servers and time, a recorder, and the contracts that plugins must keep.

Importing it loads neither pytest nor aiohttp: the scripted server, the router and the contract classes are loaded when
they are first asked for.  ``docs/testing.md`` shows each of them at work.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from asyncrouter.testing.clock import VirtualClockLoop, VirtualDeadlock, run_virtual, virtual_backend
from asyncrouter.testing.fake import FakeCall, FakeProvider
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.testing.guard import forbid_real_calls
from asyncrouter.testing.recorder import Recorder
from asyncrouter.testing.script import Fail, Hang, Reply, Script, Slow, Step, Stream

if TYPE_CHECKING:
    from asyncrouter.testing.contracts import (
        EstimatorContract,
        FallbackContract,
        JudgeContract,
        PluginContract,
        ProviderContract,
        RetryContract,
        SelectorContract,
        Upstream,
    )
    from asyncrouter.testing.routers import fake_router
    from asyncrouter.testing.server import ScriptedServer

__all__ = [
    "EstimatorContract",
    "Fail",
    "FakeCall",
    "FakeFleet",
    "FakeProvider",
    "FakeView",
    "FallbackContract",
    "Hang",
    "JudgeContract",
    "PluginContract",
    "ProviderContract",
    "Recorder",
    "Reply",
    "RetryContract",
    "Script",
    "ScriptedServer",
    "SelectorContract",
    "Slow",
    "Step",
    "Stream",
    "Upstream",
    "VirtualClockLoop",
    "VirtualDeadlock",
    "fake_router",
    "forbid_real_calls",
    "run_virtual",
    "virtual_backend",
]

_CONTRACTS = "asyncrouter.testing.contracts"
_LAZY = {
    "EstimatorContract": _CONTRACTS,
    "FallbackContract": _CONTRACTS,
    "JudgeContract": _CONTRACTS,
    "PluginContract": _CONTRACTS,
    "ProviderContract": _CONTRACTS,
    "RetryContract": _CONTRACTS,
    "ScriptedServer": "asyncrouter.testing.server",
    "SelectorContract": _CONTRACTS,
    "Upstream": _CONTRACTS,
    "fake_router": "asyncrouter.testing.routers",
}
"""What is loaded when it is first asked for, and where from."""


def __getattr__(name: str) -> Any:
    """Load what is heavy when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
