"""What docs/hooks.md says of each hook, on a whole router: when it runs, what it may change, how it fails."""

from __future__ import annotations

import anyio
import attrs
import pytest
from hooked import ask, plugin

from asyncrouter import (
    Estimate,
    Fallback,
    PluginContractError,
    Retry,
    Selection,
    ServerError,
    UnknownModelGroup,
    Verdict,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Recorder, Reply, Slow, fake_router, virtual_backend
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.events import AttemptFinished, RequestFinished

HI = {"role": "user", "content": "hi"}


# ------------------------------------------------------------------------------------------------ startup, shutdown


class Journal:
    """Notes its startups and shutdowns in *lines*."""

    def __init__(self, name, lines):
        self.name = name
        self.lines = lines

    @hookimpl
    async def asyncrouter_startup(self, router):
        self.lines.append(f"{self.name} up {type(router).__name__}")

    @hookimpl
    async def asyncrouter_shutdown(self):
        self.lines.append(f"{self.name} down")


class Select(Journal):
    @hookimpl
    async def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates)


async def test_plugins_and_strategies_start_in_order_and_end_in_the_reverse_order():
    lines = []
    select = Select("select", lines)
    async with fake_router(plugins=[Journal("a", lines), Journal("b", lines)], select=select) as router:
        assert lines == ["a up Router", "b up Router", "select up Router"]
        router.register(Journal("late", lines))
        await router.generate("hi")
    assert lines[3:] == ["select down", "b down", "a down"]


async def test_a_startup_that_fails_ends_those_that_had_started():
    lines = []

    def startup(self):
        raise KeyError("x")

    provider = FakeProvider()
    plugins = [Journal("a", lines), plugin("startup", startup), Journal("b", lines)]
    with pytest.raises(PluginContractError, match="'the-startup', asyncrouter_startup: raised KeyError"):
        async with fake_router(provider, plugins=plugins):
            pytest.fail("it opened")
    assert lines == ["a up Router", "a down"]
    assert provider.closed


async def test_a_shutdown_that_fails_keeps_nothing_open():
    lines = []

    async def shutdown(self, router):
        raise KeyError("x")

    provider = FakeProvider()
    with pytest.raises(PluginContractError, match="asyncrouter_shutdown: raised KeyError"):
        async with fake_router(provider, plugins=[Journal("a", lines), plugin("shutdown", shutdown)]) as router:
            await router.generate("hi")
    assert lines == ["a up Router", "a down"]
    assert provider.closed


# ------------------------------------------------------------------------------------------------ transform


@pytest.mark.parametrize("streamed", [False, True])
async def test_transform_comes_before_everything_and_folds(streamed):
    class First:
        @hookimpl
        def asyncrouter_transform(self, request):
            return attrs.evolve(request, messages=[{"role": "system", "content": "1"}, *request.messages])

    class Second:
        @hookimpl
        def asyncrouter_transform(self, request):
            assert len(request.messages) == 2
            return attrs.evolve(request, model="b")

    class Third:
        @hookimpl
        def asyncrouter_transform(self, request):
            assert request.model == "b"

    plugins = [Third(), Second(), First()]  # the last is asked first
    provider = FakeProvider()
    async with fake_router(provider, plugins=plugins) as router:
        await ask(router, streamed)
        assert (await router.explain("hi")).selection.deployments[0].name == "b"
    (call,) = provider.calls
    assert (call.deployment.name, call.request.messages) == ("b", [{"role": "system", "content": "1"}, HI])


async def test_a_transform_that_fails_or_names_nothing_ends_the_call_before_routing():
    async with fake_router(plugins=[plugin("transform", lambda self, request: request.no_such)]) as router:
        with pytest.raises(PluginContractError, match="asyncrouter_transform: raised AttributeError") as caught:
            await router.generate("hi")
        assert (caught.value.trace, router.metrics().total.calls) == (None, 0)
    nowhere = plugin("transform", lambda self, request: attrs.evolve(request, model="nowhere"))
    async with fake_router(plugins=[nowhere]) as router:
        with pytest.raises(UnknownModelGroup):
            await router.generate("hi")


# ------------------------------------------------------------------------------------------------ decisions


async def test_a_decision_that_is_declined_goes_to_the_next_and_the_last_registered_is_asked_first():
    asked = []

    def estimates(name, answer):
        async def estimate(self, request, group):
            asked.append((name, group.name))
            return answer

        one = plugin("estimate", estimate)
        one.name = name
        return one

    answer = Estimate(complexity=0.9, source="mine")
    plugins = [estimates("never", Estimate(complexity=0.1)), estimates("mine", answer), estimates("declines", None)]
    select = {"use": "complexity", "threshold": 0.7}
    async with fake_router(plugins=plugins, select=select) as router:
        reply = await router.generate("hi")
        assert (reply.trace.estimate, reply.deployment) == (answer, "b")
        assert asked == [("declines", "chat"), ("mine", "chat")]
        await router.generate("hi", complexity=0.1)
    assert len(asked) == 2  # the caller's own complexity asks nobody


