"""The order of recovery, step by step, with exact times: a lost connection, the group, patience, fallback groups."""

from __future__ import annotations

import anyio
import pytest
from recovery import TWO_GROUPS, kinds
from routed import EXACT, routed

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Retry,
    ServerError,
    UnknownModelGroup,
    hookimpl,
)
from asyncrouter.testing import Fail, Hang, Reply

LOST = Fail(ConnectionFailed("gone", lost_before_answer=True))
REFUSED = Fail(ConnectionFailed)


# ---------------------------------------------------------------- 1: a lost connection


async def test_a_connection_lost_before_an_answer_is_tried_again_at_once_on_the_same_deployment():
    async with routed({"a": [LOST, Reply("from a")], "b": Reply("from b")}) as r:
        reply = await r.ask()
    assert reply.text == "from a"
    assert r.timeline[:2] == [("a", 0.0), ("a", 0.0)]
    assert reply.trace.waits == 0
    assert kinds(reply) == [("a", "first"), ("a", "retry")]


async def test_it_is_tried_again_once_only():
    async with routed({"a": LOST, "b": Reply("from b")}) as r:
        reply = await r.ask()
    assert kinds(reply) == [("a", "first"), ("a", "retry"), ("b", "fallback")]


async def test_once_for_the_whole_request_not_for_each_deployment():
    async with routed({"a": LOST, "b": LOST}, retry="none") as r:
        error = await r.fails(AllAttemptsFailed)
    assert [one.deployment for one in error.trace.attempts] == ["a", "a", "b"]


async def test_a_connection_that_was_refused_is_not_tried_again_at_once():
    async with routed({"a": [REFUSED, Reply("from a")], "b": Reply("from b")}) as r:
        assert (await r.ask()).text == "from b"


async def test_the_reconnection_does_not_count_as_an_attempt():
    async with routed({"a": [LOST, Fail(ServerError)], "b": Reply("from b")}, max_attempts=2) as r:
        assert (await r.ask()).text == "from b"
    assert r.called[:3] == ["a", "a", "b"]


async def test_nor_does_it_draw_on_the_retry_budget():
    async with routed([LOST, Reply()], settings={"retry_budget": 0.0, "retry_floor": 0}) as r:
        assert (await r.ask()).deployment == "a"


async def test_nor_does_it_count_for_the_breaker():
    def stale(_request, _deployment, number):  # every kept connection turns out to be closed
        return LOST if number % 2 else Reply()

    async with routed(stale, deployments={"a": {}}, breaker={"failures": 50, "ratio": 0.5, "min_calls": 20}) as r:
        for _ in range(40):
            assert (await r.ask()).deployment == "a"
        assert r.router.metrics().deployments["a"].breaker == "closed"


async def test_a_deployment_that_lost_the_new_connection_too_is_not_reconnected_to_by_the_next_requests():
    async with routed({"a": [LOST, LOST, LOST, LOST, Reply()], "b": Reply()}) as r:
        for _ in range(3):
            await r.ask()
        assert r.called == ["a", "a", "b", "a", "b", "a", "b"]
        assert (await r.ask()).deployment == "a"


async def test_a_deployment_that_loses_every_connection_opens_its_breaker_all_the_same():
    async with routed({"a": LOST, "b": Reply()}, breaker={"failures": 3}) as r:
        for _ in range(3):
            await r.ask()
        assert r.router.metrics().deployments["a"].breaker == "open"


# ---------------------------------------------------------------- 2: within the group


@pytest.mark.parametrize(
    "error",
    [RateLimited, Overloaded, ServerError, ConnectionFailed, AuthenticationFailed, QuotaExhausted, ModelNotFound],
)
async def test_another_deployment_of_the_group_answers_at_once(error):
    async with routed({"a": Fail(error), "b": Reply("from b")}) as r:
        reply = await r.ask()
    assert r.timeline[:2] == [("a", 0.0), ("b", 0.0)]
    assert kinds(reply) == [("a", "first"), ("b", "fallback")]
    assert reply.trace.attempts[1].reason == f"after {error.__name__} on a"
    assert reply.trace.waits == 0


async def test_a_silent_deployment_costs_its_timeout_and_is_not_asked_again():
    async with routed({"a": Hang(), "b": Reply("from b")}, timeouts={"attempt_s": 7.0}) as r:
        reply = await r.ask()
    assert r.timeline[:2] == [("a", 0.0), ("b", 7.0)]
    assert isinstance(reply.trace.attempts[0].error, AttemptTimedOut)
    assert reply.trace.attempts[0].duration_s == 7.0


