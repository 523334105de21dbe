"""The sync door: the same answers as the async one, inside a running loop, from many threads, streams too."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sync_routers import loop_threads

from asyncrouter import (
    AllAttemptsFailed,
    ConfigError,
    InvalidRequest,
    Router,
    ServerError,
    StreamInterrupted,
    SyncRouter,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Recorder, Reply, Stream

PIECES = ["one ", "two ", "three"]


def configured(script=Reply("hello"), **group):  # noqa: B008 - it is frozen
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    return {
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": name} for name in "ab"},
        "groups": {"chat": {"deployments": ["a", "b"], "retry": "none", **group}},
        "agents": {"scout": {"group": "chat", "params": {"temperature": 0}}},
    }


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    assert not loop_threads()


# ---------------------------------------------------------------- parity


def public(kind: type) -> dict[str, inspect.Signature]:
    async_only = {"plan", "agent_plan", "enter", "engine", "fleet", "registry", "aclose"}
    sync_only = {"calls", "run", "start", "on_loop", "close"}
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, callable)
        if not name.startswith("_") and name not in async_only | sync_only
    }


def test_every_method_is_there_with_the_same_arguments():
    ours, theirs = public(SyncRouter), public(Router)
    assert set(ours) == set(theirs)
    for name in ours:
        assert list(ours[name].parameters.values()) == list(theirs[name].parameters.values()), name


SCENARIOS = [
    ("an answer", Reply("hello"), {}),
    ("a fallback", {"a": Fail(ServerError), "b": Reply("spare")}, {}),
    ("all fail", Fail(ServerError), {}),
    ("a wrong argument", Reply(), {"complexity": 2}),
    ("a name", Reply(), {"model": "b"}),
]


@pytest.mark.parametrize(("script", "arguments"), [case[1:] for case in SCENARIOS], ids=[case[0] for case in SCENARIOS])
async def test_the_same_calls_end_the_same_way(script, arguments):
    async with Router.from_config(configured(script)) as router:
        expected = await ended(functools.partial(router.generate, "hi", **arguments))
        streamed = await streamed_async(router, arguments)
    with SyncRouter.from_config(configured(script)) as router:
        assert what(lambda: router.generate("hi", **arguments)) == expected
        assert what(lambda: read(router, arguments)) == streamed


async def ended(call):
    try:
        reply = await call()
    except Exception as error:
        return type(error), str(error)
    return reply.text, reply.deployment, [str(one.outcome) for one in reply.trace.attempts]


def what(call):
    try:
        reply = call()
    except Exception as error:
        return type(error), str(error)
    if isinstance(reply, list):
        return reply
    return reply.text, reply.deployment, [str(one.outcome) for one in reply.trace.attempts]


async def streamed_async(router, arguments):
    try:
        async with router.stream("hi", **arguments) as stream:
            texts = [chunk.text async for chunk in stream]
    except Exception as error:
        return type(error), str(error)
    return [*texts, stream.response.text]


def read(router, arguments):
    with router.stream("hi", **arguments) as stream:
        texts = [chunk.text for chunk in stream]
    return [*texts, stream.response.text]


# ---------------------------------------------------------------- where it works


async def test_inside_a_running_loop():
    with SyncRouter.from_config(configured()) as router:
        assert router.generate("hi").text == "hello"
        assert read(router, {})[-1] == "hello"


def test_from_many_threads_at_once():
    provider = FakeProvider(Stream(PIECES))
    with SyncRouter.from_config(configured(provider)) as router, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: router.generate(f"question {number}").text, range(64)))
        streams = list(pool.map(lambda _number: read(router, {})[-1], range(64)))
        assert router.metrics().total.calls == 128
    assert set(answers) == set(streams) == {"one two three"}
    assert provider.in_flight == 0


def test_two_routers_share_nothing():
    with SyncRouter.from_config(configured()) as one, SyncRouter.from_config(configured()) as two:
        one.generate("hi")
        assert (one.metrics().total.calls, two.metrics().total.calls) == (1, 0)


# ---------------------------------------------------------------- the rest of the surface


def test_explain_agents_feedback_and_plugins():
    recorder = Recorder()
    with SyncRouter.from_config(configured()) as router:
        name = router.register(recorder)
        decision = router.explain("hi")
        assert decision.selection.deployments[0].name == "a"
        scout = router.for_agent("scout")
        assert scout.name == "scout"
        reply = scout.generate("hi")
        assert [chunk.text for chunk in entered(scout.stream("hi"))][-2:] != []
        router.feedback(reply, 0.5)
        assert scout.metrics().agents["scout"].calls == 2
        assert len(recorder.finished) == 2
        router.unregister(name)
        router.generate("hi")
        assert len(recorder.finished) == 2
        with pytest.raises(ConfigError, match="no such agent"):
            router.for_agent("scuot")


def entered(stream):
    with stream:
        return list(stream)


def test_plugins_before_it_is_open():
    events = []

    class Starts:
        @hookimpl
        async def asyncrouter_startup(self, router):
            events.append("startup")

        @hookimpl
        async def asyncrouter_shutdown(self, router):
            events.append("shutdown")

    router = SyncRouter.from_config(configured())
    unused = router.register(Recorder())
    router.unregister(unused)
    router.register(Starts())
    assert router.metrics().total.calls == 0
    with router:
        assert events == ["startup"]
    assert events == ["startup", "shutdown"]


def test_a_failing_start_leaves_no_thread():
    class Fails:
        @hookimpl
        async def asyncrouter_startup(self, router):
            raise LookupError

    with pytest.raises(Exception, match="asyncrouter_startup"):
        SyncRouter.from_config(configured(), plugins=[Fails()]).__enter__()


# ---------------------------------------------------------------- streams


def test_leaving_a_stream_early_closes_the_upstream():
    provider = FakeProvider(Stream(PIECES, stall_after=2))
    with SyncRouter.from_config(configured(provider)) as router:
        with router.stream("hi") as stream:
            assert next(text for text in (chunk.text for chunk in stream) if text) == "one "
        assert provider.in_flight == 0
        assert router.metrics().total.cancelled == 1
        with pytest.raises(RuntimeError, match="to its end"):
            _ = stream.response


def test_an_interrupted_stream_raises_where_it_broke():
    with SyncRouter.from_config(configured(Stream(PIECES, cut_after=2))) as router:
        texts = []
        with router.stream("hi") as stream, pytest.raises(StreamInterrupted) as caught:  # noqa: PT012 - as callers do
            for chunk in stream:
                texts.append(chunk.text)  # noqa: PERF401 - what came before the error counts
        assert "".join(texts) == caught.value.partial == "one two "


def test_a_stream_that_cannot_begin_raises_on_entering():
    with SyncRouter.from_config(configured(Fail(ServerError))) as router:
        with pytest.raises(AllAttemptsFailed):
            router.stream("hi").__enter__()
        with pytest.raises(InvalidRequest):
            router.stream("")


def test_more_chunks_than_the_buffer_holds():
    pieces = [f"{number} " for number in range(1000)]
    with SyncRouter.from_config(configured(Stream(pieces))) as router:
        assert read(router, {})[-1] == "".join(pieces)


def test_a_stream_must_be_entered():
    with SyncRouter.from_config(configured()) as router:
        stream = router.stream("hi")
        with pytest.raises(RuntimeError, match="enter the stream"):
            next(iter(stream))
        stream.__exit__()


# ---------------------------------------------------------------- open and closed


def test_it_must_be_open():
    router = SyncRouter.from_config(configured())
    with pytest.raises(RuntimeError, match="not open"):
        router.generate("hi")
    with router:
        pass
    router.close()
    with pytest.raises(RuntimeError, match="not open"):
        router.generate("hi")


def test_it_is_closed_at_exit():
    script = """
        from asyncrouter import SyncRouter
        from asyncrouter.testing import FakeProvider, Reply
        class Tells(FakeProvider):
            async def aclose(self):
                print("closed", flush=True)
        config = {"providers": {"fake": Tells(Reply())}, "deployments": {"a": {"provider": "fake", "model": "a"}}}
        router = SyncRouter.from_config(config).__enter__()
        print(router.generate("hi").text, flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(script)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["ok", "closed"], "")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_interrupt_cancels_the_call():
    called = threading.Event()

    class Waits(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            called.set()
            return await super().complete(request, deployment, timeouts)

    provider = Waits(Hang())
    main = threading.get_ident()

    def interrupt():
        called.wait(30)
        signal.pthread_kill(main, signal.SIGINT)

    with SyncRouter.from_config(configured(provider)) as router:
        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            router.generate("hi")
        helper.join()
        provider.play(Reply("alive"))
        assert router.generate("still there?").text == "alive"
        assert provider.in_flight == 0
