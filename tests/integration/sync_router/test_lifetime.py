"""The sync door's life: opening, another configuration, closing, and the end of the process."""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from routed import KEY, PROMPT
from sync_routers import WORDS, loop_threads, open_router

from asyncrouter import PluginContractError, SyncRouter, hookimpl
from asyncrouter.sync import _Job
from asyncrouter.testing import FakeProvider, Hang, Reply, Slow, Stream

# ---------------------------------------------------------------- opening and closing


def test_it_is_open_from_its_entering_to_its_leaving():
    router = open_router()
    for call in (router.generate, router.explain, router.stream):
        with pytest.raises(RuntimeError, match="with SyncRouter"):
            call(PROMPT)
    with router as entered:
        assert entered is router
        with pytest.raises(RuntimeError, match="entered before"):
            router.__enter__()
        assert router.generate(PROMPT).text == "ok", "and stays open"
    with pytest.raises(RuntimeError, match="not open"):
        router.generate(PROMPT)
    router.close()
    router.close()
    with pytest.raises(RuntimeError, match="entered before"):
        router.__enter__()


def test_agents_and_streams_of_a_closed_router_say_so():
    with open_router(Stream(WORDS)) as router:
        recon, stream = router.for_agent("recon"), router.stream(PROMPT)
    with pytest.raises(RuntimeError, match="not open"):
        recon.generate(PROMPT)
    with pytest.raises(RuntimeError, match="not open"):
        stream.__enter__()


def test_a_startup_that_fails_leaves_no_thread_and_raises_itself():
    class Failing:
        name = "failing"

        @hookimpl
        async def asyncrouter_startup(self, router):
            raise KeyError("x")

    router = open_router(plugins=[Failing()])
    with pytest.raises(PluginContractError), router:
        pass
    assert not loop_threads()
    with pytest.raises(RuntimeError, match="not open"):
        router.generate(PROMPT)


def test_a_shutdown_that_fails_is_raised_and_leaves_no_thread():
    class Failing:
        name = "failing"

        @hookimpl
        async def asyncrouter_shutdown(self, router):
            raise KeyError("x")

    provider = FakeProvider()
    with pytest.raises(PluginContractError), open_router(provider, plugins=[Failing()]) as router:
        router.generate(PROMPT)
    assert provider.closed


def test_what_is_under_way_ends_when_the_router_is_closed():
    arrived = threading.Barrier(4, timeout=30)
    order = []

    class Arriving(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            await anyio.to_thread.run_sync(arrived.wait)
            return await super().complete(request, deployment, timeouts)

    class Last:
        @hookimpl
        async def asyncrouter_shutdown(self, router):
            order.append(router.metrics().total.cancelled)

    provider = Arriving(Hang())
    router = open_router(provider, plugins=[Last()])
    ends = []

    def ask():
        with pytest.raises(RuntimeError, match="the router was closed during the call"):
            router.generate(PROMPT)
        ends.append(threading.current_thread())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    with router:
        for thread in threads:
            thread.start()
        arrived.wait()
    for thread in threads:
        thread.join(30)
    assert len(ends) == 3
    assert order == [3], "plugins are shut down after the last call has ended"
    assert (provider.in_flight, provider.closed) == (0, True)


def test_a_stream_that_is_open_ends_when_the_router_is_closed():
    provider = FakeProvider(Stream(WORDS, stall_after=1))
    with open_router(provider) as router:
        stream = router.stream(PROMPT).__enter__()
        assert next(stream).text == ""
        router.close()
        assert provider.in_flight == 0
        with pytest.raises(RuntimeError):
            list(stream)
        stream.__exit__(None, None, None)


def test_a_stream_waited_for_ends_when_the_router_is_closed():
    provider = FakeProvider(Hang())
    errors = []
    router = open_router(provider)

    def enter():
        with pytest.raises(RuntimeError, match="closed during the call") as caught, router.stream(PROMPT):
            pass
        errors.append(caught.value)

    async def until_called():
        while not provider.calls:
            await anyio.lowlevel.checkpoint()

    with router:
        thread = threading.Thread(target=enter)
        thread.start()
        router.run(until_called)
    thread.join(30)
    assert len(errors) == 1


def test_a_reader_that_waits_for_a_chunk_is_told_when_the_router_is_closed():
    provider = FakeProvider(Stream(WORDS, stall_after=1))
    errors = []
    waiting = threading.Event()

    def read(stream):
        assert next(stream).delta == {"role": "assistant"}
        assert next(stream).text == "The "
        waiting.set()
        with pytest.raises(RuntimeError, match=r"closed during the call|not open|not running") as caught:
            next(stream)
        errors.append(caught.value)

    with open_router(provider) as router:
        stream = router.stream(PROMPT).__enter__()
        thread = threading.Thread(target=read, args=(stream,))
        thread.start()
        assert waiting.wait(30)
    thread.join(30)
    assert len(errors) == 1
    stream.__exit__(None, None, None)


def test_a_job_cancelled_before_it_began_does_not_begin():
    begun = []

    async def work():
        begun.append(1)

    job = _Job(work)
    with open_router() as router:
        router.run(job.cancel)
        with pytest.raises(RuntimeError, match="closed during the call"):
            router.run(job.run)
    assert begun == []


def test_closing_from_many_threads_is_closing_once():
    for _ in range(20):
        router = open_router().__enter__()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda close: close(), [router.close] * 4))


def test_it_is_closed_at_exit_and_not_kept_after_it_was_closed(monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(atexit, "unregister", registered.remove)
    router = open_router()
    assert registered == []
    with router:
        assert registered == [router.close]
    assert registered == []


def test_a_program_that_forgets_to_close_it_ends_all_the_same():
    program = f"""
from asyncrouter import SyncRouter, hookimpl
from asyncrouter.testing import FakeProvider, Stream
class Last:
    @hookimpl
    async def asyncrouter_shutdown(self, router):
        print("shut down", flush=True)
config = {{
    "providers": {{"fake": FakeProvider(Stream(["a", "b"], stall_after=1))}},
    "deployments": {{"a": {{"provider": "fake", "model": "m"}}}},
}}
router = SyncRouter.from_config(config, plugins=[Last()]).__enter__()
stream = router.stream({KEY!r}).__enter__()
print("first", next(stream).text or next(stream).text)
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split("\n")) == (0, ["first a", "shut down", ""])
    assert done.stderr == ""


# ---------------------------------------------------------------- another configuration, and closing with grace


def test_another_configuration_is_taken_up():
    def config(text):
        return {"providers": {"p": FakeProvider(Reply(text))}, "deployments": {"a": {"provider": "p", "model": "m"}}}

    with SyncRouter.from_config(config("one")) as router:
        assert router.generate("hi").text == "one"
        router.reconfigure(config("two"))
        assert router.generate("hi").text == "two"


def test_closing_with_grace_lets_a_call_end_that_runs_in_another_thread():
    provider = FakeProvider(Slow(0.3, Reply("in time")))
    config = {"providers": {"p": provider}, "deployments": {"a": {"provider": "p", "model": "m"}}}
    router = SyncRouter.from_config(config)
    texts = []
    with router:
        caller = threading.Thread(target=lambda: texts.append(router.generate("hi").text))
        caller.start()
        while not provider.in_flight:
            threading.Event().wait(0.001)
        router.close(grace_s=30.0)
        caller.join()
    assert texts == ["in time"]
    assert provider.closed
