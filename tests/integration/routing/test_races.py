"""Races: several asked at once, one answer that the judge accepts, the losers cancelled and accounted for."""

from __future__ import annotations

import anyio
import pytest
from routed import routed
from side_by_side import HEDGE, Racing, ask_or_read, racing, told

from asyncrouter import Selection, ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, Reply, Slow, Stream


@pytest.mark.parametrize(("most", "called"), [(1, 1), (2, 2), (3, 3), (9, 3)])
async def test_no_more_are_sent_than_attempts_are_allowed(most, called):
    group = {"deployments": ["a", "b", "c"], "select": Racing(3), "max_attempts": most}
    async with routed(Slow(1.0), groups={"chat": group}) as r:
        await r.ask()
        assert len(r.called) == called


async def test_a_race_takes_the_first_answer():
    script = {"a": Slow(3.0), "b": Slow(1.0, Reply("b")), "c": Reply("c")}
    async with routed(script, groups={"chat": {"deployments": ["a", "b", "c"], "select": Racing(2)}}) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(1.0))
        assert told(reply) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert sorted(r.called) == ["a", "b"]


async def test_a_race_lost_by_all_falls_back_to_the_rest():
    script = {"a": Fail(ServerError), "b": Slow(1.0, Fail(ServerError)), "c": Reply("c")}
    async with routed(script, groups={"chat": {"deployments": ["a", "b", "c"], "select": Racing(2)}}) as r:
        assert (await r.ask()).text == "c"
        assert sorted(r.called[:2]) == ["a", "b"]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_of_two_that_end_in_the_same_turn_one_is_delivered(streamed):
    for _ in range(5):
        async with routed(Slow(1.0, Stream(["an ", "answer"])), groups=racing(3, "a", "b", "c"), alive=False) as r:
            reply = await ask_or_read(r, streamed)
            outcomes = [outcome for _, outcome in told(reply).values()]
            assert sorted(outcomes) == ["cancelled", "cancelled", "ok"]
            assert told(reply)["a"] == ("first", "ok"), "the selection's order decides"
            assert reply.deployment == "a"


# ---------------------------------------------------------------- the judge


class Judge:
    """Accepts what begins with "good", scores the rest by its length, and takes its time."""

    def __init__(self, takes_s=0.0):
        self.takes_s = takes_s

    @hookimpl
    async def asyncrouter_judge(self, response):
        await anyio.sleep(self.takes_s)
        return Verdict(accept=response.text.startswith("good"), score=len(response.text) / 100, reason="weak")


async def test_a_rejected_answer_does_not_end_a_race():
    script = {"a": Slow(1.0, Reply("bad")), "b": Slow(2.0, Reply("good b")), "c": Slow(9.0)}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge())) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good b", pytest.approx(2.0))
        assert told(reply) == {"a": ("first", "rejected"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}
        assert r.router.metrics().deployments["a"].rejected == 1


async def test_while_one_is_judged_another_may_win():
    script = {"a": Slow(1.0, Reply("good a")), "b": Slow(1.5, Reply("good b")), "c": Slow(9.0)}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge(2.0))) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good a", pytest.approx(3.0))
        assert told(reply) == {"a": ("first", "ok"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}


async def test_when_all_are_rejected_a_stronger_one_is_asked():
    script = {"a": Reply("bad a"), "b": Slow(1.0, Reply("bad")), "c": Slow(1.0, Reply("good c"))}
    async with routed(script, groups=racing(2, "a", "b", "c", judge=Judge())) as r:
        reply = await r.ask()
        assert reply.text == "good c"
        assert told(reply) == {"a": ("first", "rejected"), "b": ("hedge", "rejected"), "c": ("cascade", "ok")}


async def test_a_weaker_one_is_not():
    class StrongestFirst(Racing):
        @hookimpl
        def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[::-1], parallel=self.parallel, reason="race")

    script = {"a": Reply("good a"), "b": Reply("bad b"), "c": Slow(1.0, Reply("bad"))}
    groups = {"chat": {"deployments": ["a", "b", "c"], "select": StrongestFirst(2), "judge": Judge()}}
    async with routed(script, groups=groups, alive=False) as r:
        assert (await r.ask()).text == "bad b"
        assert sorted(r.called) == ["b", "c"]


async def test_without_one_the_best_of_the_rejected_is_returned():
    script = {"a": Reply("bad"), "b": Slow(1.0, Reply("not so bad")), "c": Slow(2.0, Fail(ServerError))}
    async with routed(script, groups=racing(3, "a", "b", "c", judge=Judge()), alive=False) as r:
        assert (await r.ask()).text == "not so bad"


async def test_a_rejected_answer_is_no_reason_to_hedge_but_to_go_on():
    async with routed({"a": Slow(0.2, Reply("bad")), "b": Reply("good")}, hedge=HEDGE, judge=Judge()) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("good", pytest.approx(0.2))
        assert told(reply) == {"a": ("first", "rejected"), "b": ("cascade", "ok")}
