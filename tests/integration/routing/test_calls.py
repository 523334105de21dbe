"""What callers may ask and what they are told: names, parameters, agents, explain, metrics, wrong input."""

from __future__ import annotations

import math

import anyio
import pytest
from routed import PROMPT, check_secrecy, routed

from asyncrouter import (
    ConfigError,
    Estimate,
    InvalidRequest,
    NoDeploymentAvailable,
    Router,
    ServerError,
    UnknownModelGroup,
    Usage,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, fake_router
from asyncrouter.types.events import FeedbackGiven

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


# ---------------------------------------------------------------- names


async def test_a_name_is_a_deployment_a_group_a_provider_with_a_model_or_a_known_model():
    groups = {"chat": {"deployments": ["a", "b"]}, "other": {"deployments": ["b"]}}
    async with routed(groups=groups) as r:
        answered = {}
        for name in (None, "chat", "other", "b", "fake/model-b", "fake/unheard-of", "model-b"):
            answered[name] = await r.ask(model=name)
        assert {name: reply.deployment for name, reply in answered.items()} == {
            None: "a",
            "chat": "a",
            "other": "b",
            "b": "b",
            "fake/model-b": "b",
            "fake/unheard-of": "fake/unheard-of",
            "model-b": "b",
        }
        assert answered["fake/unheard-of"].model == "unheard-of"
        assert r.provider.calls[5].request.model == "fake/unheard-of"


async def test_a_name_of_a_preset_provider_needs_no_configuration():
    provider = FakeProvider()
    async with Router.from_config({"providers": {"openai": provider, "anthropic": provider}}) as router:
        assert (await router.generate("hi", model="gpt-4o-mini")).deployment == "gpt-4o-mini"
        assert (await router.generate("hi", model="openai/gpt-4o")).model == "gpt-4o"


async def test_an_unknown_name_is_told_with_the_nearest():
    async with routed(groups={"thinking": {"deployments": ["a"]}}) as r:
        with pytest.raises(UnknownModelGroup, match='did you mean "thinking"'):
            await r.router.generate(PROMPT, model="thinkin")
        with pytest.raises(LookupError):
            r.router.stream(PROMPT, model="nowhere")
        with pytest.raises(UnknownModelGroup):
            await r.router.explain(PROMPT, model="nowhere")


async def test_without_a_default_a_name_is_needed():
    config = {
        "providers": {"fake": FakeProvider()},
        "deployments": {name: {"provider": "fake", "model": name} for name in "ab"},
    }
    async with Router.from_config(config) as router:
        assert (await router.generate("hi", model="b")).deployment == "b"
        with pytest.raises(UnknownModelGroup, match="no model was named"):
            await router.generate("hi")


async def test_a_name_alone_gets_the_settings_of_the_default_group():
    async with routed([Fail(ServerError), Reply()], retry="none", timeouts={"attempt_s": 3.0}) as r:
        r.provider.play(Hang())
        from asyncrouter import AllAttemptsFailed

        await r.fails(AllAttemptsFailed, model="b")
        assert anyio.current_time() == 3.0


# ---------------------------------------------------------------- parameters


async def test_parameters_are_laid_over_each_other_the_callers_on_top():
    settings = {"params": {"one": "router", "two": "router", "three": "router", "four": "router", "five": "router"}}
    group = {"params": {"two": "group", "three": "group", "four": "group", "five": "group"}}
    deployment = {"params": {"three": "deployment", "four": "deployment", "five": "deployment"}}
    agents = {"recon": {"params": {"four": "agent", "five": "agent"}}}
    async with routed(settings=settings, deployments={"a": deployment}, agents=agents, **group) as r:
        r.began += 1
        await r.router.for_agent("recon").generate(PROMPT, five="caller")
        await r.ask(five="caller")
        assert r.provider.calls[0].request.params == {
            "one": "router",
            "two": "group",
            "three": "deployment",
            "four": "agent",
            "five": "caller",
        }
        assert r.provider.calls[1].request.params["four"] == "deployment"


async def test_messages_and_parameters_reach_the_provider_untouched():
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "be brief"}], "name": "house"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}, "odd"]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "unknown": {"x": [1, None]}}]},
    ]
    unknown = {"tools": TOOLS, "logit_bias": {"1": -1}, "vendor_option": [None, {"deep": True}], "n": 1}
    async with routed() as r:
        await r.ask(messages, **unknown)
        assert r.provider.calls[0].request.messages is messages
        assert r.provider.calls[0].request.params == unknown


