"""The sync door: the same results as the async one, from any thread and inside a loop, and nothing left over."""

from __future__ import annotations

import asyncio
import atexit
import gc
import inspect
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import anyio
import pytest
from routed import KEY, PROMPT, RawStreams, check_secrecy, delta

from asyncrouter import (
    AllAttemptsFailed,
    InvalidRequest,
    PluginContractError,
    RateLimited,
    Router,
    ServerError,
    StreamInterrupted,
    SyncRouter,
    UnknownModelGroup,
    hookimpl,
)
from asyncrouter.router import AgentRouter
from asyncrouter.sync import BUFFERED_CHUNKS, SyncAgentRouter, _Job
from asyncrouter.testing import Fail, FakeProvider, Hang, Recorder, Reply, Slow, Stream

WORDS = ["The ", "answer ", "is ", "42."]


def config_of(provider, **chat):
    return {
        "router": {"default": "chat"},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": f"model-{name}"} for name in "ab"},
        "groups": {"chat": {"deployments": ["a", "b"], "retry": "none", **chat}},
        "agents": {"recon": {"group": "chat", "params": {"temperature": 0}}},
    }


def open_router(script=Reply(), *, plugins=(), **chat):  # noqa: B008 - it is frozen
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    return SyncRouter.from_config(config_of(provider, **chat), plugins=plugins, seed=0)


def loop_threads():
    return [thread for thread in threading.enumerate() if thread.name == "asyncrouter"]


@pytest.fixture(autouse=True)
def nothing_left():
    """No thread of the router stands after a test, and nothing complains when it is collected."""
    assert not loop_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert not loop_threads()


# ---------------------------------------------------------------- parity


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


def test_it_has_every_public_method_of_the_async_door():
    renamed = {"aclose": "close"}
    inside = {"enter", "agent_plan"}  # for the doors themselves
    wanted = {renamed.get(name, name) for name in public(Router) - inside}
    assert wanted <= public(SyncRouter)
    assert public(AgentRouter) <= public(SyncAgentRouter)


@pytest.mark.parametrize(
    "name", ["generate", "explain", "stream", "feedback", "register", "unregister", "for_agent", "plan"]
)
def test_the_arguments_are_the_same(name):
    ours, theirs = (inspect.signature(getattr(door, name)) for door in (SyncRouter, Router))
    assert [(one.name, one.kind, one.default) for one in ours.parameters.values()] == [
        (one.name, one.kind, one.default) for one in theirs.parameters.values()
    ]
    assert not inspect.iscoroutinefunction(getattr(SyncRouter, name))


def story(trace):
    return [(one.deployment, str(one.kind), str(one.outcome), type(one.error).__name__) for one in trace.attempts]


def told(function):
    """Return what *function* returns or raises, without what differs from run to run."""
    try:
        reply = function()
    except Exception as error:
        trace = getattr(error, "trace", None)
        return type(error).__name__, str(error), trace and story(trace)
    return reply.text, reply.deployment, reply.usage, reply.cost_usd, reply.finish_reason, story(reply.trace)


SCENARIOS = {
    "answer": (Reply("hello"), {}),
    "fallback": ({"a": Fail(ServerError), "b": Reply("b")}, {}),
    "all fail": (Fail(RateLimited), {}),
    "raised": (Fail(InvalidRequest), {}),
    "tools": (Reply("", tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}]), {}),
    "model": (Reply(), {"model": "b"}),
    "unknown": (Reply(), {"model": "nobody"}),
    "complexity": (Reply(), {"complexity": 0.3, "metadata": {"k": 1}, "session": "s", "temperature": 0}),
    "wrong": (Reply(), {"complexity": 2}),
    "cut": (Stream(WORDS, cut_after=2), {}),
    "no usage": (Reply("words", usage=None), {}),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_calls_have_the_same_results(scenario, streamed):
    script, arguments = SCENARIOS[scenario]

    async def asynchronous():
        async with Router.from_config(config_of(FakeProvider(script)), seed=0) as router:
            if not streamed:
                return await router.generate(PROMPT, **arguments)
            async with router.stream(PROMPT, **arguments) as stream:
                texts.append([chunk.text async for chunk in stream])
            return stream.response

    def synchronous():
        with open_router(script) as router:
            if not streamed:
                return router.generate(PROMPT, **arguments)
            with router.stream(PROMPT, **arguments) as stream:
                texts.append([chunk.text for chunk in stream])
            return stream.response

    texts = []
    assert told(synchronous) == told(lambda: asyncio.run(asynchronous()))
    if texts:
        assert texts[0] == texts[1]


def test_everything_else_is_the_same_too():
    class Observer(Recorder):
        pass

    recorder = Observer()
    with open_router({"a": Fail(ServerError), "b": Reply()}, plugins=[]) as router:
        assert router.explain(PROMPT).ranking[0].deployment == "a"
        name = router.register(recorder)
        reply = router.generate(PROMPT)
        router.feedback(reply, 1.0)
        assert len(recorder.events) == 4
        router.unregister(name)
        router.generate(PROMPT)
        assert len(recorder.events) == 4
        assert router.plan().group.name == "chat"
        assert router.plan("recon").group.name == "chat"
        metrics = router.metrics()
        assert (metrics.total.calls, metrics.deployments["b"].calls) == (2, 2)
        recon = router.for_agent("recon")
        assert recon.name == "recon"
        assert recon.plan.group.name == "chat"
        assert recon.generate(PROMPT).trace.agent == "recon"
        assert recon.explain(PROMPT).ranking[0].deployment == "a"
        with recon.stream(PROMPT) as stream:
            assert "".join(chunk.text for chunk in stream) == "ok"
        assert recon.metrics().agents["recon"].calls == 2


