"""The two-model facade: async calls and threads, opening and closing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sync_routers import loop_threads as threads
from two_models import NOTHING, metrics, two_models

from asyncrouter import InvalidRequest
from asyncrouter.testing import FakeProvider, Hang, Reply
from asyncrouter.types.tokens import estimate_tokens

# Async


async def test_generate_async_decides_alike(provider):
    with two_models(provider) as manager:
        assert (await manager.generate_async("hi")).text == "gpt-4"
        assert (await manager.generate_async("hi", complexity=0.7)).text == "gpt-3.5-turbo"
        assert (await manager.generate_async("hi", "other", 1.0, temperature=1)).text == "other"
        assert provider.calls[-1].request.params["temperature"] == 1
        with pytest.raises(InvalidRequest):
            await manager.generate_async("hi", complexity=2)


async def test_many_async_calls_run_at_once_in_a_running_loop():
    everybody = threading.Barrier(2, timeout=10)
    arrived = []

    def step(request, deployment, number):
        arrived.append(deployment.name)
        if len(arrived) < 40:
            return Hang()
        everybody.wait()
        return Reply("the last")

    with two_models(FakeProvider(step)) as manager:
        calls = [
            asyncio.ensure_future(manager.generate_async(f"{number}", complexity=number % 2)) for number in range(40)
        ]
        await asyncio.to_thread(everybody.wait)  # all forty are upstream, and this loop is free
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result().text for call in done] == ["the last"]
        assert (arrived.count("gpt-4"), arrived.count("gpt-3.5-turbo")) == (20, 20)
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)


async def test_generate_works_inside_a_running_loop(provider):
    with two_models(provider) as manager:
        assert manager.generate("hi").text == "gpt-4"


async def test_cancelling_generate_async_cancels_the_call_upstream():
    begun, ended = threading.Event(), threading.Event()

    class Watched(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            begun.set()
            try:
                return await super().complete(request, deployment, timeouts)
            finally:
                ended.set()

    provider = Watched(Hang())
    with two_models(provider) as manager:
        call = asyncio.ensure_future(manager.generate_async("hi"))
        assert await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(ended.wait, 10)
        sent = estimate_tokens([{"role": "user", "content": "hi"}])  # the prompt is paid for, whoever leaves
        assert manager.get_metrics() == {**NOTHING, "primary_calls": 1, "input_tokens": sent}
    assert [(one.deployment.name, one.outcome) for one in provider.calls] == [("gpt-4", "cancelled")]


def test_many_threads_share_one_router(provider):
    manager = two_models(provider)
    everybody = threading.Barrier(8, timeout=10)

    def ask(number):
        everybody.wait()
        return manager.generate("hi", complexity=number % 2).text

    with manager, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
        assert len(threads()) == 1
        assert metrics(manager, "primary_calls", "backup_calls") == (4, 4)
    assert answers == ["gpt-4", "gpt-3.5-turbo"] * 4


# Opening and closing


def test_the_thread_lives_from_the_first_call_to_the_close(provider):
    manager = two_models(provider)
    assert threads() == []
    manager.generate("hi")
    assert len(threads()) == 1
    manager.close()
    assert threads() == []
    assert provider.closed


def test_closing_twice_or_unopened_does_no_harm(provider):
    manager = two_models(provider)
    manager.generate("hi")
    manager.close()
    manager.close()
    unopened = two_models(FakeProvider())
    unopened.close()
    unopened.close()
    for closed in (manager, unopened):
        with pytest.raises(RuntimeError, match="this manager is closed; make a new one"):
            closed.generate("hi")


async def test_a_closed_manager_refuses_calls_and_keeps_its_metrics(provider):
    with two_models(provider) as manager:
        manager.generate("hi")
        before = manager.get_metrics()
    assert before == {**NOTHING, "primary_calls": 1, "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.0}
    assert manager.get_metrics() == before
    with pytest.raises(RuntimeError, match="this manager is closed"):
        await manager.generate_async("hi")
    assert 0 <= manager.estimate_complexity("hi") <= 1
    assert threads() == []


def test_the_context_manager_is_the_manager_and_closes_after_an_error(provider):
    manager = two_models(provider)

    def fail():
        with manager as entered:
            assert entered is manager
            manager.generate("hi")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert provider.closed


def test_closing_ends_the_calls_under_way():
    begun = threading.Event()

    def step(request, deployment, number):
        begun.set()
        return Hang()

    provider = FakeProvider(step)
    manager = two_models(provider)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(manager.generate, "hi")
        assert begun.wait(10)
        manager.close()
        with pytest.raises(RuntimeError, match="the router was closed during the call"):
            call.result(10)
    assert [one.outcome for one in provider.calls] == ["cancelled"]


async def test_closing_ends_the_async_calls_under_way_and_cancels_no_task():
    begun = threading.Event()

    def step(request, deployment, number):
        begun.set()
        return Hang()

    manager = two_models(FakeProvider(step))
    call = asyncio.ensure_future(manager.generate_async("hi"))
    assert await asyncio.to_thread(begun.wait, 10)
    await asyncio.to_thread(manager.close)
    with pytest.raises(RuntimeError, match="the router was closed during the call"):
        await call