@pytest.mark.parametrize("hook", ["estimate", "judge"])
async def test_estimator_and_judge_fail_open(hook):
    def broken(self):
        raise KeyError("x")

    recorder = Recorder()
    async with fake_router(plugins=[plugin(hook, broken), recorder]) as router:
        reply = await router.generate("hi")
        assert router.metrics().plugin_failures == {f"the-{hook}": 1}
    (failure,) = recorder.plugin_failures
    assert (failure.plugin, failure.hook) == (f"the-{hook}", f"asyncrouter_{hook}")
    assert reply.text == "ok"
    assert reply.trace.estimate.complexity == (0.5 if hook == "estimate" else pytest.approx(0.0, abs=0.1))
    (note,) = reply.trace.notes
    assert note.startswith(f"{hook} failed, ")
    assert f"'the-{hook}', asyncrouter_{hook}: raised KeyError" in note


@pytest.mark.parametrize("result", [KeyError("x"), "junk"], ids=["raises", "junk"])
@pytest.mark.parametrize("hook", ["select", "retry", "fallback", "filter", "transform"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_other_decisions_fail_closed(hook, result, streamed):
    def broken(self):
        if isinstance(result, Exception):
            raise result
        return result

    provider = FakeProvider(Fail(ServerError))
    async with fake_router(provider, plugins=[plugin(hook, broken)]) as router:
        with pytest.raises(PluginContractError, match=f"'the-{hook}', asyncrouter_{hook}: r") as caught:
            await ask(router, streamed)
    assert (caught.value.plugin, caught.value.hook) == (f"the-{hook}", f"asyncrouter_{hook}")
    assert len(provider.calls) == (hook in {"retry", "fallback"})


@pytest.mark.parametrize(
    ("hook", "answer"),
    [
        ("select", lambda self: Selection(deployments=(Deployment(name="c", provider="fake", model="m"),))),
        ("filter", lambda self: (Deployment(name="a", provider="fake", model="m"),)),
        ("fallback", lambda self, attempt: Fallback(group="chat")),
    ],
    ids=["select", "filter", "fallback"],
)
async def test_what_was_not_given_may_not_be_named(hook, answer):
    async with fake_router(Fail(ServerError), plugins=[plugin(hook, answer)]) as router:
        with pytest.raises(PluginContractError, match=f"asyncrouter_{hook}"):
            await router.generate("hi")


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_a_retry_is_a_permission_unless_it_comes_before_the_fallback():
    def permission(self):
        return Retry(1.0)

    def order(self):
        return Retry(1.0, before_fallback=True)

    for function, asked in ((permission, ["a", "b"]), (order, ["a", "a"])):
        provider = FakeProvider({"a": [Fail(ServerError), Reply()], "b": Reply()})
        async with fake_router(provider, plugins=[plugin("retry", function)]) as router:
            await router.generate("hi")
        assert [call.deployment.name for call in provider.calls] == asked


async def test_a_stream_is_not_judged():
    async with fake_router(plugins=[plugin("judge", lambda self: Verdict(accept=False))]) as router:
        outcomes = [(await ask(router, streamed)).trace.attempts[-1].outcome for streamed in (False, True)]
    assert outcomes == ["rejected", "ok"]


# ------------------------------------------------------------------------------------------------ observe


@pytest.mark.parametrize("streamed", [False, True])
async def test_observers_are_isolated_and_counted(streamed):
    def broken(self, event):
        raise KeyError("x")

    before, after = Recorder("before"), Recorder("after")
    async with fake_router(plugins=[before, plugin("observe", broken), after]) as router:
        await ask(router, streamed)
        assert router.metrics().plugin_failures == {"the-observe": 2}
    assert [type(event) for event in before.events] == [AttemptFinished, RequestFinished]
    assert after.events == before.events


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_a_call_that_the_caller_leaves_is_told_without_answer_and_error():
    recorder = Recorder()
    async with fake_router(Slow(100), plugins=[recorder]) as router:
        with anyio.move_on_after(10):
            await router.generate("hi")
    (finished,) = recorder.finished
    assert (finished.response, finished.error) == (None, None)
    assert [attempt.outcome for attempt in finished.trace.attempts] == ["cancelled"]


async def test_a_request_keeps_the_plugins_that_it_entered_with():
    arrived, go_on = anyio.Event(), anyio.Event()

    async def hold(self, call, request):
        arrived.set()
        await go_on.wait()
        return await call(request)

    late = plugin("select", lambda self, candidates: Selection(deployments=candidates[::-1]))
    replies = []
    async with fake_router(plugins=[plugin("around_request", hold)]) as router, anyio.create_task_group() as tasks:

        async def ask():
            replies.append(await router.generate("hi"))

        tasks.start_soon(ask)
        await arrived.wait()
        router.register(late)
        go_on.set()
    assert [reply.deployment for reply in replies] == ["a"]
