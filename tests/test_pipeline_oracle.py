"""pluggy is the specification of the compiler: compiled pipelines against pluggy's own calls, on random managers.

``ASYNCROUTER_ORACLE_EXAMPLES`` sets the number of managers.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from plugin_twins import (
    FIRST,
    GIVEN,
    HOT,
    ONIONS,
    STREAM_ONIONS,
    Compiled,
    Oracle,
    Pause,
    collected,
    folded,
    full,
    histories,
    nested,
    nested_stream,
    run,
    seen,
)

from asyncrouter.hooks.manager import ARGUMENTS, ASYNC_HOOKS, HookManager
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.types.decisions import GiveUp
from asyncrouter.types.request import EMPTY
from asyncrouter.types.response import Chunk, Response

EXAMPLES = int(os.environ.get("ASYNCROUTER_ORACLE_EXAMPLES", "2500"))


# ------------------------------------------------------------------ the comparisons


def compare_first(hook, pipeline, compiled, oracle):
    expected, calls = oracle.call(hook)
    call = getattr(pipeline, hook)
    if call is None:
        assert not calls
        return
    compiled.log.clear()
    result = call(*(GIVEN[name] for name in ARGUMENTS[full(hook)]))
    if hasattr(result, "__await__"):
        assert full(hook) in ASYNC_HOOKS
        result = run(result)
    assert result is expected
    assert_same_calls(compiled.log, calls)


def compare_fold(hook, pipeline, compiled, oracle):
    expected, calls = folded(hook, oracle.order(hook))
    call = getattr(pipeline, hook)
    if call is None:
        assert not calls
        return
    compiled.log.clear()
    result = call(*(GIVEN[name] for name in ARGUMENTS[full(hook)]))
    assert result == expected
    assert [name for name, _ in compiled.log] == [name for name, _ in calls]
    assert compiled.log == calls


def compare_observers(pipeline, compiled, oracle):
    names, calls = oracle.call("observe")
    if pipeline.observe is None:
        assert not names
        return
    compiled.log.clear()
    compiled.failures.clear()
    pipeline.observe(GIVEN["event"])
    assert_same_calls(compiled.log, calls)
    failing = [name for name, impl in oracle.order("observe") if impl.behaviour == 0]
    assert [failure.plugin for failure in compiled.failures] == failing


def compare_onion(hook, pipeline, compiled, oracle):
    expected_log = []
    values = {name: GIVEN[name] for name in ARGUMENTS[full(hook)][1:]}
    expected = nested(hook, oracle.order(hook), values, expected_log)

    async def core(*arguments):
        await Pause()
        compiled.log.append(("", seen(dict(zip(values, arguments, strict=True)))))
        return Response(raw=EMPTY, deployment="a", model="core")

    compiled.log.clear()
    around = getattr(pipeline, hook)
    response = run((core if around is None else around(core))(*values.values()))
    assert response.model == expected
    assert compiled.log == expected_log


def compare_stream_onion(hook, pipeline, compiled, oracle):
    order = oracle.order(hook)
    wrap = getattr(pipeline, hook)
    if wrap is None:
        assert not order
        return

    async def core():
        for path in ("one", "two"):
            await Pause()
            yield Chunk({"path": path})

    values = [GIVEN[name] for name in ARGUMENTS[full(hook)][1:]]
    assert run(collected(wrap(core(), *values))) == nested_stream(order)


def assert_same_calls(calls, expected):
    assert [name for name, _ in calls] == [name for name, _ in expected]
    for (_, received), (_, wanted) in zip(calls, expected, strict=True):
        assert received.keys() == wanted.keys()
        assert all(received[name] is wanted[name] for name in wanted)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_the_compiled_pipeline_does_what_pluggy_does(history):
    compiled, oracle = Compiled(), Oracle()
    *earlier, last = history
    for plan in earlier:
        compiled.toggle(plan)
        oracle.toggle(plan)
    before, order_before = compiled.pipeline(), [name for name, _ in oracle.order("observe")]
    compiled.toggle(last)
    oracle.toggle(last)
    pipeline = compiled.pipeline()
    for hook in FIRST:
        compare_first(hook, pipeline, compiled, oracle)
    for hook in ("transform", "filter"):
        compare_fold(hook, pipeline, compiled, oracle)
    compare_observers(pipeline, compiled, oracle)
    for hook in ONIONS:
        compare_onion(hook, pipeline, compiled, oracle)
    for hook in STREAM_ONIONS:
        compare_stream_onion(hook, pipeline, compiled, oracle)
    compiled.log.clear()
    if before.observe is not None:  # a pipeline is frozen: what is registered later does not reach it
        before.observe(GIVEN["event"])
    assert [name for name, _ in compiled.log] == order_before


@settings(max_examples=max(200, EXAMPLES // 10))
@given(history=histories())
def test_sync_hooks_compare_directly_with_the_same_managers_own_call(history):
    compiled = Compiled()
    for plan in history:
        compiled.toggle(plan)
    pipeline = compiled.pipeline()
    for hook in ("retry", "fallback"):
        names = ARGUMENTS[full(hook)]
        compiled.log.clear()
        result = getattr(pipeline, hook)(*(GIVEN[name] for name in names))
        calls = list(compiled.log)
        compiled.log.clear()
        assert result is getattr(compiled.manager.hook, full(hook))(**{name: GIVEN[name] for name in names})
        assert_same_calls(calls, compiled.log)


def test_every_hot_hook_is_compared():
    compared = {*FIRST, "transform", "filter", "observe", *ONIONS, *STREAM_ONIONS}
    assert compared == set(HOT)
    cold = {"asyncrouter_register", "asyncrouter_startup", "asyncrouter_shutdown"}
    assert {full(hook) for hook in HOT} | cold == set(ARGUMENTS)


def test_arguments_with_a_default_are_given_too():
    """As by pluggy from 1.7 on; in 1.6 they keep their default."""

    class Plugin:
        @hookimpl
        def asyncrouter_retry(self, attempt, trace="default"):
            return GiveUp(str(trace))

    manager = HookManager()
    manager.register(Plugin())
    assert compile_pipeline(manager, pytest.fail).retry(1, 2, 3, 4) == GiveUp("3")
