"""What callers may ask: names, parameters, agents; and how wrong input is refused."""

from __future__ import annotations

import math

import anyio
import pytest
from routed import PROMPT, TOOLS, check_secrecy, routed

from asyncrouter import ConfigError, InvalidRequest, Router, ServerError, UnknownModelGroup
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, fake_router

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
        ({"model": 5}, "model: expected a str"),
        ({"model": ["chat"]}, "model: expected a str"),
        ({"session": 5}, "session: expected a str"),
        ({"metadata": ["idempotent"]}, "metadata: expected a mapping"),
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


STRANGE = ["opnai/" + "m" * 10_000, "openai" * 20, "opnai/x\x1b[31m\nINFO all is well"]
STRANGE += ["openai/" + "m" * 300, "openai/x\r\nX-Injected: 1", "gpt-4\x00", "fake/x\u2028y"]


@pytest.mark.parametrize("name", STRANGE)
async def test_an_unknown_name_that_is_long_or_strange_is_not_repeated(name):
    async with routed() as r:
        with pytest.raises(UnknownModelGroup) as caught:
            await r.router.generate(PROMPT, model=name)
    assert len(str(caught.value)) <= 256
    assert str(caught.value).isprintable()


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


@pytest.mark.parametrize(
    ("own", "faults"),
    [
        ({}, ["agents.recon.complexity_threshold: as threshold of the group's select 'weighted': unknown key"]),
        ({"model_name": "a", "backup_model": "b"}, []),
    ],
)
async def test_what_an_agent_lays_over_a_strategy_is_refused_where_the_agent_says_it(own, faults):
    chat = {"deployments": ["a", "b"], "select": "weighted", "retry": "none"}
    agents = {"recon": {**own, "complexity_threshold": 0.4, "jitter": False}}
    with pytest.raises(ConfigError) as caught:
        async with routed(groups={"chat": chat}, agents=agents):
            pytest.fail("it takes what it does not know")
    no_jitter = "agents.recon.jitter: as jitter of the group's retry 'none': unknown key"
    assert [f"{one.path}: {one.message}" for one in caught.value.faults] == [*faults, no_jitter]


@pytest.mark.parametrize("agent", [{"max_retries": 1}, {"model_name": "a"}])
async def test_what_an_agent_inherits_is_refused_once_where_the_group_says_it(agent):
    chat = {"deployments": ["a", "b"], "estimate": {"use": "constant", "complexty": 1}}
    with pytest.raises(ConfigError) as caught:
        async with routed(groups={"chat": chat}, agents={"recon": agent}):
            pytest.fail("it takes what it does not know")
    assert [str(one) for one in caught.value.faults] == [
        'groups.chat.estimate.complexty: unknown key; did you mean "complexity"?'
    ]


async def test_plans_tell_what_is_asked():
    async with routed(groups=DEEP, agents=AGENTS) as r:
        assert r.router.plan().group.name == "chat"
        assert r.router.plan("recon").group.name == "deep"
        assert r.router.plan("plain").group.name == "chat"
