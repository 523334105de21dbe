"""Who was set aside when a request entered its group, and is back before it ends: nobody is given up for that."""

from __future__ import annotations

import anyio
import pytest
from recovery import kinds
from routed import EXACT, THREE, routed, together

from asyncrouter import (
    AllAttemptsFailed,
    AuthenticationFailed,
    GiveUp,
    ModelNotFound,
    NoDeploymentAvailable,
    Selection,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, Stream, fake_router

TIMES = {"first_token_s": 4.0, "attempt_s": 4.0}
NO_TOOLS = {"capabilities": ["streaming"]}
TOOLS = [{"type": "function", "function": {"name": "f"}}]

# ---------------------------------------------------------------- between two looks at the clock


class EverLater:
    """As real time goes: no two looks at it tell the same moment."""

    looks = 0

    def now(self):
        self.looks += 1
        return anyio.current_time() + self.looks * 1e-3


@pytest.mark.parametrize("number", range(1, 40))
@pytest.mark.parametrize("names", ["a", "abc"])
async def test_who_is_ready_between_two_looks_is_asked(number, names):
    """At whatever look that is: when the group is entered, the attempt is to begin, or the rest is looked at."""
    async with fake_router(deployments=names, clock=EverLater()) as router:
        for name in names:
            router.fleet[name].cool_until(router.fleet.now() + number * 1e-3)
        assert (await router.generate("hi", deadline_s=10)).text == "ok"
        assert anyio.current_time() < 0.1


@pytest.mark.parametrize("number", range(1, 40))
async def test_so_it_is_in_a_further_round(number):
    script = {"a": [Fail(ServerError), Reply("a")]}
    async with fake_router(script, deployments="a", clock=EverLater(), retry=EXACT, patience_s=0) as router:

        async def cool():
            await anyio.sleep(0.5)
            router.fleet["a"].cool_until(router.fleet.now() + 0.5 + number * 1e-3)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cool)
            assert (await router.generate("hi", deadline_s=10)).text == "a"


async def test_nobody_is_looked_for_twice_who_does_not_suit():
    async with routed(deployments={"a": NO_TOOLS, "b": NO_TOOLS}) as r:
        error = await r.fails(NoDeploymentAvailable, tools=TOOLS)
    assert error.trace.notes == ("group chat: no deployment is ready and suitable",)


# ---------------------------------------------------------------- back by the time that another one has failed


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_is_back_when_the_first_has_hung_is_asked(streamed):
    async with routed({"a": Hang(), "b": Stream(["b"]) if streamed else Reply("b")}, timeouts=TIMES) as r:
        r.state("b").cool_until(0.05)
        reply = (await r.read())[1] if streamed else await r.ask()
    assert kinds(reply) == [("a", "first"), ("b", "fallback")]
    assert r.timeline[:2] == [("a", 0.0), ("b", 4.0)]


async def test_those_who_are_back_come_in_the_order_that_is_selected_now():
    async with routed({"a": Hang(), "b": Reply("b"), "c": Reply("c")}, groups={"chat": {
        **THREE["chat"], "timeouts": TIMES, "select": {"use": "weighted", "weights": {"a": 1, "b": 0, "c": 1}}
    }}) as r:  # fmt: skip
        r.state("b").cool_until(0.05)
        r.state("c").cool_until(0.05)
        assert kinds(await r.ask()) == [("a", "first"), ("c", "fallback")]


async def test_who_is_back_goes_before_a_fallback_group():
    groups = {
        "chat": {"deployments": ["a", "b"], "timeouts": TIMES, "fallbacks": ["other"]},
        "other": {"deployments": ["x"]},
    }
    async with routed({"a": Hang(), "b": Reply("b"), "x": Reply("x")}, groups=groups) as r:
        r.state("b").cool_until(0.05)
        assert (await r.ask()).text == "b"


async def test_who_is_back_is_asked_in_place_of_one_that_was_set_aside_meanwhile():
    """While the second stands in line for a slot of a, that is set aside; b is back by then."""
    one = {"limits": {"concurrency": 1}}
    async with routed({"a": [Slow(3, then=Reply("a")), Reply("late")], "b": Reply("b")}, deployments={"a": one}) as r:
        r.state("b").cool_until(2.0)
        replies = []

        async def ask():
            replies.append((await r.ask()).text)

        async def set_aside():
            await anyio.sleep(2.5)
            r.state("a").cool_until(30.0)

        await together(ask, ask, set_aside)
        assert replies == ["a", "b"]
        assert r.timeline == [("a", 0.0), ("b", 3.0)]


