"""Compiled hooks when plugins misbehave: what is raised names plugin and hook.

What they do when plugins behave is held against pluggy in ``tests/test_pipeline_oracle.py``.
"""

from __future__ import annotations

import asyncio

import anyio
import anyio.lowlevel
import pytest
from compiled import ANSWER, ASK, STRANGE, A, B, named, pipeline_of, plugin

from asyncrouter.hooks.manager import ARGUMENTS, HookManager
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.errors import InvalidRequest, PluginContractError
from asyncrouter.types.ranking import Ranking
from asyncrouter.types.request import Request

GIVEN = {"request": ASK, "candidates": (A, B), "remaining": (A, B), "deployment": A}


async def ask(pipeline, hook):
    """Call one of the decision hooks or folds with whatever it takes."""
    result = getattr(pipeline, hook)(*(GIVEN.get(name) for name in ARGUMENTS[f"asyncrouter_{hook}"]))
    return await result if hasattr(result, "__await__") else result


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


def ranked(candidates):
    return Selection(deployments=Ranking(candidates, 0, lambda: candidates))


JUNK = [
    ("estimate", 0.5, "returned float, expected Estimate or None"),
    ("estimate", Estimate, "returned type, expected Estimate or None"),
    ("select", (A,), "returned tuple, expected Selection or None"),
    ("select", Selection(deployments=(A, STRANGE)), "returned Selection, expected a Selection of the candidates"),
    ("select", ranked((A, STRANGE)), "returned Selection, expected a Selection of the candidates"),
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
    ("select", ranked(GIVEN["candidates"])),
    ("select", ranked((B,))),
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


# ------------------------------------------------------------------ onions around streams


def test_the_estimators_that_await_are_named_and_the_plain_ones_are_not():
    async def waits():
        return None

    names = pipeline_of(plugin("estimate", waits), plugin("estimate", lambda: None)).awaiting_estimators
    assert len(names) == 1
    assert pipeline_of(plugin("estimate", lambda: None)).awaiting_estimators == ()
