"""A router whose calls have shadows, and an observer that keeps what it is told."""

from __future__ import annotations

from asyncrouter import Router, hookimpl
from asyncrouter.testing import FakeProvider, Reply
from asyncrouter.types.events import ShadowFinished
from asyncrouter.types.response import Usage

USAGE = Usage(input_tokens=1000, output_tokens=100)
PRICE = {"price": {"input": 10, "output": 20}}
COST = 0.012
ALL = {"deployment": "big", "share": 1.0}


class Seen:
    name = "seen"

    def __init__(self):
        self.events = []

    @hookimpl
    def asyncrouter_observe(self, event):
        self.events.append(event)

    @property
    def shadows(self):
        return [one for one in self.events if isinstance(one, ShadowFinished)]


def router_of(script=None, *, shadow=ALL, big=PRICE, plugins=(), seed=0, router=None, **group):
    script = script or Reply(usage=USAGE)
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    config = {
        "router": {"default": "chat", **(router or {})},
        "providers": {"fake": provider},
        "deployments": {
            "a": {"provider": "fake", "model": "m-a", "price": {"input": 1, "output": 2}},
            "b": {"provider": "fake", "model": "m-b"},
            "big": {"provider": "fake", "model": "m-big", "params": {"top_k": 7}, **big},
        },
        "groups": {"chat": {"deployments": ["a", "b"], "shadow": shadow, **group}},
        "agents": {"recon": {"group": "chat", "deadline_s": 50.0}},
    }
    return Router.from_config(config, plugins=plugins, seed=seed)
