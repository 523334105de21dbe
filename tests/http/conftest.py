"""Fixtures for tests over real sockets on the loopback."""

from __future__ import annotations

import asyncio
import gc

import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request

MINI = Deployment(name="mini", provider="acme", model="m-1")


@pytest.fixture
async def quiet_loop():
    """Fail when a test leaves a task, or lets the loop complain of something unclosed."""
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # what was just closed or cancelled takes a turn or two to end
        await asyncio.sleep(0)
    gc.collect(1)  # all that a test makes is young
    left = {task for task in asyncio.all_tasks() - before if not task.get_coro().__qualname__.startswith("TestRunner.")}
    loop.set_exception_handler(None)
    assert not left
    assert not complaints


class Caller:
    """Makes calls to providers that speak to a scripted server, and closes these providers."""

    def __init__(self):
        self.made = []

    def provider(self, server, **options):
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1", **options)
        self.made.append(provider)
        return provider

    async def complete(self, server, *, deployment=MINI, timeouts=None, messages=None, options=None, **params):
        provider = self.provider(server, **(options or {}))
        return await provider.complete(request_of(messages, params), deployment, timeouts or Timeouts())

    async def stream(self, server, *, deployment=MINI, timeouts=None, messages=None, options=None, **params):
        provider = self.provider(server, **(options or {}))
        request = request_of(messages, params)
        return [chunk async for chunk in provider.stream(request, deployment, timeouts or Timeouts())]


def request_of(messages=None, params=None):
    return Request(messages=messages or [{"role": "user", "content": "Hi"}], params=params or {})


@pytest.fixture
async def call(quiet_loop):
    caller = Caller()
    yield caller
    for provider in caller.made:
        await provider.aclose()


def chain_of(error):
    """Return *error* and everything that hangs on it as cause or context."""
    found, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


@pytest.fixture
def assert_clean():
    """Fail when anything but this package's own errors hangs on an error: aiohttp's hold the request's headers."""

    def check(error):
        assert all(type(one).__module__.startswith("asyncrouter.") for one in chain_of(error)), chain_of(error)

    return check


@pytest.fixture(params=["complete", "stream"])
def either_call(request, call):
    """Make the same call plain and streamed."""
    return getattr(call, request.param)
