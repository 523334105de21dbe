"""Errors of the request itself: raised as they are, harming no deployment, and what another one may cure."""

from __future__ import annotations

import anyio
import pytest
from routed import EXACT, routed

from asyncrouter import ContentFiltered, ContextWindowExceeded, InvalidRequest, ServerError
from asyncrouter.testing import Fail, Reply


@pytest.mark.parametrize("error", [InvalidRequest, ContentFiltered])
async def test_an_error_of_the_request_is_raised_itself_with_the_trace(error):
    async with routed({"a": Fail(error, message="no"), "b": Reply()}) as r:
        caught = await r.fails(error)
        assert r.router.metrics().deployments["a"].breaker == "closed"
    assert str(caught) == "no"
    assert [one.deployment for one in caught.trace.attempts] == ["a"]
    assert caught.deployment == "a"


async def test_also_as_the_last_attempt_that_is_allowed():
    async with routed({"a": Fail(InvalidRequest), "b": Reply()}, max_attempts=1) as r:
        await r.fails(InvalidRequest)


async def test_also_after_other_failures():
    async with routed({"a": Fail(ServerError), "b": Fail(InvalidRequest)}) as r:
        error = await r.fails(InvalidRequest)
    assert [one.deployment for one in error.trace.attempts] == ["a", "b"]


async def test_errors_of_the_request_never_open_a_breaker():
    async with routed(Fail(InvalidRequest), breaker={"failures": 1}) as r:
        for _ in range(5):
            await r.fails(InvalidRequest)
        assert r.router.metrics().deployments["a"].breaker == "closed"


WINDOWS = {"small": {"context_window": 4000}, "middle": {"context_window": 8000}, "large": {"context_window": 16000}}


async def test_a_prompt_too_long_goes_to_a_larger_window_only():
    script = {"middle": Fail(ContextWindowExceeded), "small": Reply("wrong"), "large": Reply("fits")}
    async with routed(script, groups={"chat": {"deployments": ["middle", "small", "large"]}}, deployments=WINDOWS) as r:
        reply = await r.ask()
    assert reply.text == "fits"
    assert r.called[:2] == ["middle", "large"]
    assert reply.trace.attempts[1].reason == "window 16000 instead of 8000 tokens on middle"


async def test_without_a_larger_window_the_error_is_raised():
    script = {"large": Fail(ContextWindowExceeded), "small": Reply(), "middle": Reply()}
    async with routed(script, groups={"chat": {"deployments": ["large", "small", "middle"]}}, deployments=WINDOWS) as r:
        await r.fails(ContextWindowExceeded)
        assert r.called == ["large"]


async def test_the_smaller_windows_stay_out_when_the_larger_one_fails_otherwise():
    script = {
        "middle": Fail(ContextWindowExceeded),
        "small": Reply("wrong"),
        "large": [Fail(ServerError), Reply("large")],
    }
    async with routed(
        script, groups={"chat": {"deployments": ["middle", "small", "large"], "retry": EXACT}}, deployments=WINDOWS
    ) as r:
        assert (await r.ask()).text == "large"
    assert r.timeline[:3] == [("middle", 0), ("large", 0), ("large", 1)]


async def test_the_smaller_windows_stay_out_of_further_rounds_too():
    script = {
        "middle": Fail(ContextWindowExceeded),
        "small": Reply("wrong"),
        "large": [Fail(ServerError), Fail(ServerError), Reply("large")],
    }
    async with routed(
        script, groups={"chat": {"deployments": ["middle", "small", "large"], "retry": EXACT}}, deployments=WINDOWS
    ) as r:
        assert (await r.ask()).text == "large"
    assert r.timeline[:4] == [("middle", 0), ("large", 0), ("large", 1), ("large", 3)]


async def test_a_prompt_too_long_may_go_to_another_group():
    groups = {"chat": {"deployments": ["small"], "fallbacks": ["long"]}, "long": {"deployments": ["large"]}}
    script = {"small": Fail(ContextWindowExceeded), "large": Reply("fits")}
    async with routed(script, groups=groups, deployments=WINDOWS) as r:
        assert (await r.ask()).text == "fits"


async def test_a_refusal_goes_elsewhere_only_where_that_is_asked_for():
    script = {"a": Fail(ContentFiltered), "b": Reply("no objection")}
    async with routed(script, fallback_on=["content_filter"]) as r:
        assert (await r.ask()).text == "no objection"
    async with routed({"a": Fail(ContentFiltered), "b": Fail(ContentFiltered)}, fallback_on=["content_filter"]) as r:
        error = await r.fails(ContentFiltered)
        assert r.called == ["a", "b"]
    assert error.deployment == "b"


async def test_an_error_of_the_request_is_raised_itself_when_the_group_to_go_to_is_not_ready():
    groups = {
        "chat": {"deployments": ["a"], "fallbacks": ["other"], "fallback_on": ["content_filter"]},
        "other": {"deployments": ["x"]},
    }
    async with routed({"a": Fail(ContentFiltered), "x": Reply()}, groups=groups) as r:
        r.state("x").cool_until(1000.0)
        await r.fails(ContentFiltered)
        assert anyio.current_time() == 0.0
