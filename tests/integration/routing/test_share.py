"""How much of the deadline one attempt may take: who hangs leaves time for another, a long answer is waited for."""

from __future__ import annotations

import anyio
import pytest
from routed import routed

from asyncrouter import AttemptTimedOut, DeadlineExceeded, Estimate, hookimpl
from asyncrouter.testing import Hang, Reply, Slow, virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def test_a_hanging_upstream_leaves_half_of_the_time_to_another():
    async with routed({"a": Hang(), "b": Reply("b")}) as r:
        reply = await r.ask()
        assert (reply.text, anyio.current_time()) == ("b", 30.0)
        (first, _second) = reply.trace.attempts
        assert isinstance(first.error, AttemptTimedOut)
        assert "no answer within 30 s, its share of the time" in str(first.error)


async def test_a_share_is_at_least_the_time_to_a_first_token():
    async with routed({"a": Hang(), "b": Reply("b")}) as r:
        await r.ask(deadline_s=20.0)
        assert r.timeline == [("a", 0.0), ("b", 15.0)]


async def test_without_another_the_attempt_has_all_the_time():
    async with routed(Slow(50.0, Reply("late")), groups={"chat": {"deployments": ["a"]}}) as r:
        assert (await r.ask()).text == "late"


async def test_the_last_of_them_has_all_that_is_left():
    async with routed({"a": Hang(), "b": Slow(29.0, Reply("late"))}) as r:
        assert (await r.ask()).text == "late"


async def test_a_fallback_group_is_somebody_else_too():
    groups = {"chat": {"deployments": ["a"], "fallbacks": ["spare"]}, "spare": {"deployments": ["b"]}}
    async with routed({"a": Hang(), "b": Reply("b")}, groups=groups) as r:
        assert (await r.ask()).text == "b"
        assert r.timeline == [("a", 0.0), ("b", 30.0)]


async def test_a_deployment_whose_answers_take_long_is_not_cut_short():
    async with routed({"a": Slow(25.0, Reply("a")), "b": Reply("b")}) as r:
        assert (await r.ask()).text == "a"
        r.provider.play({"a": Slow(50.0, Reply("long")), "b": Reply("b")})
        assert (await r.ask()).text == "long"


async def test_who_was_asked_for_a_long_answer_has_three_quarters_of_the_time():
    """By what a deployment's answers take per token: here 5 tokens a second."""
    script = {"a": [Slow(1.0, Reply("short")), Slow(40.0, Reply("long")), Hang()], "b": Reply("b")}
    async with routed(script) as r:
        assert (await r.ask()).text == "short"
        per_s = r.state("a").output_tokens
        assert (await r.ask(max_tokens=int(42 * per_s))).text == "long"
        began = anyio.current_time()
        assert (await r.ask(max_tokens=int(420 * per_s))).text == "b"  # it hangs, and leaves a quarter to b
        assert anyio.current_time() == began + 45.0


class Foretold:
    """An estimator that foretells the lengths of answers."""

    def __init__(self, tokens):
        self.tokens = tokens

    @hookimpl
    def asyncrouter_estimate(self):
        return Estimate(complexity=0.5, output_tokens=self.tokens, source="foretold")


@pytest.mark.parametrize(("foretold", "asked"), [(1, 42), (42, 1)])
async def test_what_is_foretold_takes_no_time_from_what_was_asked_for(foretold, asked):
    """Nor the other way round: seconds of the deployment's answers, at 5 tokens a second."""
    estimator = Foretold(None)
    script = {"a": [Slow(1.0, Reply("short")), Slow(40.0, Reply("long"))], "b": Reply("b")}
    async with routed(script, plugins=[estimator]) as r:
        await r.ask()
        per_s = r.state("a").output_tokens
        estimator.tokens = int(foretold * per_s)
        assert (await r.ask(max_tokens=int(asked * per_s))).text == "long"


async def test_a_long_answer_that_was_not_asked_for_is_cut_at_half():
    script = {"a": [Slow(1.0, Reply("short")), Slow(40.0, Reply("long"))], "b": Reply("b")}
    async with routed(script) as r:
        await r.ask()
        assert (await r.ask(max_tokens=int(2 * r.state("a").output_tokens))).text == "b"


async def test_what_was_answered_before_it_began_to_hang_says_nothing():
    script = {"a": [Slow(5.0, Reply("a")), Hang()], "b": Reply("b")}
    async with routed(script) as r, anyio.create_task_group() as tasks:
        tasks.start_soon(r.ask)
        await anyio.sleep(1.0)
        reply = await r.ask()
        assert (reply.text, anyio.current_time()) == ("b", 31.0)


async def test_one_that_has_answered_others_meanwhile_writes_a_long_answer():
    script = {"a": [Slow(50.0, Reply("long")), Reply("short")], "b": Reply("b")}
    async with routed(script) as r, anyio.create_task_group() as tasks:
        texts = []

        async def ask():
            texts.append((await r.ask()).text)

        tasks.start_soon(ask)
        await anyio.sleep(20.0)
        tasks.start_soon(ask)
        await anyio.sleep(31.0)
        assert texts == ["short", "long"]


async def test_a_long_answer_ends_with_attempt_s_all_the_same():
    script = {"a": [Hang(), Reply("short")], "b": Reply("b")}
    async with routed(script, timeouts={"attempt_s": 40.0}) as r, anyio.create_task_group() as tasks:

        async def first():
            assert (await r.ask()).text == "b"
            assert anyio.current_time() == 40.0

        tasks.start_soon(first)
        await anyio.sleep(20.0)
        assert (await r.ask()).text == "short"


async def test_silence_until_the_deadline_opens_the_breaker_in_the_end():
    """An upstream that hangs is no use, whoever's bound it was that ended the wait."""
    groups = {"chat": {"deployments": ["a"], "retry": "none"}}
    async with routed(Hang(), groups=groups) as r:
        for _ in range(5):
            await r.fails(DeadlineExceeded, deadline_s=16.0)
        assert r.state("a").breaker.state == "open"


async def test_a_short_deadline_says_nothing_about_the_deployment():
    groups = {"chat": {"deployments": ["a"], "retry": "none"}}
    async with routed(Hang(), groups=groups) as r:
        for _ in range(9):
            await r.fails(DeadlineExceeded, deadline_s=14.0)
        assert r.state("a").breaker.state == "closed"
