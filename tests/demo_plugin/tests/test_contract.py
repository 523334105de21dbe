"""The plugin keeps every contract that concerns it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import ClassVar

import anyio
import pytest
from asyncrouter_demo import strategies
from asyncrouter_demo.provider import ERRORS, DemoProvider

from asyncrouter.hooks.registry import Registry
from asyncrouter.testing import (
    EstimatorContract,
    Fail,
    FallbackContract,
    Hang,
    JudgeContract,
    PluginContract,
    ProviderContract,
    Reply,
    RetryContract,
    SelectorContract,
    Upstream,
    forbid_real_calls,
)
from asyncrouter.testing.wire import streamed, usage_fields
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConfigError, ConnectionFailed, MalformedResponse
from asyncrouter.types.request import Request

CODES = {kind: code for code, kind in ERRORS.items()}


class TestPlugin(PluginContract):
    distribution = "asyncrouter-demo"
    options: ClassVar = {("provider", "demo"): {"port": 1}}


class TestEstimator(EstimatorContract):
    def make(self):
        return strategies.DemoEstimator()


class TestSelector(SelectorContract):
    def make(self):
        return strategies.DemoSelector()


class TestRetry(RetryContract):
    def make(self):
        return strategies.DemoRetry()


class TestFallback(FallbackContract):
    def make(self):
        return strategies.DemoFallback()


class TestJudge(JudgeContract):
    def make(self):
        return strategies.DemoJudge(min_chars=10)


class Server:
    """Does one step of the script at every call, in lines of JSON."""

    def __init__(self, step):
        self.step = step
        self.in_flight = 0
        self.received = []

    async def serve(self, connection):
        self.in_flight += 1
        try:
            async with connection:
                self.received.append(json.loads(await connection.receive()))
                await self.play(connection, self.step)
        except anyio.BrokenResourceError:
            pass
        finally:
            self.in_flight -= 1

    async def play(self, connection, step):
        if isinstance(step, Hang):
            await self.wait_for_the_client_to_go(connection)
            return
        if isinstance(step, bytes):
            await connection.send(step)
            return
        if isinstance(step, Fail):
            code = CODES.get(step.error, "broken")
            await send(connection, error=code, message=step.message, retry_after_s=step.retry_after_s)
            return
        flow = streamed(step) if isinstance(step, Reply) else step
        for number, piece in enumerate(flow.pieces):
            if number == flow.cut_after:
                return
            if number == flow.stall_after:
                await self.wait_for_the_client_to_go(connection)
                return
            await send(connection, text=piece)
        if flow.tool_calls:
            await send(connection, tool_calls=list(flow.tool_calls))
        await send(connection, end=flow.finish_reason, usage=usage_fields(flow.usage))

    async def wait_for_the_client_to_go(self, connection):
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await connection.receive()


async def send(connection, **line):
    await connection.send(json.dumps(line).encode() + b"\n")


@asynccontextmanager
async def serving(step, **options):
    server = Server(step)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, not a database's
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server, DemoProvider(name="demo", port=port, **options)
        group.cancel_scope.cancel()


DEPLOYMENT = Deployment(name="d", provider="demo", model="m")
ASK = Request(messages=[{"role": "user", "content": "hi"}], params={"temperature": 0})


class TestProvider(ProviderContract):
    @pytest.fixture(autouse=True)
    def key_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("DEMO_KEY", self.key)

    @asynccontextmanager
    async def upstream(self, step):
        async with serving(step, api_key_env="DEMO_KEY") as (server, provider):
            yield Upstream(provider=provider, deployment=DEPLOYMENT, in_flight=lambda: server.in_flight)


async def test_the_request_arrives_as_it_was_made(monkeypatch):
    monkeypatch.setenv("DEMO_KEY", "secret")
    async with serving(Reply("hello"), api_key_env="DEMO_KEY") as (server, provider):
        response = await provider.complete(ASK, DEPLOYMENT, Timeouts())
    assert response.text == "hello"
    assert server.received == [{"key": "secret", "model": "m", "messages": ASK.messages, "params": {"temperature": 0}}]


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b"x" * 1_000_001])
async def test_garbage_is_malformed(line):
    async with serving(line) as (_, provider):
        with pytest.raises(MalformedResponse):
            await provider.complete(ASK, DEPLOYMENT, Timeouts())


async def test_nobody_listens(free_tcp_port):
    with pytest.raises(ConnectionFailed):
        await DemoProvider(name="demo", port=free_tcp_port).complete(ASK, DEPLOYMENT, Timeouts())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("estimator", {"hard_words": 0}, "hard_words"),
        ("retry", {"delay": 1}, r'g\.delay: unknown key; did you mean "delay_s"'),
        ("judge", {"min_chars": "ten"}, "min_chars"),
        ("provider", {"port": 1, "api_key_env": "DEMO_NO_SUCH"}, r"g\.api_key_env: DEMO_NO_SUCH is not set; export"),
    ],
)
def test_wrong_options_are_told(kind, options, message):
    given = {"name": "demo"} if kind == "provider" else {}
    with pytest.raises(ConfigError, match=message):
        Registry().make(kind, "demo", options, "g", **given)


async def test_real_calls_can_be_forbidden():
    provider = DemoProvider(name="demo", host="example.org", port=1)
    with forbid_real_calls(), pytest.raises(ConnectionFailed, match="real calls are forbidden; unset ASYNCROUTER_LOOP"):
        await provider.complete(ASK, DEPLOYMENT, Timeouts())


def test_sessions_stay_where_they_are():
    from asyncrouter.testing import FakeFleet

    deployments = tuple(Deployment(name=name, provider="p", model="m") for name in "abcd")
    select = strategies.DemoSelector().asyncrouter_select
    sessions = [Request(messages=ASK.messages, session=f"s{number}") for number in range(100)]
    homes = [select(one, deployments, FakeFleet()).deployments[0] for one in sessions]
    assert set(homes) == set(deployments)
    fewer = [select(one, deployments[1:], FakeFleet()).deployments[0] for one in sessions]
    assert all(new is old for new, old in zip(fewer, homes, strict=True) if old is not deployments[0])


def test_the_filter_leaves_out_a_tag():
    plain = Deployment(name="a", provider="p", model="m")
    batch = Deployment(name="b", provider="p", model="m", tags=frozenset({"batch"}))
    only = strategies.DemoFilter().asyncrouter_filter
    assert only((plain, batch)) == (plain,)
    assert only((batch,)) is None
