"""How it is decided who answers: told by explain without a call, from estimates, by the selectors at work."""

from __future__ import annotations

import anyio
import pytest
from routed import PROMPT, TOOLS, check_secrecy, routed

from asyncrouter import Estimate, NoDeploymentAvailable, ServerError, Usage, hookimpl
from asyncrouter.testing import Fail, Reply, Slow

# ---------------------------------------------------------------- explain


async def test_explain_is_the_decision_without_the_call():
    tables = {"a": {"price": {"input": 1.0, "output": 2.0}}, "b": {"context_window": 100_000}}
    async with routed(deployments=tables, select={"use": "complexity", "threshold": 0.5}, fallbacks=[]) as r:
        decision = await r.router.explain(PROMPT, complexity=0.9)
        assert r.called == []
        assert (decision.group, decision.fallbacks) == ("chat", ())
        assert [(one.rank, one.deployment, one.model, one.ready) for one in decision.ranking] == [
            (1, "b", "model-b", True),
            (2, "a", "model-a", True),
        ]
        assert decision.ranking[0].reason == decision.selection.reason == "complexity 0.90 >= 0.50"
        assert decision.ranking[1].reason == "next in the selection"
        assert decision.ranking[0].expected_cost_usd is None
        tokens = decision.estimate.input_tokens
        assert decision.ranking[1].expected_cost_usd == pytest.approx((tokens + 2 * 256) / 1e6)
        assert (decision.estimate.source, decision.estimate.complexity) == ("caller", 0.9)
        reply = await r.ask(complexity=0.9)
        assert reply.trace.selection == decision.selection
        check_secrecy(decision)


async def test_explain_tells_who_is_left_out_and_why():
    tables = {"a": {"capabilities": ["streaming"]}, "b": {}}
    async with routed(deployments=tables, alive=False) as r:
        r.state("b").cool_until(8.0)
        decision = await r.router.explain(PROMPT, tools=TOOLS)
        assert decision.selection is None
        assert [(one.rank, one.deployment, one.ready, one.reason) for one in decision.ranking] == [
            (0, "a", True, "filtered out: it cannot serve this request"),
            (0, "b", False, "set aside for 8 s"),
        ]


async def test_explain_may_be_asked_of_a_stream():
    async with routed(deployments={"a": {"capabilities": ["tools"]}}, alive=False) as r:
        assert (await r.router.explain(PROMPT)).ranking[0].deployment == "a"
        assert (await r.router.explain(PROMPT, stream=True)).ranking[0].deployment == "b"


@pytest.mark.parametrize("select", ["weighted", {"use": "latency", "explore": 0.5}])
async def test_explain_does_not_disturb_random_choices(select):
    async def choices(explained):
        async with routed(select=select, seed=3) as r:
            chosen = []
            for _ in range(12):
                if explained:
                    decision = await r.router.explain(PROMPT)
                chosen.append((await r.ask()).deployment)
                if explained:
                    assert decision.ranking[0].deployment == chosen[-1], "what is explained is what is done"
            return chosen

    plain = await choices(explained=False)
    assert await choices(explained=True) == plain
    assert set(plain) == {"a", "b"}


async def test_explain_leaves_state_and_metrics_alone():
    async with routed(deployments={"a": {"limits": {"rpm": 1, "concurrency": 1}}}) as r:
        before = r.router.metrics()
        for _ in range(5):
            await r.router.explain(PROMPT, session="s", metadata={"k": 1}, deadline_s=3)
        assert r.router.metrics() == before
        assert r.recorder.events == []
        assert (await r.ask()).deployment == "a"


async def test_round_robin_takes_a_turn_even_when_explained():
    async with routed(select="round_robin") as r:
        assert (await r.router.explain(PROMPT)).ranking[0].deployment == "a"
        assert (await r.ask()).deployment == "b"


async def test_the_cost_is_expected_from_the_estimate_or_the_answers_seen():
    tables = {"a": {"price": {"input": 0.0, "output": 1.0}}}
    async with routed(Reply(usage=Usage(input_tokens=1, output_tokens=1000)), deployments=tables) as r:
        await r.ask()
        assert (await r.router.explain(PROMPT)).ranking[0].expected_cost_usd == pytest.approx(1e-3)
        bounded = await r.router.explain(PROMPT, max_tokens=7)
        assert bounded.ranking[0].expected_cost_usd == pytest.approx(7e-6)


