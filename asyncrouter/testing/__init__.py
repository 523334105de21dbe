"""The test kit: doubles for providers, servers and time, a recorder, and the contracts that plugins must keep.

Importing it loads neither pytest nor aiohttp: the scripted server and the contract classes are loaded when they are
first asked for.  ``docs/testing.md`` shows each of them at work.
"""

from __future__ import annotations

from asyncrouter.testing.clock import VirtualClockLoop, VirtualDeadlock, run_virtual, virtual_backend
from asyncrouter.testing.fake import FakeCall, FakeProvider
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.testing.guard import forbid_real_calls
from asyncrouter.testing.recorder import Recorder
from asyncrouter.testing.script import Fail, Hang, Reply, Script, Slow, Step, Stream

__all__ = [
    "Fail",
    "FakeCall",
    "FakeFleet",
    "FakeProvider",
    "FakeView",
    "Hang",
    "Recorder",
    "Reply",
    "Script",
    "Slow",
    "Step",
    "Stream",
    "VirtualClockLoop",
    "VirtualDeadlock",
    "forbid_real_calls",
    "run_virtual",
    "virtual_backend",
]
