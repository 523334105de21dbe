"""Judged answers: who is asked after one that was rejected, and which answer stands in the end."""

from __future__ import annotations

import anyio
import pytest
from routed import THREE, routed

from asyncrouter import AllAttemptsFailed, Selection, ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, Reply, Slow


class Wants:
    """Accepts answers that hold a word; the score is their length over a hundred."""

    def __init__(self, word):
        self.word = word
        self.judged = []

    @hookimpl
    async def asyncrouter_judge(self, response):
        self.judged.append(response.deployment)
        return Verdict(accept=self.word in response.text, score=len(response.text) / 100, reason="missing word")


async def test_a_rejected_answer_goes_to_the_next_stronger():
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": Reply("worse"), "c": Reply("good")}
    async with routed(script, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        metrics = r.router.metrics()
        assert [metrics.deployments[name].rejected for name in "abc"] == [1, 1, 0]
        assert (metrics.total.cascades, metrics.deployments["c"].cascades) == (2, 1)
        assert metrics.total.input_tokens == 30, "all three were paid for"
        r.router.unregister(judge)
    assert reply.text == "good"
    assert [str(one.outcome) for one in reply.trace.attempts] == ["rejected", "rejected", "ok"]
    assert [str(one.kind) for one in reply.trace.attempts] == ["first", "cascade", "cascade"]
    assert reply.trace.attempts[1].reason == "answer of a rejected: missing word"


async def test_only_stronger_ones_are_asked():
    class Middle:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return Selection(deployments=(candidates[1], candidates[0], candidates[2]))

    judge, middle = Wants("good"), Middle()
    async with routed(Reply("bad"), groups=THREE, plugins=[judge, middle]) as r:
        await r.ask()
        assert judge.judged == ["b", "c"]
        r.router.unregister(judge)
        r.router.unregister(middle)


async def test_without_a_stronger_one_the_best_rejected_answer_is_returned():
    judge = Wants("nothing")
    script = {"a": Reply("short"), "b": Reply("the longest of them all"), "c": Reply("middling")}
    async with routed(script, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        r.router.unregister(judge)
    assert reply.deployment == "b"
    assert reply.trace.notes == ("no stronger deployment is left: the best rejected answer is returned",)
    assert [str(one.outcome) for one in reply.trace.attempts] == ["rejected"] * 3


async def test_a_stronger_one_that_fails_leaves_the_rejected_answer():
    judge = Wants("good")
    async with routed({"a": Reply("bad"), "b": Fail(ServerError), "c": Reply()}, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        r.router.unregister(judge)
    assert (reply.text, reply.deployment) == ("bad", "a")


async def test_a_stronger_one_that_is_set_aside_meanwhile_leaves_it_too():
    """The slot of the stronger deployment is waited for, and its breaker opens in that time."""
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": [Slow(5, then=Fail(ServerError)), Reply("good")], "c": Reply("bad too")}
    groups = {
        "chat": {**THREE["chat"], "breaker": {"failures": 1}},
        "direct": {"deployments": ["b"], "retry": "none", "breaker": {"failures": 1}},
    }
    async with routed(script, groups=groups, deployments={"b": {"limits": {"concurrency": 1}}}, plugins=[judge]) as r:
        replies = []

        async def direct():
            with pytest.raises(AllAttemptsFailed):
                await r.ask(model="direct")

        async def ask():
            await anyio.sleep(1.0)
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(direct)
            tasks.start_soon(ask)
        assert replies[0].text == "bad too", "c is stronger still, and its answer the longer one"
        assert judge.judged == ["a", "c"]
        r.router.unregister(judge)


async def test_the_rejected_answer_stands_when_every_stronger_one_is_set_aside_meanwhile():
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": [Slow(5, then=Fail(ServerError)), Reply("good")]}
    chat = {"deployments": ["a", "b"], "retry": "none", "breaker": {"failures": 1}}
    groups = {"chat": chat, "direct": {**chat, "deployments": ["b"]}}
    async with routed(script, groups=groups, deployments={"b": {"limits": {"concurrency": 1}}}, plugins=[judge]) as r:
        replies = []

        async def direct():
            with pytest.raises(AllAttemptsFailed):
                await r.ask(model="direct")

        async def ask():
            await anyio.sleep(1.0)
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(direct)
            tasks.start_soon(ask)
        assert replies[0].text == "bad"
        r.router.unregister(judge)


async def test_a_cascade_keeps_to_the_number_of_attempts():
    judge = Wants("good")
    async with routed(Reply("bad"), groups={"chat": {**THREE["chat"], "max_attempts": 2}}, plugins=[judge]) as r:
        await r.ask()
        assert judge.judged == ["a", "b"]
        r.router.unregister(judge)


async def test_a_judge_without_an_opinion_accepts():
    class Silent:
        @hookimpl
        async def asyncrouter_judge(self):
            return None

    async with routed(plugins=[Silent()]) as r:
        assert (await r.ask()).deployment == "a"


async def test_a_verdict_without_a_score_counts_nothing():
    class No:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=False)

    no = No()
    async with routed({"a": Reply("first"), "b": Reply("second")}, plugins=[no]) as r:
        assert (await r.ask()).text == "first", "equally bad: the first stays"
        r.router.unregister(no)
