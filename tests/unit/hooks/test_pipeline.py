"""Compiled hooks when plugins misbehave: what is raised names plugin and hook, and nothing stays open.

What they do when plugins behave is held against pluggy in ``tests/test_pipeline_oracle.py``.
"""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import anyio.lowlevel
import pytest

from asyncrouter.hooks.manager import ARGUMENTS, HookManager
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import InvalidRequest, PluginContractError, RateLimited
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import Chunk, Response

A, B, STRANGE = (Deployment(name=name, provider="fake", model="m") for name in ("a", "b", "strange"))
ASK = Request(messages=[{"role": "user", "content": "hi"}])
ANSWER = Response(raw=EMPTY, deployment="a", model="m")
GIVEN = {"request": ASK, "candidates": (A, B), "remaining": (A, B), "deployment": A}


def pipeline_of(*plugins, on_failure=pytest.fail):
    manager = HookManager()
    for number, plugin in enumerate(plugins):
        manager.register(plugin, f"plugin-{number}")
    return compile_pipeline(manager, on_failure)


def plugin(hook, function):
    return type("Plugin", (), {f"asyncrouter_{hook}": staticmethod(hookimpl(function))})()


async def ask(pipeline, hook):
    """Call one of the decision hooks or folds with whatever it takes."""
    result = getattr(pipeline, hook)(*(GIVEN.get(name) for name in ARGUMENTS[f"asyncrouter_{hook}"]))
    return await result if hasattr(result, "__await__") else result


def named(hook, name="plugin-0"):
    return rf"^plugin '{name}', asyncrouter_{hook}: "


# ------------------------------------------------------------------ nobody, or nobody who answers


def test_what_costs_is_not_there_when_nobody_implements_it():
    pipeline = pipeline_of(plugin("retry", lambda attempt: None))
    absent = ("transform", "judge", "observe", "around_request", "around_request_stream", "around_attempt_stream")
    assert [getattr(pipeline, name) for name in absent] == [None] * len(absent)


@pytest.mark.parametrize("hook", ["estimate", "select", "retry", "fallback"])
async def test_without_an_answer_there_is_none(hook):
    assert await ask(pipeline_of(plugin("observe", lambda event: None)), hook) is None
    assert await ask(pipeline_of(plugin(hook, lambda: None)), hook) is None


def test_folds_and_onions_of_nobody_change_nothing():
    pipeline = pipeline_of(plugin("observe", lambda event: None))
    assert pipeline.filter(ASK, (A,), None) == (A,)

    async def call(request):
        return ANSWER

    assert pipeline.around_attempt(call) is call


def test_an_implementation_of_all_arguments_is_called_without_a_detour():
    def asked(request):
        return None

    one = plugin("transform", asked)
    manager = HookManager()
    manager.register(one)
    (implementation,) = manager.implementations("asyncrouter_transform")
    assert implementation.function is asked


async def test_a_plain_function_may_return_something_to_await():
    async def answer():
        await anyio.lowlevel.checkpoint()
        return Estimate(complexity=0.25)

    def in_a_task():
        return asyncio.ensure_future(answer())

    for estimate in (answer, in_a_task):
        assert await ask(pipeline_of(plugin("estimate", estimate)), "estimate") == Estimate(complexity=0.25)


# ------------------------------------------------------------------ raising

DECISIONS = ["estimate", "select", "retry", "fallback", "judge", "transform", "filter"]


@pytest.mark.parametrize("hook", DECISIONS)
async def test_what_a_plugin_raises_is_a_contract_error_that_names_it(hook):
    def fail():
        raise KeyError("a prompt may stand here")

    with pytest.raises(PluginContractError, match=named(hook) + "raised KeyError$") as caught:
        await ask(pipeline_of(plugin(hook, fail)), hook)
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.plugin, caught.value.hook) == ("plugin-0", f"asyncrouter_{hook}")


