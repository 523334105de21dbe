"""The sync door inside a loop, from many threads, and under an interrupt."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import anyio
import pytest
from routed import PROMPT
from sync_routers import WORDS, loop_threads, open_router

from asyncrouter import PluginContractError, hookimpl
from asyncrouter.testing import FakeProvider, Hang, Reply, Stream

# ---------------------------------------------------------------- inside a loop, from threads


async def test_it_works_inside_a_running_loop():
    with open_router(Stream(WORDS)) as router:
        assert router.generate(PROMPT).text == "The answer is 42."
        with router.stream(PROMPT) as stream:
            assert "".join(chunk.text for chunk in stream) == "The answer is 42."
        assert asyncio.get_running_loop().is_running()


def test_many_threads_at_once_share_one_router():
    provider = FakeProvider(lambda request, deployment, number: Reply(request.messages[0]["content"]))

    def ask(number):
        if number % 3:
            return router.generate(f"plain {number}").text
        with router.stream(f"streamed {number}") as stream:
            return "".join(chunk.text for chunk in stream)

    with open_router(provider) as router, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(200)))
        assert len(loop_threads()) == 1
        assert router.metrics().total.calls == 200
    assert answers == [f"{'plain' if number % 3 else 'streamed'} {number}" for number in range(200)]


def test_calls_from_threads_run_at_the_same_time():
    together = threading.Barrier(8, timeout=30)

    class Meeting(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            await anyio.to_thread.run_sync(together.wait)
            return await super().complete(request, deployment, timeouts)

    with open_router(Meeting()) as router, ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(router.generate, [PROMPT] * 8))) == 8


def test_a_hook_must_not_call_the_router_that_runs_it():
    class Reentrant:
        name = "reentrant"

        @hookimpl
        def asyncrouter_transform(self, request):
            return self.router.generate("again")

    plugin = Reentrant()
    with open_router(plugins=[plugin]) as router:
        plugin.router = router
        with pytest.raises(PluginContractError) as caught:
            router.generate(PROMPT)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_nor_close_it():
    class Closing:
        name = "closing"

        @hookimpl
        def asyncrouter_transform(self, request):
            self.router.close()

    plugin = Closing()
    with open_router(plugins=[plugin]) as router:
        plugin.router = router
        with pytest.raises(PluginContractError) as caught:
            router.generate(PROMPT)
        assert isinstance(caught.value.__cause__, RuntimeError)
        router.unregister(plugin)
        assert router.generate(PROMPT).text == "ok"


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_cancels_the_call_and_leaves_the_router_usable():
    main = threading.main_thread()

    class Interrupting(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            signal.pthread_kill(main.ident, signal.SIGINT)
            return await super().complete(request, deployment, timeouts)

    provider = Interrupting([Hang(), Reply("after")])
    with open_router(provider) as router:
        with pytest.raises(KeyboardInterrupt):
            router.generate(PROMPT)
        with pytest.raises(KeyboardInterrupt):
            router.generate(PROMPT)
        provider.play(Reply("after"))

        async def quiet():
            while provider.in_flight:
                await anyio.lowlevel.checkpoint()

        router.run(quiet)
        assert {call.outcome for call in provider.calls} <= {"cancelled", "ok"}
        with router.stream(PROMPT) as stream:
            assert "".join(chunk.text for chunk in stream) == "after"


def test_an_interrupt_while_a_stream_is_opened_closes_it():
    main = threading.main_thread()

    class Interrupting(FakeProvider):
        async def stream(self, request, deployment, timeouts):
            signal.pthread_kill(main.ident, signal.SIGINT)
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk

    provider = Interrupting(Hang())
    with open_router(provider) as router:
        stream = router.stream(PROMPT)
        with pytest.raises(KeyboardInterrupt), stream:
            pass

        async def quiet():
            while provider.in_flight:
                await anyio.lowlevel.checkpoint()

        router.run(quiet)
        while not router.metrics().total.calls:  # the call ends a few turns after its provider, in the router's thread
            pass
        assert router.metrics().total.cancelled == 1
        assert list(stream) == []


def test_a_slow_answer_does_not_hold_up_other_threads():
    release = {}

    class Held(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            if request.metadata.get("slow"):
                release["event"] = anyio.Event()
                await release["event"].wait()
            return await super().complete(request, deployment, timeouts)

    async def until_held():
        while "event" not in release:
            await anyio.lowlevel.checkpoint()

    with open_router(Held()) as router, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(router.generate, PROMPT, metadata={"slow": True})
        router.run(until_held)
        assert router.generate(PROMPT).text == "ok"
        assert not slow.done()
        router.on_loop(release["event"].set)
        assert slow.result(30).text == "ok"
