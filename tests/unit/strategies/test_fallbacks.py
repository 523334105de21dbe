from __future__ import annotations

import pytest

from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.strategies.fallbacks.onward import GroupChainFallback, NextFallback
from asyncrouter.strategies.fallbacks.special import ContentFilterFallback, LargerContextFallback
from asyncrouter.types.decisions import Fallback, GiveUp
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ContextWindowExceeded,
    Disposition,
    InvalidRequest,
    ServerError,
)

PERMITTING = [ServerError("secret words"), AuthenticationFailed("secret words")]
FORBIDDING = [None, InvalidRequest(), ContentFiltered(), ContextWindowExceeded()]


def compiled(*strategies):
    manager = HookManager()
    for number, strategy in enumerate(strategies):
        manager.register(strategy, str(number))
    return compile_pipeline(manager, print).fallback


# ---------------------------------------------------------------- next


@pytest.mark.parametrize("error", PERMITTING)
def test_next_is_the_first_remaining(deploy, failed, error):
    b, c = deploy("b", "c")
    found = NextFallback().asyncrouter_fallback(failed(error), (b, c))
    assert found == Fallback(deployment=b, reason=f"after {type(error).__name__}")


@pytest.mark.parametrize("error", FORBIDDING)
def test_next_declines_where_the_error_forbids_it(deploy, failed, error):
    assert NextFallback().asyncrouter_fallback(failed(error), deploy("b")) is None


def test_next_declines_when_none_remains(failed):
    assert NextFallback().asyncrouter_fallback(failed(ServerError()), ()) is None


def test_next_goes_by_the_disposition_not_by_the_class(deploy, failed):
    error = ServerError(disposition=Disposition.RAISE)
    assert NextFallback().asyncrouter_fallback(failed(error), deploy("b")) is None


# ---------------------------------------------------------------- group chain


@pytest.mark.parametrize("error", PERMITTING)
def test_the_chain_goes_to_the_next_group_not_visited(failed, course, error):
    chain = GroupChainFallback(groups=["x", "y"])
    first = chain.asyncrouter_fallback(failed(error), course())
    second = chain.asyncrouter_fallback(failed(error), course(groups=["chat", "x"]))
    assert first == Fallback(group="x", reason=f"after {type(error).__name__}")
    assert second == Fallback(group="y", reason=f"after {type(error).__name__}")


def test_the_chain_declines_when_all_were_visited(failed, course):
    trace = course(groups=["chat", "y", "x"])
    assert GroupChainFallback(groups=["x", "y"]).asyncrouter_fallback(failed(ServerError()), trace) is None


@pytest.mark.parametrize("error", FORBIDDING)
def test_the_chain_declines_where_the_error_forbids_it(failed, course, error):
    assert GroupChainFallback(groups=["x"]).asyncrouter_fallback(failed(error), course()) is None


@pytest.mark.parametrize("strategy", [GroupChainFallback, LargerContextFallback, ContentFilterFallback])
def test_groups_are_a_list_of_names(strategy):
    with pytest.raises(ValueError, match=r"^groups: expected a list of names, not the string 'x'$"):
        strategy(groups="x")


def test_registered_first_answers_first(deploy, failed, course, ask):
    call = compiled(NextFallback(), GroupChainFallback(groups=["x"]))
    (b,) = deploy("b")
    assert call(ask("hi"), failed(ServerError()), course(), (b,)).deployment is b
    assert call(ask("hi"), failed(ServerError()), course(), ()).group == "x"


# ---------------------------------------------------------------- larger context


def windowed(deploy, **windows):
    return tuple(deploy(name, context_window=window)[0] for name, window in windows.items())


@pytest.mark.parametrize("error", [None, *PERMITTING, ContentFiltered(), InvalidRequest()])
def test_larger_context_is_for_one_error_only(deploy, failed, course, error):
    remaining = windowed(deploy, b=9000)
    assert LargerContextFallback().asyncrouter_fallback(failed(error), course(selected=remaining), remaining) is None


def test_the_largest_remaining_window_is_taken(deploy, failed, course):
    a, b, c, d, e = windowed(deploy, a=8000, b=None, c=16_000, d=128_000, e=128_000)
    trace = course(selected=(a, b, c, d, e))
    found = LargerContextFallback().asyncrouter_fallback(failed(ContextWindowExceeded()), trace, (b, c, d, e))
    assert found == Fallback(deployment=d, reason="window 128000 instead of 8000 tokens")


@pytest.mark.parametrize(("own", "other"), [(8000, 8000), (8000, 4000), (8000, None), (None, 9000), (None, None)])
def test_without_a_larger_window_it_gives_up(deploy, failed, course, own, other):
    a, b = windowed(deploy, a=own, b=other)
    found = LargerContextFallback().asyncrouter_fallback(failed(ContextWindowExceeded()), course(selected=(a, b)), (b,))
    assert found == GiveUp("no larger context window")


def test_without_a_larger_window_another_group_is_asked(deploy, failed, course):
    strategy, (a,) = LargerContextFallback(groups=["long", "longer"]), windowed(deploy, a=8000)
    attempt = failed(ContextWindowExceeded())
    first = strategy.asyncrouter_fallback(attempt, course(selected=(a,)), ())
    assert first == Fallback(group="long", reason="after ContextWindowExceeded")
    visited = course(selected=(a,), groups=["chat", "long", "longer"])
    assert strategy.asyncrouter_fallback(attempt, visited, ()) == GiveUp("no larger context window")


def test_a_failed_deployment_that_no_selection_knows_has_no_window(deploy, failed, course):
    strategy, remaining = LargerContextFallback(), windowed(deploy, b=9000)
    attempt = failed(ContextWindowExceeded(), "a")
    assert isinstance(strategy.asyncrouter_fallback(attempt, course(), remaining), GiveUp)
    assert isinstance(strategy.asyncrouter_fallback(attempt, course(selected=remaining), remaining), GiveUp)


# ---------------------------------------------------------------- content filter


@pytest.mark.parametrize("error", [None, *PERMITTING, InvalidRequest(), ContextWindowExceeded()])
def test_content_filter_is_for_one_error_only(deploy, failed, course, error):
    assert ContentFilterFallback().asyncrouter_fallback(failed(error), course(), deploy("b")) is None


def test_after_a_refusal_the_next_deployment_then_a_group_then_nothing(deploy, failed, course):
    strategy, attempt, (b,) = ContentFilterFallback(groups=["x"]), failed(ContentFiltered()), deploy("b")
    assert strategy.asyncrouter_fallback(attempt, course(), (b,)).deployment is b
    assert strategy.asyncrouter_fallback(attempt, course(), ()).group == "x"
    gone = strategy.asyncrouter_fallback(attempt, course(groups=["chat", "x"]), ())
    assert gone == GiveUp("no other content policy to ask")


def test_a_refusal_goes_nowhere_unless_asked_for(deploy, failed, course, ask):
    call = compiled(NextFallback(), GroupChainFallback(groups=["x"]), LargerContextFallback())
    assert call(ask("hi"), failed(ContentFiltered()), course(), deploy("b")) is None
    opted_in = compiled(NextFallback(), GroupChainFallback(groups=["x"]), ContentFilterFallback())
    assert opted_in(ask("hi"), failed(ContentFiltered()), course(), deploy("b")).deployment.name == "b"
