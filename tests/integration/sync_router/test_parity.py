"""The sync door has the methods, arguments and results of the async one."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from routed import KEY, PROMPT, check_secrecy
from sync_routers import WORDS, config_of, open_router

from asyncrouter import InvalidRequest, RateLimited, Router, ServerError, SyncRouter
from asyncrouter.router import AgentRouter
from asyncrouter.sync import SyncAgentRouter
from asyncrouter.testing import Fail, FakeProvider, Recorder, Reply, Stream

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


# ---------------------------------------------------------------- words


def test_its_words_hold_no_secret():
    with open_router({"a": Fail(ServerError), "b": Reply()}) as router:
        reply = router.generate([{"role": "user", "content": f"{PROMPT} {KEY}"}])
        with router.stream(f"{PROMPT} {KEY}") as stream:
            chunks = list(stream)
        check_secrecy(router, reply, reply.trace, stream, *chunks, router.metrics(), router.for_agent("recon"))