async def test_each_deployment_gets_its_own_parameters_on_the_way():
    deployments = {"a": {"params": {"max_tokens": 1}}, "b": {"params": {"max_tokens": 2}}}
    async with routed({"a": Fail(ServerError), "b": Reply()}, deployments=deployments) as r:
        await r.ask()
        assert [call.request.params for call in r.provider.calls] == [{"max_tokens": 1}, {"max_tokens": 2}]


async def test_session_and_metadata_travel_but_are_not_parameters():
    async with routed() as r:
        await r.ask(session="s", metadata={"k": "v"})
        request = r.provider.calls[0].request
        assert (request.session, request.metadata, request.params) == ("s", {"k": "v"}, {})


async def test_the_caller_keeps_what_was_passed():
    messages, metadata = [{"role": "user", "content": PROMPT}], {"k": "v"}
    async with routed({"a": Fail(ServerError), "b": Reply()}, params={"x": 1}) as r:
        await r.ask(messages, metadata=metadata, stop=["."])
    assert messages == [{"role": "user", "content": PROMPT}]
    assert metadata == {"k": "v"}


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "prompt: is empty"),
        ({"prompt": "  \n"}, "prompt: is empty"),
        ({"prompt": []}, "the list of messages is empty"),
        ({"prompt": {"role": "user"}}, "expected a str or a list"),
        ({"prompt": ["no message"]}, r"messages\[0\]"),
        ({"complexity": math.nan}, "complexity"),
        ({"complexity": 1.1}, "complexity"),
        ({"complexity": "high"}, "complexity"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"messages": []}, "messages: is set by the router; pass the messages as the first argument"),
    ],
)
async def test_it_is_refused_before_any_call(arguments, words):
    arguments = {"prompt": PROMPT, **arguments}
    prompt = arguments.pop("prompt")
    async with routed() as r:
        for call in (r.router.generate, r.router.explain):
            with pytest.raises(InvalidRequest, match=words) as caught:
                await call(prompt, **arguments)
            assert isinstance(caught.value, ValueError)
            check_secrecy(caught.value)
        with pytest.raises(InvalidRequest, match=words):
            r.router.stream(prompt, **arguments)
        assert r.called == []


async def test_streaming_is_not_a_parameter():
    async with routed() as r:
        with pytest.raises(InvalidRequest, match=r"stream: is set by the router; use router\.stream"):
            await r.router.generate(PROMPT, stream=True)


async def test_a_router_that_is_not_open_says_so():
    router = fake_router()
    with pytest.raises(RuntimeError, match="async with"):
        await router.generate("hi")
    async with router:
        await router.generate("hi")
        with pytest.raises(RuntimeError, match="entered before"):
            await router.__aenter__()
    for call in (router.generate("hi"), router.explain("hi")):
        with pytest.raises(RuntimeError, match="not open"):
            await call
    with pytest.raises(RuntimeError, match="not open"):
        router.stream("hi")
    await router.aclose()


# ---------------------------------------------------------------- agents


AGENTS = {
    "recon": {"group": "deep", "complexity_threshold": 0.8, "params": {"temperature": 0}, "deadline_s": 5.0},
    "writer": {"model_name": "a", "backup_model": "b", "complexity_threshold": 0.5, "max_attempts": 1},
    "plain": {},
}
DEEP = {
    "chat": {"deployments": ["a", "b"]},
    "deep": {"deployments": ["a", "b"], "select": {"use": "complexity", "threshold": 0.2}},
}