async def test_all_deployments_of_the_group_are_tried_before_any_wait():
    script = {"a": [Fail(ServerError), Reply()], "b": Fail(ServerError), "c": Reply("from c")}
    async with routed(script, groups={"chat": {"deployments": ["a", "b", "c"]}}) as r:
        assert (await r.ask()).text == "from c"
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("c", 0.0)]


# ---------------------------------------------------------------- 3: patience


async def test_the_group_gets_one_more_try_before_it_is_left():
    script = {"a": Fail(ServerError), "b": [Fail(ServerError), Reply("patience")], "x": Reply(), "y": Reply()}
    async with routed(script, groups=TWO_GROUPS) as r:
        reply = await r.ask()
    assert reply.text == "patience"
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("b", 1.0)]
    assert (reply.trace.waits, reply.trace.waited_s) == (1, 1.0)


async def test_patience_is_had_once_a_group():
    script = {"a": Fail(ServerError), "b": Fail(ServerError), "x": Fail(ServerError), "y": Fail(ServerError)}
    groups = {**TWO_GROUPS, "other": {"deployments": ["x", "y"], "retry": EXACT}}
    async with routed(script, groups=groups, settings={"max_attempts": 9, "deadline_s": 1000}) as r:
        await r.fails(AllAttemptsFailed)
    # one wait of 1 s in the first group; the second wait of the request, 2 s, is within the patience of the second
    assert r.timeline[:6] == [("a", 0.0), ("b", 0.0), ("b", 1.0), ("x", 1.0), ("y", 1.0), ("y", 3.0)]


async def test_a_wait_longer_than_the_patience_leaves_the_group_at_once():
    groups = {
        **TWO_GROUPS,
        "chat": {**TWO_GROUPS["chat"], "retry": {**EXACT, "initial_delay_s": 2.6}, "patience_s": 2.5},
    }
    script = {"a": Fail(ServerError), "b": Fail(ServerError), "x": Reply("from x"), "y": Reply()}
    async with routed(script, groups=groups) as r:
        assert (await r.ask()).text == "from x"
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("x", 0.0)]


async def test_a_wait_of_exactly_the_patience_is_waited():
    groups = {
        **TWO_GROUPS,
        "chat": {**TWO_GROUPS["chat"], "retry": {**EXACT, "initial_delay_s": 2.5}, "patience_s": 2.5},
    }
    script = {"a": Fail(ServerError), "b": [Fail(ServerError), Reply()], "x": Reply(), "y": Reply()}
    async with routed(script, groups=groups) as r:
        assert (await r.ask()).deployment == "b"
    assert r.timeline[2] == ("b", 2.5)


async def test_no_patience_at_all_when_retries_are_off():
    groups = {**TWO_GROUPS, "chat": {**TWO_GROUPS["chat"], "retry": {"use": "exponential", "max_retries": 0}}}
    script = {"a": Fail(ServerError), "b": [Fail(ServerError), Reply()], "x": Reply("from x"), "y": Reply()}
    async with routed(script, groups=groups) as r:
        assert (await r.ask()).text == "from x"
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("x", 0.0)]


@pytest.mark.parametrize("error", [AuthenticationFailed, QuotaExhausted, ModelNotFound, AttemptTimedOut])
async def test_no_patience_for_what_waiting_does_not_cure(error):
    script = {"a": Fail(ServerError), "b": [Fail(error), Reply()], "x": Reply("from x"), "y": Reply()}
    async with routed(script, groups=TWO_GROUPS) as r:
        assert (await r.ask()).text == "from x"
    assert r.timeline[2] == ("x", 0.0)


async def test_no_patience_for_a_deployment_that_hangs():
    groups = {
        "chat": {"deployments": ["a"], "fallbacks": ["other"], "timeouts": {"attempt_s": 3.0}, "retry": EXACT},
        "other": {"deployments": ["x"]},
    }
    async with routed({"a": [Hang(), Reply()], "x": Reply("from x")}, groups=groups) as r:
        assert (await r.ask()).text == "from x"
    assert r.timeline[:2] == [("a", 0.0), ("x", 3.0)]


async def test_no_patience_with_an_open_breaker():
    groups = {
        "chat": {
            "deployments": ["a"],
            "retry": EXACT,
            "fallbacks": ["other"],
            "breaker": {"failures": 1, "open_s": 1.0, "open_cap_s": 1.0},
        },
        "other": {"deployments": ["x"]},
    }
    async with routed({"a": Fail(ServerError), "x": Reply("from x")}, groups=groups) as r:
        assert (await r.ask()).text == "from x"
    assert r.timeline[:2] == [("a", 0.0), ("x", 0.0)]