# ---------------------------------------------------------------- to be back in time


async def test_who_was_not_asked_yet_is_waited_for():
    async with routed({"a": Fail(AuthenticationFailed), "b": Reply("b")}, alive=False) as r:
        r.state("b").cool_until(9.0)
        reply = await r.ask()
    assert kinds(reply) == [("a", "first"), ("b", "fallback")]
    assert r.timeline == [("a", 0.0), ("b", 9.0)]


async def test_who_was_asked_is_not_asked_again_for_that():
    """Without retries nobody is asked twice, however long the other is waited for."""
    async with routed({"a": Fail(ServerError), "b": [Fail(ServerError)], "c": Reply("c")}, groups=THREE) as r:
        r.state("c").cool_until(9.0)
        reply = await r.ask()
    assert kinds(reply) == [("a", "first"), ("b", "fallback"), ("c", "fallback")]
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("c", 9.0)]


async def test_who_comes_back_too_late_is_not_waited_for():
    async with routed({"a": Fail(AuthenticationFailed), "b": Reply("b")}, alive=False) as r:
        r.state("b").cool_until(90.0)
        await r.fails(AllAttemptsFailed)
        assert anyio.current_time() == 0.0


async def test_who_would_not_suit_is_not_waited_for():
    async with routed({"a": Fail(ModelNotFound)}, deployments={"b": NO_TOOLS}, alive=False) as r:
        r.state("b").cool_until(9.0)
        await r.fails(AllAttemptsFailed, tools=TOOLS)
        r.state("a").cool_until(20.0)
        error = await r.fails(NoDeploymentAvailable, tools=TOOLS, deadline_s=15.0)
        assert anyio.current_time() == 0.0
    assert error.retry_after_s == 20.0


async def test_nobody_is_waited_for_where_the_hook_permits_no_fallback():
    class Nowhere:
        @hookimpl
        def asyncrouter_fallback(self):
            return GiveUp()

    async with routed({"a": Fail(AuthenticationFailed)}, plugins=[Nowhere()], alive=False) as r:
        r.state("b").cool_until(9.0)
        await r.fails(AllAttemptsFailed)
        assert anyio.current_time() == 0.0


# ---------------------------------------------------------------- the time that is kept for them


async def test_time_is_kept_for_one_that_comes_back():
    async with routed({"a": Hang(), "b": Reply("b")}) as r:
        r.state("b").cool_until(1.0)
        assert (await r.ask()).text == "b"
    assert r.timeline[:2] == [("a", 0.0), ("b", 30.0)]


async def test_no_time_is_kept_for_one_that_is_down():
    async with routed({"a": Slow(50), "b": Fail(ServerError)}, breaker={"failures": 1}) as r:
        r.state("b").breaker.failed(0, 0.0)
        reply = await r.ask()
    assert kinds(reply) == [("a", "first")]


async def test_no_time_is_kept_for_one_that_does_not_suit():
    async with routed({"a": Slow(50)}, deployments={"b": NO_TOOLS}) as r:
        r.state("b").cool_until(1.0)
        assert kinds(await r.ask(tools=TOOLS)) == [("a", "first")]


async def test_no_time_is_kept_for_one_that_the_selector_leaves_out():
    class Only:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[:1])

    async with routed({"a": Slow(50)}, plugins=[Only()]) as r:
        assert kinds(await r.ask()) == [("a", "first")]


async def test_no_time_is_kept_for_one_that_comes_back_too_late():
    async with routed({"a": Slow(50)}) as r:
        r.state("b").cool_until(31.0)
        assert kinds(await r.ask()) == [("a", "first")]


# ---------------------------------------------------------------- the last attempts


async def test_the_last_attempts_are_waited_for_though_the_floor_is_spent():
    """A busy router has no floor left, and does not need it: there is enough of the share."""
    fail = Fail(ServerError)
    script = {"a": [fail] * 4 + [Reply("a")]}
    retry = {**EXACT, "initial_delay_s": 0.1}
    async with fake_router(FakeProvider(script), deployments="a", retry=retry, breaker={"failures": 9}) as router:
        for _ in range(400):
            router.fleet.budget.first_attempt(0.0)
        for _ in range(31):
            router.fleet.budget.count(0.0)
        assert (await router.generate("hi", deadline_s=9.0)).text == "a"
