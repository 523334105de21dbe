"""Sync routers on a fake provider, and their threads."""

from __future__ import annotations

import threading

from asyncrouter import SyncRouter
from asyncrouter.testing import FakeProvider, Reply

WORDS = ["The ", "answer ", "is ", "42."]


def config_of(provider, **chat):
    return {
        "router": {"default": "chat"},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": f"model-{name}"} for name in "ab"},
        "groups": {"chat": {"deployments": ["a", "b"], "retry": "none", **chat}},
        "agents": {"recon": {"group": "chat", "params": {"temperature": 0}}},
    }


def open_router(script=Reply(), *, plugins=(), **chat):  # noqa: B008 - it is frozen
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    return SyncRouter.from_config(config_of(provider, **chat), plugins=plugins, seed=0)


def loop_threads():
    return [thread for thread in threading.enumerate() if thread.name == "asyncrouter"]
