"""Plugins that decide, hang or are registered while calls are under way: what the call is worth then."""

from __future__ import annotations

import anyio
import attrs
import pytest
from routed import EXACT, check_secrecy, routed

from asyncrouter import (
    AllAttemptsFailed,
    ConfigError,
    Fallback,
    GiveUp,
    PluginContractError,
    Retry,
    Router,
    Selection,
    ServerError,
    Verdict,
    hookimpl,
)
from asyncrouter.assembler import builtin_registry
from asyncrouter.hooks.registry import HOOK_OF
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow
from asyncrouter.types.errors import UnknownModelGroup


async def both_ways(r, kind):
    """Make the call plain and streamed; both must end in *kind*; return both errors."""
    errors = [await r.fails(kind)]
    with pytest.raises(kind) as caught:
        await r.read()
    check_secrecy(caught.value)
    return [*errors, caught.value]


# ---------------------------------------------------------------- fallback and retry


async def test_a_fallback_to_a_deployment_that_is_not_left_is_refused():
    class Again:
        name = "again"

        @hookimpl
        def asyncrouter_fallback(self, trace):
            return Fallback(deployment=trace.selection.deployments[0])

    again = Again()
    async with routed(Fail(ServerError), plugins=[again]) as r:
        for error in await both_ways(r, PluginContractError):
            assert (error.plugin, error.hook) == ("again", "asyncrouter_fallback")
            assert "one of the remaining" in str(error)
            assert [one.deployment for one in error.trace.attempts] == ["a"]
        r.router.unregister(again)


async def test_give_up_as_a_fallback_stays_with_the_group():
    class Stay:
        @hookimpl
        def asyncrouter_fallback(self):
            return GiveUp("no")

    stay = Stay()
    async with routed([Fail(ServerError), Reply("again")], retry=EXACT, plugins=[stay]) as r:
        assert (await r.ask()).text == "again"
        assert r.timeline == [("a", 0.0), ("a", 1.0)]
        r.router.unregister(stay)


async def test_a_retry_may_come_before_the_fallback():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(3.0, "once more", before_fallback=True) if trace.waits == 0 else GiveUp()

    async with routed({"a": [Fail(ServerError), Fail(ServerError), Reply()], "b": Reply("b")}, plugins=[First()]) as r:
        reply = await r.ask()
        assert r.timeline == [("a", 0.0), ("a", 3.0), ("b", 3.0)]
    assert [one.reason for one in reply.trace.attempts] == ["configured order", "once more", "after ServerError on a"]


async def test_such_a_retry_waits_until_the_deployment_is_ready():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(1.0, before_fallback=True) if trace.waits == 0 else GiveUp()

    async with routed({"a": [Fail(ServerError, retry_after_s=7.0), Reply("a")], "b": Reply()}, plugins=[First()]) as r:
        assert (await r.ask()).text == "a"
        assert r.timeline == [("a", 0.0), ("a", 7.0)]


async def test_a_retry_that_does_not_fit_the_deadline_gives_way_to_the_fallback():
    class Long:
        @hookimpl
        def asyncrouter_retry(self):
            return Retry(100.0, before_fallback=True)

    async with routed({"a": [Fail(ServerError), Reply()], "b": Reply("b")}, plugins=[Long()], deadline_s=50) as r:
        assert (await r.ask()).text == "b"
        assert anyio.current_time() == 0.0


async def test_nobody_needs_to_decide_on_retries():
    class Nobody:
        @hookimpl
        def asyncrouter_retry(self):
            return None

    async with routed(Fail(ServerError), retry=Nobody()) as r:
        await r.fails(AllAttemptsFailed)
        assert r.timeline == [("a", 0.0), ("b", 0.0)]


# ---------------------------------------------------------------- transform, register


async def test_a_transform_may_choose_another_model():
    class Redirect:
        @hookimpl
        def asyncrouter_transform(self, request):
            return attrs.evolve(request, model=request.metadata.get("to"))

    groups = {"chat": {"deployments": ["a"]}, "other": {"deployments": ["x"]}}
    redirect = Redirect()
    async with routed(groups=groups, plugins=[redirect]) as r:
        assert (await r.ask(metadata={"to": "other"})).deployment == "x"
        assert (await r.ask(model="other", metadata={"to": "a"})).deployment == "a"
        assert (await r.ask(model="other")).deployment == "a", "no name is the default"
        _chunks, response = await r.read(metadata={"to": "other"})
        assert response.deployment == "x"
        began = r.began
        with pytest.raises(UnknownModelGroup):
            await r.ask(metadata={"to": "nowhere"})
        r.began = began  # nothing had begun
        r.router.unregister(redirect)


async def test_registering_changes_later_requests_only():
    class Other:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[::-1])

    other = Other()
    async with routed({"a": [Slow(5, then=Fail(ServerError)), Reply("a")], "b": Reply("b")}, retry=EXACT) as r:
        replies = {}

        async def ask(name):
            replies[name] = await r.ask()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "before")
            await anyio.sleep(1.0)
            r.router.register(other)
            tasks.start_soon(ask, "after")
        assert [one.deployment for one in replies["before"].trace.attempts] == ["a", "b"]
        assert replies["after"].deployment == "b"
        r.router.unregister(other)
        assert (await r.ask()).deployment == "a"