async def test_a_profile_is_the_defaults_of_its_calls():
    async with routed(groups=DEEP, agents=AGENTS) as r:
        recon = r.router.for_agent("recon")
        assert recon.name == "recon"
        assert recon.plan.select.options["threshold"] == 0.8
        r.began += 4
        assert (await recon.generate(PROMPT, complexity=0.79)).deployment == "a"
        assert (await recon.generate(PROMPT, complexity=0.8)).deployment == "b"
        assert (await recon.generate(PROMPT, model="chat", complexity=0.9)).deployment == "a"
        async with recon.stream(PROMPT, complexity=0.9) as stream:
            assert "".join([chunk.text async for chunk in stream]) == "ok"
        assert stream.response.deployment == "b"
        assert stream.response.trace.agent == "recon"
        assert [call.request.params for call in r.provider.calls] == [{"temperature": 0}] * 4
        assert (await recon.explain(PROMPT, complexity=0.9)).ranking[0].deployment == "b"
        assert recon.metrics().agents["recon"].calls == 4
        assert r.router.metrics().deployments["a"].calls == 2


async def test_its_deadline_and_attempts_are_its_own():
    from asyncrouter import AllAttemptsFailed, DeadlineExceeded

    async with routed({"a": Hang(), "b": Reply()}, groups=DEEP, agents=AGENTS) as r:
        r.began += 3
        with pytest.raises(DeadlineExceeded):
            await r.router.for_agent("recon").generate(PROMPT, complexity=0.1)
        assert anyio.current_time() == 5.0
        with pytest.raises(DeadlineExceeded):
            await r.router.for_agent("recon").generate(PROMPT, complexity=0.1, deadline_s=2.0)
        assert anyio.current_time() == 7.0
        r.provider.play(Fail(ServerError))
        with pytest.raises(AllAttemptsFailed) as caught:
            await r.router.for_agent("writer").generate(PROMPT)
        assert len(caught.value.errors) == 1


async def test_an_agent_without_settings_works_on_the_default():
    async with routed(groups=DEEP, agents=AGENTS) as r:
        r.began += 1
        assert (await r.router.for_agent("plain").generate(PROMPT)).trace.groups == ("chat",)


async def test_an_unknown_agent_is_told_with_the_nearest():
    async with routed(groups=DEEP, agents=AGENTS) as r:
        with pytest.raises(ConfigError, match='did you mean "recon"'):
            r.router.for_agent("recno")
    async with routed() as r:
        with pytest.raises(ConfigError, match="known: none"):
            r.router.for_agent("recno")


async def test_plans_tell_what_is_asked():
    async with routed(groups=DEEP, agents=AGENTS) as r:
        assert r.router.plan().group.name == "chat"
        assert r.router.plan("recon").group.name == "deep"
        assert r.router.plan("plain").group.name == "chat"


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


# ---------------------------------------------------------------- usage, cost, metrics


async def test_missing_usage_is_estimated_and_flagged():
    async with routed(Reply("x" * 40, usage=None), deployments={"a": {"price": {"input": 1.0, "output": 3.0}}}) as r:
        reply = await r.ask()
    assert reply.usage.estimated
    assert reply.usage.output_tokens == 10
    assert reply.usage.input_tokens == reply.trace.estimate.input_tokens
    assert reply.cost_usd == pytest.approx((reply.usage.input_tokens + 30) / 1e6)


async def test_missing_usage_without_a_price_is_estimated_too():
    async with routed(Reply("x" * 40, usage=None)) as r:
        reply = await r.ask()
    assert (reply.usage.estimated, reply.usage.output_tokens, reply.cost_usd) == (True, 10, None)