def test_plugins_may_be_registered_before_it_is_entered():
    recorder = Recorder()
    router = open_router()
    router.register(recorder)
    other = Recorder("other")
    router.register(other)
    router.unregister(other)
    assert router.metrics().total.calls == 0
    with router:
        router.generate(PROMPT)
    assert len(recorder.events) == 2
    assert other.events == []
    assert router.metrics().total.calls == 1, "the counts stay readable"


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


# ---------------------------------------------------------------- streams


def test_a_stream_left_early_closes_its_upstream():
    provider = FakeProvider(Stream([f"{number} " for number in range(10 * BUFFERED_CHUNKS)]))
    with open_router(provider) as router:
        with router.stream(PROMPT) as stream:
            for chunk in stream:
                if chunk.text == "3 ":
                    break
        assert provider.in_flight == 0
        assert provider.calls[0].outcome == "closed"
        assert router.metrics().total.cancelled == 1
        assert list(stream) == []
        with pytest.raises(RuntimeError, match="not complete"):
            _ = stream.response


def test_the_upstream_is_not_read_far_ahead_of_the_reader():
    sent = []

    class Counting(FakeProvider):
        async def stream(self, request, deployment, timeouts):
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    sent.append(chunk)
                    yield chunk

    async def settle():
        for _ in range(20 * BUFFERED_CHUNKS):
            await anyio.lowlevel.checkpoint()

    with open_router(Counting(Stream(["x "] * (10 * BUFFERED_CHUNKS)))) as router, router.stream(PROMPT) as stream:
        next(stream)
        router.run(settle)
        assert len(sent) <= 2 * BUFFERED_CHUNKS + 3
        assert sum(1 for _ in stream) == 10 * BUFFERED_CHUNKS + 1
        assert stream.response.text == "x " * (10 * BUFFERED_CHUNKS)


def test_a_stream_left_with_an_error_passes_it_on():
    provider = FakeProvider(Stream(["x "] * 1000))

    def leave(router):
        with router.stream(PROMPT) as stream:
            next(stream)
            raise ZeroDivisionError

    with open_router(provider) as router:
        with pytest.raises(ZeroDivisionError):
            leave(router)
        assert provider.in_flight == 0


def test_an_error_in_the_middle_comes_after_what_came_before_it():
    with open_router(Stream(WORDS, cut_after=3)) as router, router.stream(PROMPT) as stream:
        seen = []
        with pytest.raises(StreamInterrupted) as caught:
            seen.extend(chunk.text for chunk in _kept(stream, seen))
        assert [text for text in seen if text] == WORDS[:3]
        assert caught.value.partial == "The answer is "
        assert list(stream) == [], "the error is raised once"
        check_secrecy(caught.value)


def _kept(stream, seen):
    for chunk in stream:
        seen.append(chunk.text)
    return []


def test_errors_before_the_first_output_are_raised_on_entering():
    with open_router(Fail(ServerError)) as router:
        stream = router.stream(PROMPT)
        with pytest.raises(AllAttemptsFailed), stream:
            pass
        with pytest.raises(UnknownModelGroup):
            router.stream(PROMPT, model="nobody")


def test_a_stream_is_entered_first_and_once():
    with open_router(Stream(WORDS)) as router:
        stream = router.stream(PROMPT)
        with pytest.raises(RuntimeError, match="enter the stream first"):
            next(stream)
        with stream:
            with pytest.raises(RuntimeError, match="entered before"):
                stream.__enter__()
            assert "".join(chunk.text for chunk in stream) == "The answer is 42."
        with pytest.raises(RuntimeError, match="entered before"):
            stream.__enter__()


def test_a_stream_that_is_never_entered_leaves_nothing():
    with open_router(Stream(WORDS)) as router:
        router.stream(PROMPT)
        assert router.metrics().total.calls == 0


def test_a_restart_is_passed_on():
    script = RawStreams(a=[[delta("never "), StreamInterrupted("cut")]], b=[[delta("this"), delta(finish="stop")]])
    with open_router(script, on_interrupt="restart") as router, router.stream(PROMPT) as stream:
        assert [chunk.kind for chunk in stream] == ["delta", "restart", "delta", "delta"]
        assert stream.response.text == "this"


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


def test_its_words_hold_no_secret():
    with open_router({"a": Fail(ServerError), "b": Reply()}) as router:
        reply = router.generate([{"role": "user", "content": f"{PROMPT} {KEY}"}])
        with router.stream(f"{PROMPT} {KEY}") as stream:
            chunks = list(stream)
        check_secrecy(router, reply, reply.trace, stream, *chunks, router.metrics(), router.for_agent("recon"))


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
