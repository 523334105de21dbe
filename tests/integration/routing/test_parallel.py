"""Several asked at once: the first acceptable, the best judged or the majority is taken; the others are accounted."""

from __future__ import annotations

import anyio
import pytest
from routed import routed

from asyncrouter import AllAttemptsFailed, ConfigError, PluginContractError, Selection, ServerError, Verdict, hookimpl
from asyncrouter.router import Router
from asyncrouter.testing import Fail, Hang, Reply, Slow

ABC = ["a", "b", "c"]
PRICED = {name: {"price": {"input": 1.0, "output": 1.0}} for name in ABC}


class Scores:
    """Judges by a table of texts: the score, and whether it is accepted."""

    def __init__(self, **scores):
        self.scores = scores

    @hookimpl
    async def asyncrouter_judge(self, response):
        score = self.scores[response.text]
        return Verdict(accept=score >= 0.3, score=score, reason="the table")


def told(reply):
    return {one.deployment: str(one.outcome) for one in reply.trace.attempts}


def parallel(take, k=3, **more):
    return {"groups": {"chat": {"deployments": ABC, "parallel": {"k": k, "take": take}, **more}}}


async def test_the_first_acceptable_wins():
    script = {"a": Slow(3.0, Reply("a")), "b": Slow(1.0, Reply("weak")), "c": Slow(2.0, Reply("c"))}
    async with routed(script, **parallel("first", judge=Scores(weak=0.1, a=0.9, c=0.5))) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("c", pytest.approx(2.0))
        assert told(reply) == {"a": "cancelled", "b": "rejected", "c": "ok"}


async def test_the_best_is_waited_for():
    script = {"a": Slow(1.0, Reply("a")), "b": Slow(3.0, Reply("b")), "c": Slow(2.0, Reply("c"))}
    async with routed(script, deployments=PRICED, **parallel("best", judge=Scores(a=0.5, b=0.8, c=0.6))) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("b", pytest.approx(3.0))
        assert told(reply) == {"a": "cancelled", "b": "ok", "c": "cancelled"}
        assert "best of 3 answers: b" in reply.trace.notes
        assert {one.deployment: one.score for one in reply.trace.attempts} == {"a": 0.5, "b": 0.8, "c": 0.6}
        total = r.router.metrics().total
        assert total.output_tokens == 15  # the losers' answers are paid for
        assert total.cost_usd == pytest.approx(3 * reply.cost_usd)


async def test_nobody_is_better_than_perfect():
    script = {"a": Slow(1.0, Reply("a")), "b": Hang(), "c": Slow(2.0, Reply("c"))}
    async with routed(script, **parallel("best", judge=Scores(a=1.0, c=1.0))) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("a", pytest.approx(1.0))
        assert told(reply) == {"a": "ok", "b": "cancelled", "c": "cancelled"}


async def test_the_majority_needs_no_more_than_can_change_it():
    script = {"a": Slow(1.0, Reply("41")), "b": Slow(2.0, Reply("42")), "c": Slow(3.0, Reply("Answer: 42."))}
    async with routed(script, **parallel("majority")) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("42", pytest.approx(3.0))
        assert told(reply) == {"a": "cancelled", "b": "ok", "c": "cancelled"}
        assert "majority of 3 answers: b, 2 of them agree" in reply.trace.notes
    script = {"a": Slow(1.0, Reply("42")), "b": Slow(2.0, Reply("42")), "c": Hang()}
    async with routed(script, **parallel("majority")) as r:
        reply = await r.ask()
        assert (reply.text, reply.trace.duration_s) == ("42", pytest.approx(2.0))
        assert told(reply)["c"] == "cancelled"


async def test_tool_calls_and_json_are_compared_by_what_they_mean():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1, "y": 2}'}}
    same = {"id": "2", "type": "function", "function": {"name": "f", "arguments": '{"y":2,"x":1}'}}
    script = {"a": Reply('{"x": 1}'), "b": Reply("", tool_calls=[call]), "c": Reply("", tool_calls=[same])}
    async with routed(script, **parallel("majority")) as r:
        assert (await r.ask()).deployment == "b"
    script = {"a": Reply("no"), "b": Reply('{"x": 1, "y": [2]}'), "c": Reply('{"y":[2],"x":1}')}
    async with routed(script, **parallel("majority")) as r:
        assert (await r.ask()).deployment == "b"


async def test_rejected_answers_have_no_vote_beside_accepted_ones():
    script = {"a": Reply("weak"), "b": Reply("weak"), "c": Reply("c")}
    async with routed(script, **parallel("majority", judge=Scores(weak=0.1, c=0.5))) as r:
        reply = await r.ask()
        assert (reply.text, told(reply)) == ("c", {"a": "rejected", "b": "rejected", "c": "ok"})


async def test_the_best_rejected_answer_is_better_than_none():
    script = {"a": Reply("a"), "b": Reply("b"), "c": Reply("c")}
    async with routed(script, **parallel("best", judge=Scores(a=0.1, b=0.2, c=0.0))) as r:
        reply = await r.ask()
        assert (reply.text, set(told(reply).values())) == ("b", {"rejected"})