# ---------------------------------------------------------------- estimates


async def test_the_callers_complexity_is_not_estimated_again():
    class Never:
        @hookimpl
        async def asyncrouter_estimate(self):
            raise AssertionError("asked")

    async with routed(plugins=[Never()]) as r:
        reply = await r.ask(complexity=0.25)
        assert reply.trace.estimate == Estimate(
            complexity=0.25,
            input_tokens=reply.trace.estimate.input_tokens,
            reason="given by the caller",
            source="caller",
        )
        assert reply.trace.notes == ()


async def test_without_any_estimate_the_middle_is_assumed():
    class Nobody:
        @hookimpl
        async def asyncrouter_estimate(self):
            return None

    async with routed(estimate=Nobody()) as r:
        estimate = (await r.ask()).trace.estimate
        assert (estimate.complexity, estimate.source) == (0.5, "default")
        assert estimate.input_tokens > 0


async def test_one_estimate_a_request():
    class Counting:
        asked = 0

        @hookimpl
        async def asyncrouter_estimate(self):
            self.asked += 1

    counting = Counting()
    groups = {"chat": {"deployments": ["a"], "retry": "none", "fallbacks": ["other"]}, "other": {"deployments": ["b"]}}
    async with routed({"a": Fail(ServerError), "b": Reply()}, groups=groups, plugins=[counting]) as r:
        await r.ask()
        assert counting.asked == 1


async def test_a_selector_without_an_opinion_leaves_the_configured_order():
    class Nobody:
        @hookimpl
        async def asyncrouter_select(self):
            return None

    async with routed(select=Nobody()) as r:
        reply = await r.ask()
        assert (reply.deployment, reply.trace.selection.reason) == ("a", "configured order")


# ---------------------------------------------------------------- selectors at work


async def test_the_complexity_decides_between_two():
    async with routed(select={"use": "complexity", "threshold": 0.7}) as r:
        assert (await r.ask(complexity=0.69)).deployment == "a"
        assert (await r.ask(complexity=0.7)).deployment == "b"
        hard = "Explain in detail, step by step, and prove: " + "analyze the complexity of this algorithm. " * 30
        easy = await r.ask("hi")
        assert easy.trace.estimate.complexity < (await r.ask(hard)).trace.estimate.complexity


async def test_race_and_hedge_leave_nothing_behind():
    class Race:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            from asyncrouter import Selection

            return Selection(deployments=candidates, parallel=2)

    race = Race()
    async with routed({"a": Slow(5), "b": Slow(1, then=Reply("b"))}, plugins=[race]) as r:
        reply = await r.ask()
        assert (reply.text, anyio.current_time()) == ("b", 1.0)
        assert sorted((one.deployment, str(one.outcome)) for one in reply.trace.attempts) == [
            ("a", "cancelled"),
            ("b", "ok"),
        ]
        r.router.unregister(race)


async def test_the_smallest_windows_are_left_out_for_long_prompts():
    tables = {"a": {"context_window": 50}, "b": {"context_window": 50_000}}
    async with routed(deployments=tables, alive=False) as r:
        assert (await r.ask("short")).deployment == "a"
        assert (await r.ask("word " * 500)).deployment == "b"


async def test_tools_and_pictures_go_to_those_that_can():
    tables = {"a": {"capabilities": []}}
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    async with routed(deployments=tables, alive=False) as r:
        assert (await r.ask()).deployment == "a"
        assert (await r.ask(tools=TOOLS)).deployment == "b"
        assert (await r.ask(picture)).deployment == "b"
        assert (await r.ask(response_format={"type": "json_schema", "json_schema": {}})).deployment == "b"
        _, response = await r.read()
        assert response.deployment == "b"


async def test_nobody_who_can_is_told():
    async with routed(deployments={name: {"capabilities": []} for name in "ab"}, alive=False) as r:
        with pytest.raises(NoDeploymentAvailable, match="filters left none"):
            await r.read()
