"""Plugins that misbehave: each hook fails open or closed as it declares, and the deadline is kept."""

from __future__ import annotations

import asyncio
import contextlib
import time

import anyio
import pytest

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    DeadlineExceeded,
    PluginContractError,
    PluginLoadError,
    ServerError,
    UnknownStrategy,
    Verdict,
    hookimpl,
)
from asyncrouter.assembler import builtin_registry
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, VirtualClockLoop, fake_router
from asyncrouter.types.metrics import BreakerState

PLAIN = ["transform", "filter", "retry", "fallback", "observe"]
AWAITED = ["estimate", "select", "judge"]
ONIONS = ["around_request", "around_attempt"]
STREAM_ONIONS = ["around_request_stream", "around_attempt_stream"]
OPEN = {"estimate", "judge", "observe"}
STREAMED = [(hook, True) for hook in [*PLAIN, "estimate", "select", *STREAM_ONIONS]]
"""Hooks that a streamed call asks."""
CASES = [(hook, False) for hook in [*PLAIN, *AWAITED, *ONIONS]] + STREAMED


def plugin(hook, function):
    """Return a plugin with one implementation."""
    kind = type("Plugin", (), {f"asyncrouter_{hook}": staticmethod(hookimpl(function))})
    kind.name = f"the-{hook}"
    return kind()


class Junk:
    """Nothing that any hook may return."""


def misbehaving(hook, fault):
    """Return a plugin whose one hook raises, returns junk, lets a cancellation out that nobody asked for, or hangs."""

    def plain():
        if fault == "raises":
            raise ValueError("nobody's business")
        if fault == "cancels":
            raise asyncio.CancelledError
        return Junk()

    async def awaited():
        if fault == "hangs":
            await asyncio.get_running_loop().create_future()
        await anyio.sleep(0.1)
        return plain()

    async def layer(call):
        return await awaited()

    async def stream_layer(chunks):
        async with contextlib.aclosing(chunks):
            async for _chunk in chunks:
                yield await awaited()

    if hook in PLAIN:
        return plugin(hook, plain)
    return plugin(hook, {**dict.fromkeys(AWAITED, awaited), **dict.fromkeys(ONIONS, layer)}.get(hook, stream_layer))


async def call(f, *, streamed, **arguments):
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


def script_for(hook):
    """Return a script that makes the router ask *hook*: some are asked after a failure only."""
    return {"a": Fail(ServerError), "b": Reply("b")} if hook in {"retry", "fallback"} else Reply("a")


@pytest.mark.parametrize(
    ("hook", "streamed", "fault"),
    [
        (*case, fault)
        for case in CASES
        for fault in ("raises", "cancels", "returns junk")
        if (case[0], fault) != ("observe", "returns junk")  # nobody looks at what observers return
    ],
)
async def test_p01_a_hook_that_fails_is_open_or_closed_as_it_declares(faults, hook, streamed, fault):
    bad = misbehaving(hook, fault)
    async with faults(script_for(hook), plugins=[bad], deadline_s=9.0) as f:
        if hook in OPEN:
            reply = await call(f, streamed=streamed)
            assert reply.text == "a"
            assert f.router.metrics().plugin_failures["the-" + hook] >= 1
            assert reply.trace.notes or hook == "observe", "it is told"
        else:
            with pytest.raises(PluginContractError) as caught:
                await call(f, streamed=streamed)
            assert (caught.value.plugin, caught.value.hook) == ("the-" + hook, "asyncrouter_" + hook)
            assert "nobody's business" not in str(caught.value), "a stranger's words may hold anything"
        f.router.unregister(bad)


@pytest.mark.parametrize(("hook", "streamed"), [case for case in CASES if case[0] not in PLAIN])
async def test_p01_a_hook_that_hangs_is_cut_off(faults, hook, streamed):
    bad = misbehaving(hook, "hangs")
    async with faults(plugins=[bad], deadline_s=9.0, timeouts={"attempt_s": 4.0, "first_token_s": 4.0}) as f:
        if hook in OPEN:
            assert (await call(f, streamed=streamed)).text == "ok"
        elif "attempt" in hook:
            error = await failure(call(f, streamed=streamed))
            assert isinstance(error, (AllAttemptsFailed, DeadlineExceeded))
            assert all(isinstance(one.error, AttemptTimedOut) for one in error.trace.attempts)
        else:
            assert isinstance(await failure(call(f, streamed=streamed)), DeadlineExceeded)
            assert f.now() == 9.0
        f.router.unregister(bad)
        if "attempt" in hook:  # it was held against the deployments, which are set aside now
            await f.check_alive()


async def failure(waiting):
    with pytest.raises((AllAttemptsFailed, DeadlineExceeded)) as caught:
        await waiting
    return caught.value