async def test_failures_leave_the_choice_to_the_others():
    script = {"a": Fail(ServerError), "b": Slow(1.0, Reply("b")), "c": Slow(2.0, Fail(ServerError))}
    for take in ("best", "majority"):
        async with routed(script, **parallel(take)) as r:
            reply = await r.ask()
            assert told(reply) == {"a": "failed", "b": "ok", "c": "failed"}
    async with routed(Fail(ServerError), **parallel("best", retry="none")) as r:
        await r.fails(AllAttemptsFailed)


async def test_the_deadline_takes_the_best_so_far():
    script = {"a": Slow(1.0, Reply("a")), "b": Slow(2.0, Reply("b")), "c": Hang()}
    for take, best in (("best", "a"), ("majority", "a")):
        async with routed(script, **parallel(take, judge=Scores(a=0.8, b=0.5))) as r:
            reply = await r.ask(deadline_s=5.0)
            assert (reply.text, reply.trace.duration_s) == (best, pytest.approx(5.0))
            assert told(reply) == {"a": "ok", "b": "cancelled", "c": "failed"}


async def test_a_judge_that_hangs_does_not_lose_a_judged_answer():
    class HangsOnB(Scores):
        @hookimpl
        async def asyncrouter_judge(self, response):
            if response.text == "b":
                await anyio.sleep_forever()
            return await super().asyncrouter_judge(response)

    script = {"a": Slow(1.0, Reply("a")), "b": Slow(2.0, Reply("b")), "c": Reply("c")}
    async with routed(script, **parallel("best", judge=HangsOnB(a=0.8, c=0.4))) as r:
        assert (await r.ask(deadline_s=5.0)).text == "a"


async def test_the_callers_cancellation_reaches_all_and_frees_their_slots():
    tables = {name: {"limits": {"concurrency": 1}} for name in ABC}
    for take in ("best", "majority"):
        script = {"a": Slow(1.0, Reply("a")), "b": Hang(), "c": Hang()}
        async with routed(script, deployments=tables, **parallel(take)) as r:
            with anyio.move_on_after(2.0) as scope:
                await r.ask()
            assert scope.cancelled_caught
            assert {call.deployment.name: call.outcome for call in r.provider.calls} == {
                "a": "ok", "b": "cancelled", "c": "cancelled"
            }  # fmt: skip


async def test_a_broken_judge_counts_as_acceptance():
    class Broken:
        @hookimpl
        async def asyncrouter_judge(self, response):
            raise ZeroDivisionError

    async with routed({"a": Slow(1.0), "b": Reply("b"), "c": Slow(2.0)}, **parallel("best", judge=Broken())) as r:
        assert set(told(await r.ask()).values()) == {"ok", "cancelled"}


async def test_a_selections_own_wish_stands():
    class Alone:
        @hookimpl
        def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[::-1], parallel=2, take="first", reason="own")

    script = {"a": Hang(), "b": Hang(), "c": Reply("c")}
    async with routed(script, **parallel("majority", select=Alone())) as r:
        reply = await r.ask()
        assert (reply.text, set(r.called)) == ("c", {"b", "c"})


async def test_a_plugins_failure_ends_the_call_and_the_others():
    class BreaksOnB:
        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            if deployment.name == "b":
                raise ZeroDivisionError
            return await call(request, deployment)

    script = {"a": Hang(), "b": Reply("b"), "c": Hang()}
    async with routed(script, plugins=[BreaksOnB()], alive=False, **parallel("best")) as r:
        await r.fails(PluginContractError)
        assert {call.outcome for call in r.provider.calls} <= {"cancelled"}


async def test_a_selector_that_declines_leaves_the_configured_order():
    class Declines:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return None

    async with routed(Reply("same"), **parallel("majority", select=Declines())) as r:
        reply = await r.ask()
        assert (reply.trace.selection.reason, reply.deployment) == ("configured order", "a")


async def test_every_selector_may_be_widened():
    for select in ("priority", "weighted", "round_robin", {"use": "complexity", "threshold": 0.5}):
        async with routed(Reply("same"), **parallel("majority", k=2, select=select)) as r:
            reply = await r.ask()
            assert (reply.trace.selection.parallel, reply.trace.selection.take) == (2, "majority")
            assert len(r.called) == 2


async def test_a_stream_takes_the_first_output():
    script = {"a": Slow(2.0, Reply("a")), "b": Slow(1.0, Reply("b")), "c": Slow(3.0, Reply("c"))}
    async with routed(script, **parallel("best")) as r:
        _, response = await r.read()
        assert response.text == "b"


async def test_a_request_that_must_not_be_made_twice_is_made_once():
    async with routed(Reply("x"), **parallel("majority")) as r:
        await r.ask(metadata={"idempotent": False})
        assert r.called == ["a"]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"k": 0}, r"groups\.chat\.parallel\.k"),
        ({"k": 2, "take": "worst"}, r"groups\.chat\.parallel\.take: expected first, best or majority"),
        ({"take": "best", "of": 3}, r"groups\.chat\.parallel\.of: unknown key"),
    ],
)
async def test_wrong_tables_are_told(table, fault):
    config = {
        "deployments": {"a": {"provider": "openai", "model": "m", "price": {"input": 0, "output": 0}}},
        "groups": {"chat": {"deployments": ["a"], "parallel": table}},
        "providers": {"openai": {"api_key": "x"}},
    }
    with pytest.raises(ConfigError, match=fault):
        Router.from_config(config)