@pytest.mark.parametrize("hook", ["estimate", "select", "judge"])
async def test_an_async_plugin_fails_alike(hook):
    async def fail():
        await anyio.lowlevel.checkpoint()
        raise StopAsyncIteration

    with pytest.raises(PluginContractError, match=named(hook) + "raised StopAsyncIteration"):
        await ask(pipeline_of(plugin(hook, fail)), hook)


@pytest.mark.parametrize("hook", DECISIONS)
async def test_the_routers_own_errors_pass_as_they_are(hook):
    error = InvalidRequest("guardrail: no")

    def refuse():
        raise error

    with pytest.raises(InvalidRequest) as caught:
        await ask(pipeline_of(plugin(hook, refuse)), hook)
    assert caught.value is error


@pytest.mark.parametrize("hook", DECISIONS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_passes(hook, error):
    def leave():
        raise error

    with pytest.raises(error):
        await ask(pipeline_of(plugin(hook, leave)), hook)


@pytest.mark.parametrize("hook", DECISIONS)
async def test_a_cancellation_that_nobody_asked_for_is_the_plugins_own_failure(hook):
    """It awaited a task of its own that was cancelled, say: the caller has not left."""

    def leave():
        raise asyncio.CancelledError

    with pytest.raises(PluginContractError, match=named(hook) + "raised CancelledError"):
        await ask(pipeline_of(plugin(hook, leave)), hook)


async def test_cancelling_a_waiting_hook_cancels_it():
    ended = []

    async def wait():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    task = asyncio.ensure_future(ask(pipeline_of(plugin("estimate", wait)), "estimate"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


@pytest.mark.parametrize("hook", DECISIONS)
async def test_who_comes_later_is_not_asked_after_a_failure(hook):
    asked = []

    def fail():
        raise ValueError

    with pytest.raises(PluginContractError, match=named(hook, "plugin-1")):
        await ask(pipeline_of(plugin(hook, lambda: asked.append(1)), plugin(hook, fail)), hook)
    assert asked == []


# ------------------------------------------------------------------ junk

JUNK = [
    ("estimate", 0.5, "returned float, expected Estimate or None"),
    ("estimate", Estimate, "returned type, expected Estimate or None"),
    ("select", (A,), "returned tuple, expected Selection or None"),
    ("select", Selection(deployments=(A, STRANGE)), "returned Selection, expected a Selection of the candidates"),
    ("retry", 1.0, "returned float, expected Retry or GiveUp or None"),
    ("retry", False, "returned bool, expected Retry or GiveUp or None"),
    ("retry", Fallback(group="g"), "returned Fallback, expected Retry or GiveUp or None"),
    ("fallback", A, "returned Deployment, expected Fallback or GiveUp or None"),
    ("fallback", Fallback(deployment=STRANGE), "returned Fallback, expected a Fallback to one of the remaining"),
    ("judge", True, "returned bool, expected Verdict or None"),
    ("transform", {"messages": []}, "returned dict, expected Request or None"),
    ("filter", [A], "returned list, expected tuple or None"),
    ("filter", (STRANGE,), "returned tuple, expected some of the candidates that it was given, each once"),
    ("filter", (A, A), "returned tuple, expected some of the candidates"),
    ("filter", ("a",), "returned tuple, expected some of the candidates"),
    ("filter", (A, B, STRANGE), "returned tuple, expected some of the candidates"),
]


@pytest.mark.parametrize(("hook", "result", "message"), JUNK)
async def test_junk_is_a_contract_error_that_names_the_plugin(hook, result, message):
    with pytest.raises(PluginContractError, match=named(hook) + message) as caught:
        await ask(pipeline_of(plugin(hook, lambda: result)), hook)
    assert (caught.value.plugin, caught.value.hook) == ("plugin-0", f"asyncrouter_{hook}")


GOOD = [
    ("estimate", Estimate(complexity=0.0)),
    ("select", Selection(deployments=(B,))),
    ("retry", Retry(0.0)),
    ("retry", GiveUp()),
    ("fallback", Fallback(deployment=B)),
    ("fallback", Fallback(group="g")),
    ("fallback", GiveUp()),
    ("judge", Verdict(accept=False)),
    ("transform", Request(messages=[])),
    ("filter", ()),
    ("filter", (B,)),
    ("filter", (B, A)),
]


@pytest.mark.parametrize(("hook", "result"), GOOD)
async def test_a_good_answer_passes_as_it_is(hook, result):
    assert await ask(pipeline_of(plugin(hook, lambda: result)), hook) is result


def test_a_fold_goes_on_with_what_it_had_where_a_plugin_declines():
    declines = plugin("filter", lambda: None)
    first = plugin("filter", lambda candidates: candidates[:1])
    assert pipeline_of(declines, first, declines.__class__()).filter(ASK, (A, B), None) == (A,)


def test_a_filter_may_only_keep_what_the_one_before_left():
    dropped = plugin("filter", lambda candidates: candidates[:1])
    revived = plugin("filter", lambda: (A, B))
    with pytest.raises(PluginContractError, match=named("filter", "plugin-0")):
        pipeline_of(revived, dropped).filter(ASK, (A, B), None)
    assert pipeline_of(dropped, revived).filter(ASK, (A, B), None) == (A,)


# ------------------------------------------------------------------ observers


def test_observers_are_isolated_and_every_failure_is_told():
    seen, failures = [], []

    def fail(event):
        raise ValueError("x")

    pipeline = pipeline_of(
        plugin("observe", lambda event: seen.append(event)),  # noqa: PLW0108 - a builtin takes no mark
        plugin("observe", fail),
        plugin("observe", lambda: seen.append("no argument")),
        plugin("observe", fail),
        on_failure=failures.append,
    )
    assert pipeline.observe("event") is None
    assert seen == ["no argument", "event"]
    assert [failure.plugin for failure in failures] == ["plugin-3", "plugin-1"]
    assert {str(failure) for failure in failures} == {
        "plugin 'plugin-1', asyncrouter_observe: raised ValueError",
        "plugin 'plugin-3', asyncrouter_observe: raised ValueError",
    }
    assert all(isinstance(failure.__cause__, ValueError) for failure in failures)


# ------------------------------------------------------------------ onions


@pytest.mark.parametrize(("hook", "arguments"), [("around_request", (ASK,)), ("around_attempt", (ASK, A))])
async def test_a_layer_that_fails_or_answers_junk_is_named(hook, arguments):
    async def core(*given):
        assert given == arguments
        return ANSWER

    async def fail(call):
        raise KeyError

    async def junk(call):
        return "text"

    async def cancel(call):
        raise asyncio.CancelledError

    async def passing(call, request):
        return await call(*arguments)

    cases = (fail, "raised KeyError"), (cancel, "raised CancelledError"), (junk, "returned str, expected Response")
    for layer, message in cases:
        call = getattr(pipeline_of(plugin(hook, layer), plugin(hook, passing)), hook)(core)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await call(*arguments)
    assert await getattr(pipeline_of(plugin(hook, passing)), hook)(core)(*arguments) is ANSWER


@pytest.mark.parametrize(("hook", "arguments"), [("around_request", (ASK,)), ("around_attempt", (ASK, A))])
async def test_a_layer_that_is_cancelled_is_not_at_fault(hook, arguments):
    async def core(*given):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def passing(call, request):
        return await call(*arguments)

    call = getattr(pipeline_of(plugin(hook, passing)), hook)(core)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(call(*arguments))


async def test_the_errors_of_the_call_pass_through_the_layers():
    error = RateLimited("slow down")

    async def core(request):
        raise error

    async def passing(call, request):
        return await call(request)

    with pytest.raises(RateLimited) as caught:
        await pipeline_of(*(plugin("around_request", passing) for _ in range(3))).around_request(core)(ASK)
    assert caught.value is error


# ------------------------------------------------------------------ onions around streams

STREAMS = [("around_request_stream", (ASK,)), ("around_attempt_stream", (ASK, A))]


class Source:
    """An upstream's chunks, and whether they were closed."""

    def __init__(self, count=3):
        self.closed = False
        self.count = count

    async def chunks(self):
        try:
            for number in range(self.count):
                yield Chunk({"number": number})
        finally:
            self.closed = True


async def sloppy(chunks):
    """Pass everything on, and close nothing."""
    async for chunk in chunks:
        yield chunk


async def careful(chunks):
    async with contextlib.aclosing(chunks) as inner:
        async for chunk in inner:
            yield chunk


async def numbers(chunks):
    return [chunk.raw["number"] async for chunk in chunks]


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
@pytest.mark.parametrize("layers", [[sloppy], [careful], [sloppy, careful], [careful, sloppy], [sloppy, sloppy]])
async def test_leaving_a_stream_closes_it_to_the_bottom_whatever_the_layers_forget(hook, arguments, layers):
    source = Source()
    wrap = getattr(pipeline_of(*(plugin(hook, layer) for layer in layers)), hook)
    chunks = wrap(source.chunks(), *arguments)
    assert (await anext(chunks)).raw == {"number": 0}
    assert not source.closed
    await chunks.aclose()
    assert source.closed

    source = Source()
    assert await numbers(wrap(source.chunks(), *arguments)) == [0, 1, 2]
    assert source.closed


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_layer_that_stops_early_closes_what_is_under_it(hook, arguments):
    async def two(chunks):
        yield await anext(chunks)
        yield await anext(chunks)

    source = Source()
    assert await numbers(getattr(pipeline_of(plugin(hook, two)), hook)(source.chunks(), *arguments)) == [0, 1]
    assert source.closed


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_stream_layer_that_misbehaves_is_named(hook, arguments):
    async def fail(chunks):
        yield await anext(chunks)
        raise KeyError

    async def junk(chunks):
        yield "text"

    for layer, message in ((fail, "raised KeyError"), (junk, "returned str, expected Chunk")):
        source = Source()
        chunks = getattr(pipeline_of(plugin(hook, layer), plugin(hook, sloppy)), hook)(source.chunks(), *arguments)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await numbers(chunks)
        assert source.closed or layer is junk  # that one had not begun to read


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_layer_that_fails_while_it_is_closed_is_named_and_all_is_closed(hook, arguments):
    async def clumsy(chunks):
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            raise ZeroDivisionError

    async def stubborn(chunks):
        try:
            async for chunk in chunks:
                yield chunk
        except GeneratorExit:
            yield Chunk({"number": -1})

    for layer, message in ((clumsy, "raised ZeroDivisionError"), (stubborn, "raised RuntimeError")):
        source = Source()
        chunks = getattr(pipeline_of(plugin(hook, layer)), hook)(source.chunks(), *arguments)
        await anext(chunks)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await chunks.aclose()
        assert source.closed


async def test_errors_of_the_stream_pass_as_they_are():
    error = RateLimited("slow down")

    async def broken():
        yield Chunk({"number": 0})
        raise error

    chunks = pipeline_of(plugin("around_request_stream", sloppy)).around_request_stream(broken(), ASK)
    await anext(chunks)
    with pytest.raises(RateLimited) as caught:
        await anext(chunks)
    assert caught.value is error


async def test_an_iterator_that_cannot_be_closed_will_do():
    class Plain:
        def __init__(self):
            self.left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return Chunk({"number": self.left})

    chunks = pipeline_of(plugin("around_attempt_stream", sloppy)).around_attempt_stream(Plain(), ASK, A)
    assert await numbers(chunks) == [1, 0]


async def test_cancelling_a_stream_closes_it():
    source = Source()

    async def stall(chunks):
        yield await anext(chunks)
        await anyio.sleep_forever()

    chunks = pipeline_of(plugin("around_request_stream", stall)).around_request_stream(source.chunks(), ASK)
    await anext(chunks)
    task = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed


def test_the_estimators_that_await_are_named_and_the_plain_ones_are_not():
    async def waits():
        return None

    names = pipeline_of(plugin("estimate", waits), plugin("estimate", lambda: None)).awaiting_estimators
    assert len(names) == 1
    assert pipeline_of(plugin("estimate", lambda: None)).awaiting_estimators == ()
