"""What observers and traces are told when a breaker opens while several calls are under way."""

from __future__ import annotations

import anyio
import pytest

from asyncrouter.testing import FakeProvider, Recorder, fake_router, virtual_backend
from asyncrouter.testing.script import Fail, Reply, Slow
from asyncrouter.types.errors import ConnectionFailed, ServerError

BREAKER = {"failures": 2, "open_s": 10.0, "open_cap_s": 10.0}


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def ask_at_once(router, number):
    replies = []

    async def ask():
        replies.append(await router.generate("Hi"))

    async with anyio.create_task_group() as group:
        for _ in range(number):
            group.start_soon(ask)
    return replies


async def test_each_change_of_a_breaker_is_told_once():
    provider = FakeProvider({"a": Slow(1.0, Fail(ServerError)), "b": Reply()})
    recorder = Recorder()
    async with fake_router(provider, breaker=BREAKER, plugins=[recorder], retry="none") as router:
        await ask_at_once(router, 5)
        assert recorder.breaker_changes == [("a", "closed", "open")]
        await anyio.sleep(10.0)
        await router.generate("Hi")
        assert recorder.breaker_changes[1:] == [("a", "open", "half_open"), ("a", "half_open", "open")]
        recorder.clear()
        provider.play(Reply())
        await anyio.sleep(10.0)
        await router.generate("Hi")
        assert recorder.breaker_changes == [("a", "open", "half_open"), ("a", "half_open", "closed")]


async def test_a_retry_that_its_breaker_turns_away_goes_elsewhere_as_a_fallback():
    lost = ConnectionFailed("gone", lost_before_answer=True)
    provider = FakeProvider({"a": [Slow(1.0, Fail(ServerError)), Slow(1.001, Fail(lost))], "b": Reply()})
    async with fake_router(provider, breaker={**BREAKER, "failures": 1}, retry="none") as router:
        replies = await ask_at_once(router, 5)
        for trace in (reply.trace for reply in replies):
            assert [(one.deployment, str(one.kind)) for one in trace.attempts] == [("a", "first"), ("b", "fallback")]
        reasons = [reply.trace.attempts[1].reason for reply in replies]
        assert sorted(reasons) == ["after ConnectionFailed on a"] * 4 + ["after ServerError on a"]
        assert router.metrics().total.fallbacks == 5
