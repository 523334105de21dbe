"""The order of recovery, step by step, with exact times."""

from __future__ import annotations

import anyio
import pytest
from routed import EXACT, routed

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    ContextWindowExceeded,
    GiveUp,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    Retry,
    ServerError,
    UnknownModelGroup,
    hookimpl,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow

LOST = Fail(ConnectionFailed("gone", lost_before_answer=True))
REFUSED = Fail(ConnectionFailed)
TWO_GROUPS = {
    "chat": {"deployments": ["a", "b"], "retry": EXACT, "fallbacks": ["other"]},
    "other": {"deployments": ["x", "y"]},
}


def kinds(reply):
    return [(one.deployment, str(one.kind)) for one in reply.trace.attempts]


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
    async with routed(script, groups=groups, settings={"max_attempts": 7, "deadline_s": 1000}) as r:
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


# ---------------------------------------------------------------- 5: rounds


async def test_further_rounds_come_after_growing_waits():
    async with routed(
        {"a": [Fail(ServerError)] * 3 + [Reply("at last")], "b": Fail(ServerError)}, retry=EXACT, max_attempts=20
    ) as r:
        reply = await r.ask()
    # patience of 1 s once; then rounds of both deployments after 2, 4 and 8 s
    assert r.timeline[:8] == [("a", 0), ("b", 0), ("b", 1), ("a", 3), ("b", 3), ("a", 7), ("b", 7), ("a", 15)]
    assert (reply.trace.waits, reply.trace.waited_s) == (4, 15.0)
    assert kinds(reply)[2:5] == [("b", "retry"), ("a", "retry"), ("b", "fallback")]


async def test_max_retries_counts_the_waits():
    async with routed(Fail(ServerError), retry={**EXACT, "max_retries": 2}, max_attempts=20) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:5] == [("a", 0), ("b", 0), ("b", 1), ("a", 3), ("b", 3)]
    assert len(error.errors) == 5
    assert error.trace.waits == 2


async def test_max_attempts_counts_the_calls():
    async with routed(Fail(ServerError), retry=EXACT, max_attempts=4) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:4] == [("a", 0), ("b", 0), ("b", 1), ("a", 3)]
    assert len(error.trace.attempts) == 4
    assert "max_attempts = 4 reached" in error.trace.notes


async def test_nothing_is_retried_when_retries_are_off():
    async with routed(Fail(ServerError), retry="none") as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:2] == [("a", 0), ("b", 0)]
    assert error.trace.waits == 0


async def test_a_round_visits_the_fallback_groups_too():
    script = {
        "a": Fail(ServerError),
        "b": Fail(ServerError),
        "x": [Fail(ServerError), Reply("x")],
        "y": Fail(ServerError),
    }
    groups = {
        "chat": {**TWO_GROUPS["chat"], "patience_s": 0.0},
        "other": {"deployments": ["x", "y"], "retry": EXACT, "patience_s": 0.0},
    }
    async with routed(script, groups=groups, settings={"max_attempts": 20}) as r:
        reply = await r.ask()
    assert r.timeline[:7] == [("a", 0), ("b", 0), ("x", 0), ("y", 0), ("a", 1), ("b", 1), ("x", 1)]
    assert reply.text == "x"


async def test_what_cannot_be_cured_by_waiting_is_left_out_of_further_rounds():
    script = {"a": Fail(AuthenticationFailed), "b": [Fail(ServerError), Fail(ServerError), Reply("b")]}
    async with routed(script, retry=EXACT, patience_s=0) as r:
        assert (await r.ask()).text == "b"
    assert r.timeline[:4] == [("a", 0), ("b", 0), ("b", 1), ("b", 3)]


async def test_a_failure_without_a_cure_does_not_keep_the_others_from_a_further_round():
    script = {"a": [Fail(ServerError), Reply("from a")], "b": Fail(AuthenticationFailed)}
    async with routed(script, retry=EXACT) as r:
        assert (await r.ask()).text == "from a"
    assert r.timeline[:3] == [("a", 0), ("b", 0), ("a", 1)]