async def test_the_cost_follows_the_price_of_who_answered_cached_tokens_included():
    price = {"input": 10.0, "output": 20.0, "cached_input": 1.0}
    usage = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=60)
    async with routed({"a": Fail(ServerError), "b": Reply(usage=usage)}, deployments={"b": {"price": price}}) as r:
        reply = await r.ask()
    assert reply.cost_usd == pytest.approx((40 * 10 + 60 * 1 + 10 * 20) / 1e6)


async def test_tokens_of_reasoning_cost_what_they_cost():
    price = {"input": 1.0, "output": 20.0, "reasoning": 5.0}
    usage = Usage(input_tokens=100, output_tokens=50, reasoning_tokens=40)
    async with routed({"a": Reply(usage=usage)}, deployments={"a": {"price": price}}) as r:
        reply = await r.ask()
        assert r.router.metrics().total.cost_usd == reply.cost_usd
    assert reply.cost_usd == pytest.approx((100 * 1 + 10 * 20 + 40 * 5) / 1e6)


async def test_metrics_tell_what_happened_to_whom():
    price = {"price": {"input": 1.0, "output": 1.0}}
    agents = {"recon": {"params": {}}}
    script = {"a": [Slow(2.0), Fail(ServerError), Hang(), Reply()], "b": Slow(4.0)}
    async with routed(script, deployments={"a": price, "b": price}, agents=agents) as r:
        await r.ask()
        r.began += 1
        await r.router.for_agent("recon").generate(PROMPT)
        with anyio.move_on_after(1.0):
            await r.ask()
        metrics = r.router.metrics()
        a, b, recon, total = metrics.deployments["a"], metrics.deployments["b"], metrics.agents["recon"], metrics.total
        left = r.recorder.finished[-1].trace.estimate.input_tokens  # who was left has read the prompt at least
        assert left > 0
        assert (a.calls, a.failures, a.cancelled, a.in_flight, a.input_tokens) == (3, 1, 1, 0, 10 + left)
        assert (b.calls, b.fallbacks, b.output_tokens) == (1, 1, 5)
        assert (recon.calls, recon.failures, recon.fallbacks, recon.input_tokens) == (1, 0, 1, 10)
        assert (total.calls, total.cancelled, total.fallbacks, total.input_tokens) == (3, 1, 1, 20 + left)
        assert total.cost_usd == pytest.approx((30 + left) / 1e6)
        assert recon.cost_usd == pytest.approx(15 / 1e6)
        assert a.latency_s.p50 == pytest.approx(2.0, rel=0.06)
        assert b.latency_s.p50 == pytest.approx(4.0, rel=0.06)
        assert recon.latency_s.p99 == pytest.approx(4.0, rel=0.06)


async def test_a_snapshot_is_frozen():
    async with routed() as r:
        metrics = r.router.metrics()
        await r.ask()
        assert metrics.total.calls == 0
        with pytest.raises(AttributeError):
            metrics.total.calls = 5
        assert r.router.metrics().total.calls == 1


async def test_calls_under_way_are_counted():
    async with routed(Slow(5.0)) as r, anyio.create_task_group() as tasks:
        tasks.start_soon(r.ask)
        tasks.start_soon(r.ask)
        await anyio.sleep(1.0)
        assert r.router.metrics().deployments["a"].in_flight == 2


async def test_feedback_reaches_the_observers():
    async with routed() as r:
        reply = await r.ask()
        await r.router.feedback(reply, 0.5)
        (given,) = r.recorder.of(FeedbackGiven)
        assert (given.response, given.score) == (reply, 0.5)
        for wrong in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match="score"):
                await r.router.feedback(reply, wrong)


async def test_feedback_without_observers_is_heard_by_nobody():
    async with routed(observed=False) as r:
        await r.router.feedback(await r.ask(), 1.0)


async def test_nothing_is_told_where_nobody_listens():
    async with routed({"a": Fail(ServerError), "b": Reply()}, observed=False) as r:
        assert (await r.ask()).deployment == "b"
        _, response = await r.read()
        assert response.deployment == "b"


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