@pytest.mark.parametrize("fault", ["raises", "cancels", "hangs"])
@pytest.mark.parametrize("hook", ["startup", "shutdown"])
async def test_p01_a_cold_hook_that_fails_leaves_nothing_open(hook, fault):
    async def cold():
        if fault == "hangs":
            await asyncio.get_running_loop().create_future()
        raise ValueError if fault == "raises" else asyncio.CancelledError

    ended = []
    provider = FakeProvider()
    router = fake_router(provider, plugins=[plugin(hook, cold), Ending(ended)])

    async def life():
        async with asyncio.timeout(5.0), router:
            await router.generate("hi")

    with pytest.raises((PluginContractError, TimeoutError, asyncio.CancelledError)) as caught:
        await life()
    assert isinstance(caught.value, TimeoutError if fault == "hangs" else PluginContractError)
    assert provider.closed, "what was opened is closed, whatever fails"
    if hook == "shutdown":
        assert ended == ["ending"]


class Ending:
    """A plugin that must be shut down, whatever the others do."""

    name = "ending"

    def __init__(self, ended):
        self.ended = ended

    @hookimpl
    async def asyncrouter_shutdown(self):
        self.ended.append(self.name)


def test_p01_a_plugin_that_cannot_register_is_left_out():
    def register(registry):
        registry.selector("half-way", object)
        raise ValueError

    registry = builtin_registry()
    with pytest.raises(PluginLoadError, match="asyncrouter-half-way"):
        registry.register_from(plugin("register", register), "asyncrouter-half-way", "1.0")
    with pytest.raises(UnknownStrategy):
        registry.find("selector", "half-way")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", ["raises", "cancels", "returns junk", "hangs"])
async def test_p02_without_its_estimator_the_route_still_works(faults, fault, streamed):
    bad = misbehaving("estimate", fault)
    select = {"use": "complexity", "threshold": 0.7}
    async with faults(plugins=[bad], select=select, timeouts={"estimate_s": 2.0}) as f:
        reply = await call(f, streamed=streamed)
        assert (reply.deployment, reply.trace.estimate.complexity) == ("a", 0.5), "neither easy nor hard"
        assert f.now() == (2.0 if fault == "hangs" else 0.1)
        assert f.router.metrics().plugin_failures == {"the-estimate": 1}
        assert "estimate failed" in reply.trace.notes[0]
        f.router.unregister(bad)


# ---------------------------------------------------------------- a blocked event loop


class BlockedLoop(VirtualClockLoop):
    """A loop in virtual time that something can block."""

    def block(self, seconds):
        self._now += seconds


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": BlockedLoop})], ids=["blocked"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_p05_a_timeout_in_a_blocked_loop_is_no_failure_of_the_upstream(faults, streamed):
    timeouts = {"attempt_s": 1.0, "first_token_s": 1.0}
    breaker = {"failures": 1}
    async with faults({"a": Hang(), "b": Reply("b")}, timeouts=timeouts, breaker=breaker, late_s=0.05) as f:
        asyncio.get_running_loop().call_later(0.5, asyncio.get_running_loop().block, 2.0)
        reply = await call(f, streamed=streamed)
        assert reply.text == "b"
        error = reply.trace.attempts[0].error
        assert isinstance(error, AttemptTimedOut)
        assert error.blocked_s == pytest.approx(1.5)
        assert "the event loop was blocked for 1.5 s" in str(error), "it is told"
        assert f.state("a").breaker.state is BreakerState.CLOSED
        assert (await call(f, streamed=streamed)).text == "b"
        assert f.state("a").breaker.state is BreakerState.OPEN, "and a timeout in an idle loop is one"


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": BlockedLoop})], ids=["blocked"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_p05_an_answer_that_came_meanwhile_is_taken(faults, streamed):
    timeouts = {"attempt_s": 1.0, "first_token_s": 1.0}
    async with faults({"a": Slow(2.0, then=Reply("a")), "b": Reply("b")}, timeouts=timeouts) as f:
        asyncio.get_running_loop().call_later(0.5, asyncio.get_running_loop().block, 2.0)
        assert (await call(f, streamed=streamed)).text == "a"
        assert f.called == ["a"]


async def test_p05_over_sockets_with_a_plugin_that_really_blocks(wall):
    """An answer that arrives while the loop is blocked, past its timeout, is taken as one."""

    class Sleeping:
        name = "sleeping"
        slept = False

        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            attempt = asyncio.ensure_future(call(request, deployment))
            await f.server.received(len(f.calls))
            if not self.slept:
                self.slept = True
                time.sleep(0.4)  # noqa: ASYNC251 - the fault itself
            return await attempt

    sleeping = Sleeping()
    async with wall({"a": Reply("a"), "b": Reply("b")}, plugins=[sleeping], timeouts={"attempt_s": 0.2}) as f:
        assert (await f.ask()).text == "a"
        assert f.state("a").breaker.state is BreakerState.CLOSED
        f.router.unregister(sleeping)


async def test_p01_a_judge_that_hangs_costs_no_answer(faults):
    class Slowly:
        name = "slowly"

        @hookimpl
        async def asyncrouter_judge(self):
            await anyio.sleep(100)
            return Verdict(accept=False)

    slowly = Slowly()
    async with faults(plugins=[slowly], deadline_s=9.0) as f:
        assert (await f.ask()).text == "ok"
        assert f.now() == 9.0
        f.router.unregister(slowly)