async def test_no_round_without_anybody_whom_waiting_may_cure():
    async with routed({"a": Fail(AuthenticationFailed), "b": Fail(ModelNotFound)}, retry=EXACT) as r:
        error = await r.fails(AllAttemptsFailed)
        assert anyio.current_time() == 0.0
    assert [type(one) for one in error.errors] == [AuthenticationFailed, ModelNotFound]
    assert isinstance(error.__cause__, ModelNotFound)


async def test_rounds_need_the_shared_budget():
    async with routed(Fail(ServerError), retry=EXACT, settings={"retry_budget": 0.0, "retry_floor": 0}) as r:
        error = await r.fails(AllAttemptsFailed)
    assert r.timeline[:2] == [("a", 0), ("b", 0)]
    assert len(error.errors) == 2


async def test_what_the_budget_refuses_waits_until_it_allows_one_more():
    """Two requests and a floor of one: while nobody answers, one extra attempt in two seconds; an answer opens it."""
    fail = Fail(ServerError)
    script = {"a": [fail, fail, Slow(5, then=Reply("a"))], "b": Fail(ServerError)}
    async with routed(
        script, retry=EXACT, patience_s=0, settings={"retry_budget": 0.0, "retry_floor": 1}, breaker={"failures": 9}
    ) as r:
        replies = []

        async def ask():
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert [reply.text for reply in replies] == ["a", "a"]
        assert all("retry budget exhausted" in reply.trace.notes for reply in replies)
    assert sum(moment < 2.0 for _, moment in r.timeline) == 2 + 1  # the first attempts, and the floor


async def test_what_the_budget_refuses_ends_where_no_time_is_left_for_it():
    settings = {"retry_budget": 0.0, "retry_floor": 1, "deadline_s": 1.9}
    async with routed(Fail(ServerError), retry=EXACT, patience_s=0, settings=settings, breaker={"failures": 9}) as r:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(r.fails, AllAttemptsFailed)
            tasks.start_soon(r.fails, AllAttemptsFailed)
        assert len(r.called) <= 2 + 1 + 2  # the first ones, the floor, and the one that is left alone at the end
        assert anyio.current_time() < 1.9


async def test_a_retry_that_the_budget_refuses_goes_elsewhere():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(1.0, before_fallback=True) if trace.waits == 0 else GiveUp()

    fail = Fail(ServerError)
    script = {"a": [fail, fail, Slow(5, then=Reply("a")), Reply("too much")], "b": Reply("b")}
    settings = {"retry_budget": 0.0, "retry_floor": 1}
    async with routed(script, settings=settings, plugins=[First()]) as r:
        replies = []

        async def ask():
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
        assert [reply.text for reply in replies] == ["b", "a"]
        assert kinds(replies[0]) == [("a", "first"), ("b", "fallback")]
        assert replies[0].trace.attempts[1].reason == "after ServerError on a"


async def test_the_error_names_every_attempt_and_the_last_as_its_cause():
    async with routed(
        {"a": Fail(RateLimited, message="slow down"), "b": Fail(ServerError, message="boom")}, retry="none"
    ) as r:
        error = await r.fails(AllAttemptsFailed)
    assert str(error) == "all 2 attempts failed: a: RateLimited: slow down; b: ServerError: boom"
    assert error.__cause__ is error.errors[-1]
    assert [one.deployment for one in error.errors] == ["a", "b"]
    assert [one.error for one in error.trace.attempts] == list(error.errors)


# ---------------------------------------------------------------- errors of the request itself


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


async def test_a_wait_spends_the_permission_for_it():
    retry = {**EXACT, "max_retries": 1}
    async with routed(Fail(ServerError), groups={"chat": {"deployments": ["a"], "retry": retry}}) as r:
        error = await r.fails(AllAttemptsFailed)
        assert r.called == ["a", "a"]
        assert error.trace.waits == 1
