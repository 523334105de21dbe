"""Pipelines of a few plugins, and what their hooks are given."""

from __future__ import annotations

import pytest

from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import Response

A, B, STRANGE = (Deployment(name=name, provider="fake", model="m") for name in ("a", "b", "strange"))
ASK = Request(messages=[{"role": "user", "content": "hi"}])
ANSWER = Response(raw=EMPTY, deployment="a", model="m")


def pipeline_of(*plugins, on_failure=pytest.fail):
    manager = HookManager()
    for number, plugin in enumerate(plugins):
        manager.register(plugin, f"plugin-{number}")
    return compile_pipeline(manager, on_failure)


def plugin(hook, function):
    return type("Plugin", (), {f"asyncrouter_{hook}": staticmethod(hookimpl(function))})()


def named(hook, name="plugin-0"):
    return rf"^plugin '{name}', asyncrouter_{hook}: "