async def test_no_patience_when_the_shared_budget_is_spent():
    script = {"a": Fail(ServerError), "b": [Fail(ServerError), Reply()], "x": Reply("from x"), "y": Reply()}
    async with routed(script, groups=TWO_GROUPS, settings={"retry_budget": 0.0, "retry_floor": 0}) as r:
        reply = await r.ask()
    assert reply.text == "from x"
    assert "retry budget exhausted" in reply.trace.notes


async def test_the_time_that_the_upstream_asked_for_counts_too():
    class Hasty:
        @hookimpl
        def asyncrouter_retry(self):
            return Retry(0.5)

    script = {
        "a": Fail(ServerError),
        "b": [Fail(RateLimited, retry_after_s=2.6), Reply()],
        "x": Reply("x"),
        "y": Reply(),
    }
    async with routed(script, groups=TWO_GROUPS, plugins=[Hasty()]) as r:
        assert (await r.ask()).text == "x"
        assert r.timeline == [("a", 0.0), ("b", 0.0), ("x", 0.0)]
    script["b"] = [Fail(RateLimited, retry_after_s=2.4), Reply("b")]
    async with routed(script, groups=TWO_GROUPS, plugins=[Hasty()]) as r:
        started = anyio.current_time()
        assert (await r.ask()).text == "b"
        assert r.timeline[2][1] - started == pytest.approx(2.4)


# ---------------------------------------------------------------- 4: fallback groups


async def test_fallback_groups_are_asked_in_order_each_at_once():
    groups = {
        "chat": {"deployments": ["a"], "retry": "none", "fallbacks": ["second", "third"]},
        "second": {"deployments": ["b"], "retry": "none"},
        "third": {"deployments": ["c"]},
    }
    async with routed({"a": Fail(ServerError), "b": Fail(ServerError), "c": Reply("third")}, groups=groups) as r:
        reply = await r.ask()
    assert r.timeline[:3] == [("a", 0.0), ("b", 0.0), ("c", 0.0)]
    assert reply.trace.groups == ("chat", "second", "third")
    assert [one.group for one in reply.trace.attempts] == ["chat", "second", "third"]
    assert reply.trace.selection.deployments[0].name == "a", "the first selection is the one on record"


async def test_a_fallback_groups_own_chain_comes_before_the_rest_of_the_first_ones():
    groups = {
        "chat": {"deployments": ["a"], "retry": "none", "fallbacks": ["second", "third"]},
        "second": {"deployments": ["b"], "retry": "none", "fallbacks": ["own"]},
        "own": {"deployments": ["o"], "retry": "none"},
        "third": {"deployments": ["c"], "retry": "none"},
    }
    async with routed({name: Fail(ServerError) for name in "aboc"}, groups=groups) as r:
        error = await r.fails(AllAttemptsFailed)
    assert error.trace.groups == ("chat", "second", "own", "third")


async def test_a_fallback_group_that_stands_empty_is_passed_over():
    groups = {
        "chat": {"deployments": ["a"], "retry": "none", "fallbacks": ["second", "third"]},
        "second": {"deployments": ["b"], "retry": "none"},
        "third": {"deployments": ["c"]},
    }
    async with routed({"a": Fail(ServerError), "b": Reply(), "c": Reply("third")}, groups=groups) as r:
        r.router.fleet["b"].cool_until(100.0)
        reply = await r.ask()
    assert reply.deployment == "c"
    assert "group second: no deployment is ready and suitable" in reply.trace.notes


async def test_the_fallback_groups_own_settings_hold_there():
    groups = {
        "chat": {"deployments": ["a"], "retry": "none", "fallbacks": ["second"]},
        "second": {"deployments": ["b"], "timeouts": {"attempt_s": 4.0}, "params": {"temperature": 0.1}},
    }
    async with routed({"a": Fail(ServerError), "b": [Hang(), Reply()]}, groups=groups) as r:
        await r.fails(AllAttemptsFailed)
    assert r.provider.calls[1].ended_at == 4.0
    assert r.provider.calls[1].request.params == {"temperature": 0.1}


async def test_an_unknown_group_named_by_a_plugin_is_told_with_the_nearest_name():
    from asyncrouter import Fallback

    class Wrong:
        @hookimpl
        def asyncrouter_fallback(self):
            return Fallback(group="othr")

    async with routed(
        {"a": Fail(ServerError), "b": Reply(), "x": Reply(), "y": Reply()}, groups=TWO_GROUPS, plugins=[Wrong()]
    ) as r:
        error = await r.fails(UnknownModelGroup)
    assert "othr" in str(error)
    assert "other" in str(error)
    assert [one.deployment for one in error.trace.attempts] == ["a", "a"], "patience comes first"
