"""Providers, and layers around an attempt, that raise or return what they may not: failed attempts."""

from __future__ import annotations

import pytest
from routed import THREE, RawStreams, delta, routed

from asyncrouter import MalformedResponse, PluginContractError, hookimpl
from asyncrouter.testing import FakeProvider


class Broken(FakeProvider):
    """Answers calls to "a" with what no provider may answer with."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    async def complete(self, request, deployment, timeouts):
        if deployment.name != "a" or self.fault is None:
            return await super().complete(request, deployment, timeouts)
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault


@pytest.mark.parametrize(
    "fault", [KeyError("PROMPT-SENTINEL"), TimeoutError("sk-KEY-SENTINEL"), {"no": "Response"}, "text"]
)
async def test_its_exceptions_and_junk_are_failed_attempts_without_a_word_of_theirs(fault):
    provider = Broken(fault)
    async with routed(provider) as r:
        reply = await r.ask()
        assert reply.deployment == "b"
        error = reply.trace.attempts[0].error
        assert type(error) is MalformedResponse
        assert str(error) in {
            f"the provider 'fake' raised {type(fault).__name__}",
            f"the provider 'fake' returned {type(fault).__name__}",
        }
        assert r.router.metrics().deployments["a"].failures == 1
        error.__cause__ = None  # the stranger's own words, which only a traceback shows
        provider.fault = None


async def test_the_same_holds_inside_the_hooks_around_an_attempt_of_a_stream():
    class Layer:
        name = "layer"

        @hookimpl
        async def asyncrouter_around_attempt_stream(self, chunks):
            async for chunk in chunks:
                yield chunk

    provider = RawStreams(a=[[ValueError("bug")]], b=[["junk"]], c=[[delta("ok"), delta(finish="stop")]])
    async with routed(provider, groups=THREE, plugins=[Layer()]) as r:
        _, response = await r.read()
        assert response.text == "ok"
        assert [type(one.error) for one in response.trace.attempts] == [
            MalformedResponse,
            MalformedResponse,
            type(None),
        ]


async def test_a_stream_that_is_no_stream_is_a_failed_attempt():
    class Nothing(FakeProvider):
        def stream(self, request, deployment, timeouts):
            return None if deployment.name == "a" else super().stream(request, deployment, timeouts)

    async with routed(Nothing()) as r:
        _, response = await r.read()
        assert response.deployment == "b"
        assert isinstance(response.trace.attempts[0].error, MalformedResponse)


async def test_a_layer_around_an_attempt_that_fails_otherwise_is_a_failed_attempt_too():
    class Layer:
        name = "layer"

        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            await call(request, deployment)
            raise KeyError("x")

    layer = Layer()
    async with routed(plugins=[layer], breaker={"failures": 1}) as r:
        error = await r.fails(PluginContractError)
        assert (error.plugin, error.hook) == ("layer", "asyncrouter_around_attempt")
        assert [str(one.outcome) for one in error.trace.attempts] == ["failed"]
        metrics = r.router.metrics()
        assert (metrics.total.failures, metrics.deployments["a"].failures) == (1, 1)
        assert metrics.deployments["a"].breaker == "closed", "the deployment is not to blame"
        r.router.unregister(layer)