class OnlyWatches:
    """It is asked for nothing."""

    @hookimpl
    def asyncrouter_observe(self):
        pass


@pytest.mark.parametrize("key", ["estimate", "select", "retry", "fallback", "judge", "filters"])
@pytest.mark.parametrize("by_name", [True, False])
async def test_a_strategy_without_the_hook_of_its_kind_is_refused(key, by_name):
    kinds = {"estimate": "estimator", "select": "selector", "filters": "filter"}
    kind = kinds.get(key, key)
    registry = builtin_registry()
    getattr(registry, kind)("watch", OnlyWatches)
    strategy = "watch" if by_name else OnlyWatches()
    config = {
        "providers": {"fake": FakeProvider()},
        "deployments": {"a": {"provider": "fake", "model": "m"}},
        "groups": {"chat": {"deployments": ["a"], key: [strategy] if key == "filters" else strategy}},
    }
    with pytest.raises(ConfigError, match=rf"^groups\.chat\.{key}: {kind} .* has no {HOOK_OF[kind]}; implement it"):
        Router.from_config(config, registry=registry)


async def test_a_kind_of_provider_that_makes_none_is_refused():
    registry = builtin_registry()
    registry.provider("nobody", lambda **_options: OnlyWatches())
    config = {
        "providers": {"nobody": {}},
        "deployments": {"a": {"provider": "nobody", "model": "m"}},
        "groups": {"chat": {"deployments": ["a"]}},
    }
    with pytest.raises(ConfigError, match=r"^providers\.nobody: kind 'nobody' makes an object of type OnlyWatches, wi"):
        Router.from_config(config, registry=registry)


async def test_a_plugin_that_cannot_be_registered_changes_nothing():
    class Taken:
        name = "selector:priority"

        @hookimpl
        async def asyncrouter_select(self):
            return None

    async with routed() as r:
        with pytest.raises(PluginContractError):
            r.router.register(Taken())
        assert (await r.ask()).deployment == "a"
        r.router.register(Recounting())
        assert (await r.ask()).deployment == "a"


class Recounting:
    @hookimpl
    def asyncrouter_observe(self, event):
        pass


async def test_a_plugin_may_cancel_only_itself():
    """A cancellation that a plugin makes of its own is its own failure, not the caller's departure."""

    class Cancels:
        name = "cancels"

        @hookimpl
        async def asyncrouter_estimate(self):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.sleep(1)

    async with routed(plugins=[Cancels()]) as r:
        assert (await r.ask()).text == "ok"


def hanging(hook):
    async def function(self):
        await anyio.sleep_forever()

    function.__name__ = hook
    return type("Hanging", (), {"name": "hangs", hook: hookimpl(function)})()


async def test_a_selector_that_hangs_is_ended_at_the_deadline():
    from asyncrouter import DeadlineExceeded

    async with routed() as r:
        plugin = hanging("asyncrouter_select")
        r.router.register(plugin)
        before = anyio.current_time()
        await r.fails(DeadlineExceeded, deadline_s=4.0)
        assert anyio.current_time() == before + 4.0
        r.router.unregister(plugin)


async def test_p02_an_estimator_that_hangs_costs_its_own_bound_and_the_route_works_on():
    async with routed(timeouts={"estimate_s": 0.5}, plugins=[hanging("asyncrouter_estimate")]) as r:
        before = anyio.current_time()
        reply = await r.ask(deadline_s=4.0)
        assert anyio.current_time() == before + 0.5
        assert (reply.trace.estimate.complexity, reply.trace.estimate.source) == (0.5, "default")
        assert "no estimate within estimate_s = 0.5 s" in reply.trace.notes[0]
        assert r.router.metrics().plugin_failures == {"hangs": 1}


async def test_p01_an_answer_whose_judge_hangs_is_returned_at_the_deadline():
    async with routed() as r:
        plugin = hanging("asyncrouter_judge")
        r.router.register(plugin)
        before = anyio.current_time()
        reply = await r.ask(deadline_s=4.0)
        assert anyio.current_time() == before + 4.0
        assert reply.text == "ok"
        assert "the best so far is returned" in reply.trace.notes[-1]
        r.router.unregister(plugin)


async def test_p01_the_best_rejected_answer_is_returned_when_the_deadline_ends_the_cascade():
    class Strict:
        name = "strict"

        @hookimpl
        def asyncrouter_judge(self):
            return Verdict(accept=False, score=0.4, reason="weak")

    script = {"a": Reply("weak"), "b": Hang()}
    async with routed(script, plugins=[Strict()], alive=False) as r:
        reply = await r.ask(deadline_s=4.0, complexity=0.0)
        assert reply.text == "weak"
        assert [(one.deployment, one.outcome) for one in reply.trace.attempts] == [("a", "rejected"), ("b", "failed")]
