"""A refused key is no refused deployment: while others stand ready, the same deployment is asked again at once."""

from __future__ import annotations

import anyio
import pytest
from routed import routed

from asyncrouter.testing import Fail, Reply
from asyncrouter.types.errors import (
    AllAttemptsFailed,
    AuthenticationFailed,
    Disposition,
    QuotaExhausted,
    RateLimited,
    ServerError,
)


def refused(kind, other_keys, **fields):
    """Fail as a provider does that has so many other keys ready."""
    error = kind("refused", deployment="a", **fields)
    error.other_keys = other_keys
    if other_keys:
        error.disposition = Disposition.RETRY
    return Fail(error)


def told(trace):
    return [(one.deployment, str(one.kind), str(one.outcome), one.reason) for one in trace.attempts]


@pytest.mark.parametrize("kind", [AuthenticationFailed, QuotaExhausted, RateLimited])
async def test_the_next_key_is_asked_at_once_and_uncounted(kind):
    script = {"a": [refused(kind, 2), refused(kind, 1), Reply("a")], "b": Reply("never")}
    settings = {"max_attempts": 1, "retry_budget": 0.0, "retry_floor": 0}
    async with routed(script, settings=settings) as world:
        reply = await world.ask()
        assert told(reply.trace) == [
            ("a", "first", "failed", reply.trace.attempts[0].reason),
            ("a", "retry", "failed", f"another key after {kind.__name__}"),
            ("a", "retry", "ok", f"another key after {kind.__name__}"),
        ]
        assert world.timeline == [("a", 0.0)] * 3
        assert (reply.trace.waits, reply.trace.notes) == (0, ())
        state = world.state("a")
        assert state.breaker._failures_in_a_row == 0
        assert state.ready_at == float("-inf")
        total = world.router.metrics().total
        assert (total.calls, total.failures, total.retries, total.fallbacks) == (1, 0, 2, 0)


async def test_so_is_a_streams():
    script = {"a": [refused(AuthenticationFailed, 1), Reply("from a")], "b": Reply("never")}
    async with routed(script, max_attempts=1) as world:
        chunks, response = await world.read()
        assert response.text == "".join(chunk.text for chunk in chunks) == "from a"
        assert world.timeline == [("a", 0.0)] * 2


async def test_keys_that_get_no_fewer_are_not_asked_for_ever():
    script = {"a": refused(RateLimited, 1), "b": Reply("b")}
    async with routed(script, patience_s=0.0) as world:
        reply = await world.ask()
        assert world.timeline == [("a", 0.0), ("a", 0.0), ("b", 0.0)]
        assert reply.text == "b"
        assert world.state("a").breaker._failures_in_a_row == 1


async def test_a_later_round_may_go_through_the_keys_again():
    script = {"a": [refused(RateLimited, 1), refused(RateLimited, 0)] * 2 + [Reply("at last")]}
    retry = {"use": "exponential", "jitter": False}
    async with routed(script, groups={"chat": {"deployments": ["a"], "retry": retry}}) as world:
        assert (await world.ask()).text == "at last"
        assert world.timeline == [("a", 0.0)] * 2 + [("a", 1.0)] * 2 + [("a", 3.0)]


async def test_only_the_refusal_of_the_last_key_counts_for_the_deployment():
    script = {"a": [refused(AuthenticationFailed, 1), refused(AuthenticationFailed, 0)], "b": Reply("b")}
    async with routed(script, breaker={"failures": 2}) as world:
        assert (await world.ask()).text == "b"
        assert world.state("a").breaker._failures_in_a_row == 1
        assert world.state("a").cooldown_until == float("-inf")
        assert world.called == ["a", "a", "b"]


async def test_the_time_until_the_first_key_is_ready_is_the_deployments_cooldown():
    last = refused(QuotaExhausted, 0, retry_after_s=200.0)
    async with routed({"a": [refused(QuotaExhausted, 1), last], "b": Reply("b")}) as world:
        assert (await world.ask()).text == "b"
        assert (world.state("a").cooldown_until, world.state("a").breaker._failures_in_a_row) == (200.0, 0)
        assert (await world.ask()).text == "b"
        assert world.called == ["a", "a", "b", "b"]


async def test_when_all_are_refused_and_nobody_else_is_there_the_error_tells_of_each():
    script = {"a": [refused(AuthenticationFailed, 1), refused(AuthenticationFailed, 0)]}
    async with routed(script, groups={"chat": {"deployments": ["a"]}}) as world:
        error = await world.fails(AllAttemptsFailed)
        assert [type(one) for one in error.errors] == [AuthenticationFailed] * 2
        assert error.__cause__.disposition is Disposition.FALLBACK
        assert world.timeline == [("a", 0.0)] * 2


async def test_a_refusal_that_counts_keeps_the_next_requests_away_while_others_can_answer():
    async with routed({"a": Fail(AuthenticationFailed), "b": Reply("b")}) as world:
        for _ in range(4):
            assert (await world.ask()).text == "b"
        assert world.called == ["a", "b", "b", "b", "b"]
        assert world.router.metrics().deployments["a"].breaker == "open"
        await anyio.sleep(5.0)
        await world.ask()
        assert world.called[5:] == ["a", "b"], "probed, as after any failure"


async def test_where_nobody_else_is_there_each_request_is_told_at_once():
    async with routed(Fail(AuthenticationFailed), groups={"chat": {"deployments": ["a"]}}) as world:
        for _ in range(6):
            error = await world.fails(AllAttemptsFailed)
            assert [type(one) for one in error.errors] == [AuthenticationFailed]
        assert world.timeline == [("a", 0.0)] * 6


async def test_a_probe_may_go_through_the_keys():
    breaker = {"failures": 1, "open_s": 10.0, "open_cap_s": 10.0}
    script = {"a": [Fail(RateLimited), refused(AuthenticationFailed, 1), Reply("a")], "b": Reply("b")}
    async with routed(script, breaker=breaker) as world:
        assert (await world.ask()).text == "b"
        state = world.state("a")
        await anyio.sleep(state.ready_at - world.router.fleet.now())
        assert (await world.ask()).text == "a"
        assert (state.breaker.state, world.called) == ("closed", ["a", "b", "a", "a"])


async def test_a_deployment_with_a_key_left_is_not_given_up_for_the_request():
    script = {"a": [refused(AuthenticationFailed, 1), Fail(ServerError), Reply("at last")]}
    retry = {"use": "exponential", "jitter": False}
    async with routed(script, groups={"chat": {"deployments": ["a"], "retry": retry}}) as world:
        assert (await world.ask()).text == "at last"
        assert world.timeline == [("a", 0.0), ("a", 0.0), ("a", 1.0)]
