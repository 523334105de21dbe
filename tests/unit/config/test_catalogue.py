"""The catalogue: defaults filled in, overlays of agents, and names resolved."""

from __future__ import annotations

import pytest

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import (
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    HedgeSettings,
    ProviderSettings,
    RouterConfig,
    RouterSettings,
)
from asyncrouter.types.deployments import ALL_CAPABILITIES, BreakerSettings, Limits, Price, Timeouts
from asyncrouter.types.errors import ConfigError, UnknownModelGroup


@pytest.fixture
def catalogue_of(base):
    def build(**changes):
        return build_catalogue(load_config({**base, **changes}))

    return build


def names(plan):
    return [deployment.name for deployment in plan.group.deployments]


def uses(specs):
    return [spec.use for spec in specs]


class TestGroups:
    def test_defaults(self, catalogue_of):
        plan = catalogue_of().groups["chat"]
        assert (plan.estimate.use, plan.select.use, plan.retry.use) == ("heuristic", "priority", "exponential")
        assert uses(plan.filters) == ["capability", "context_window", "cooldown"]
        assert uses(plan.fallbacks) == ["next", "larger_context"]
        assert (plan.judge, plan.hedge, plan.path) == (None, None, "groups.chat")
        group = plan.group
        assert (group.name, names(plan), group.fallbacks) == ("chat", ["mini", "big"], ())
        assert (group.patience_s, group.deadline_s, group.max_attempts) == (2.5, 60.0, 6)
        assert (group.timeouts, group.on_interrupt) == (Timeouts(), "raise")
        deployment = group.deployments[0]
        assert (deployment.provider, deployment.model, deployment.price) == ("openai", "gpt-4o-mini", None)
        assert (deployment.limits, deployment.context_window, deployment.weight) == (Limits(), None, 1.0)
        assert (deployment.capabilities, deployment.tags) == (ALL_CAPABILITIES, frozenset())
        assert deployment.breaker == BreakerSettings()

    def test_everything_said(self, base, catalogue_of):
        judge, fallback = object(), object()
        group = {
            "deployments": ["mini"],
            "estimate": {"use": "constant", "complexity": 0.5},
            "select": "cost",
            "retry": "none",
            "filters": ["cooldown"],
            "judge": judge,
            "fallback": fallback,
            "fallbacks": ["spare"],
            "fallback_on": ["content_filter"],
            "patience_s": 0,
            "deadline_s": 9,
            "max_attempts": 2,
            "breaker": {"failures": 2},
            "hedge": {"at": 0.5},
            "timeouts": {"idle_s": 1.5},
            "on_interrupt": "restart",
            "params": {"temperature": 0},
        }
        deployment = {
            "provider": "openai",
            "model": "gpt-4o-mini",
            "price": {"input": 1, "output": 2},
            "limits": {"rpm": 5},
            "context_window": 1000,
            "capabilities": ["tools"],
            "weight": 0,
            "params": {"top_p": 1},
            "tags": ["eu"],
        }
        catalogue = catalogue_of(
            groups={"chat": group, "spare": base["groups"]["spare"]},
            deployments={**base["deployments"], "mini": deployment},
            router={"params": {"temperature": 1, "user": "u"}},
        )
        plan = catalogue.groups["chat"]
        assert (plan.estimate.use, plan.estimate.options) == ("constant", {"complexity": 0.5})
        assert (plan.select.use, plan.retry.use, uses(plan.filters)) == ("cost", "none", ["cooldown"])
        assert plan.judge.instance is judge
        assert uses(plan.fallbacks) == ["", "next", "group_chain", "larger_context", "content_filter"]
        assert plan.fallbacks[0].instance is fallback
        assert [spec.options for spec in plan.fallbacks[1:]] == [{}, *[{"groups": ("spare",)}] * 3]
        assert plan.hedge == HedgeSettings(at=0.5, max_extra_load=0.05)
        assert plan.group.fallbacks == ("spare",)
        assert (plan.group.patience_s, plan.group.deadline_s, plan.group.max_attempts) == (0, 9, 2)
        assert plan.group.timeouts == Timeouts(idle_s=1.5)
        assert plan.group.on_interrupt == "restart"
        assert plan.group.params == {"temperature": 0, "user": "u"}
        mini = catalogue.deployments["mini"]
        assert plan.group.deployments == (mini,)
        assert (mini.price, mini.limits) == (Price(input=1, output=2), Limits(rpm=5))
        assert (mini.context_window, mini.capabilities, mini.weight) == (1000, {"tools"}, 0)
        assert (mini.params, mini.tags, mini.breaker) == ({"top_p": 1}, {"eu"}, BreakerSettings(failures=2))
        assert catalogue.deployments["big"].breaker == BreakerSettings()

    def test_bounds_of_the_router(self, catalogue_of):
        group = catalogue_of(router={"deadline_s": 7, "max_attempts": 2}).groups["chat"].group
        assert (group.deadline_s, group.max_attempts) == (7, 2)

    def test_what_the_parts_say_of_each_other_is_checked_here_too(self):
        config = RouterConfig(
            deployments={"a": DeploymentSettings(provider="nix", model="m")},
            groups={"g": GroupSettings(deployments=["b"], fallbacks=["g"])},
        )
        with pytest.raises(ConfigError) as caught:
            build_catalogue(config)
        assert [fault.path for fault in caught.value.faults] == [
            "deployments.a.provider",
            "groups.g.deployments[0]",
            "groups.g.fallbacks",
        ]
        with pytest.raises(ConfigError):
            load_config(config)


class TestProviders:
    def test_the_kind_is_the_name_unless_told(self, base, catalogue_of, provider):
        catalogue = catalogue_of(providers={**base["providers"], "house": {"kind": "openai"}, "mine": provider})
        assert catalogue.providers["openai"].kind == "openai"
        assert catalogue.providers["openai"].options == {"api_key_env": "OPENAI_API_KEY"}
        assert catalogue.providers["house"].kind == "openai"
        assert catalogue.providers["mine"].instance is provider
        assert catalogue.providers["mine"].kind is None

    def test_a_preset_needs_no_table(self, base):
        del base["providers"]
        assert build_catalogue(load_config(base)).deployments["mini"].provider == "openai"


@pytest.fixture
def provider():
    class Mine:
        async def complete(self, request, deployment, timeouts): ...

        def stream(self, request, deployment, timeouts): ...

        async def aclose(self): ...

    return Mine()


class TestDefault:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, None),
            ({"router": {"default": "spare"}}, "spare"),
            ({"router": {"default": "mini"}}, "mini"),
            ({"router": {"default": "openai/gpt-4"}}, "openai/gpt-4"),
            ({"router": {"default": "own"}, "agents": {"own": {"model_name": "gpt-4"}}}, "own"),
            (
                {"groups": {"default": {"deployments": ["big"]}, "x": {"deployments": ["mini"]}}, "agents": {}},
                "default",
            ),
            ({"groups": {"x": {"deployments": ["mini"]}}, "agents": {}}, "x"),
            ({"groups": {}, "agents": {}}, None),
            ({"groups": {}, "agents": {}, "deployments": {"a": {"provider": "openai", "model": "m"}}}, "a"),
        ],
    )
    def test_which_name_stands_where_none_is_given(self, catalogue_of, changes, expected):
        catalogue = catalogue_of(**changes)
        assert catalogue.default == expected
        if expected:
            assert catalogue.resolve(None).group.name == expected
        else:
            with pytest.raises(UnknownModelGroup, match=r"pass model= or set router\.default"):
                catalogue.resolve(None)


class TestResolve:
    def test_in_order(self, base, catalogue_of):
        groups = {**base["groups"], "gpt-4": {"deployments": ["mini"]}}
        catalogue = catalogue_of(groups=groups)
        assert catalogue.resolve("chat") is catalogue.groups["chat"]
        assert names(catalogue.resolve("big")) == ["big"]
        assert names(catalogue.resolve("gpt-4")) == ["mini"]  # the group, before the model that a preset serves
        assert names(catalogue.resolve("gpt-4o")) == ["big"]  # the configured deployment, before the preset
        assert names(catalogue.resolve("openai/gpt-4o")) == ["big"]

    @pytest.mark.parametrize(
        ("name", "provider", "model"),
        [
            ("openai/gpt-4.1", "openai", "gpt-4.1"),
            ("groq/meta-llama/llama-4", "groq", "meta-llama/llama-4"),
            ("gpt-4.1", "openai", "gpt-4.1"),
            ("claude-3-opus", "anthropic", "claude-3-opus"),
            ("gemini-2.5-pro", "gemini", "gemini-2.5-pro"),
        ],
    )
    def test_a_name_that_no_configuration_lists(self, catalogue_of, name, provider, model):
        plan = catalogue_of().resolve(name)
        (deployment,) = plan.group.deployments
        assert (deployment.name, deployment.provider, deployment.model) == (name, provider, model)
        assert plan.group.name == name
        assert uses(plan.fallbacks) == ["next", "larger_context"]
        assert plan.path == "router"

    def test_a_configured_provider_goes_before_its_preset(self, catalogue_of):
        providers = {
            "local": {"kind": "openai", "base_url": "http://127.0.0.1"},
            "work": {"kind": "openai", "api_key_env": "WORK_KEY"},
            "claude": {"kind": "anthropic"},
        }
        catalogue = catalogue_of(providers=providers)
        assert catalogue.resolve("gpt-4.1").group.deployments[0].provider == "work"
        assert catalogue.resolve("claude-x").group.deployments[0].provider == "claude"
        assert catalogue.resolve("local/gpt-4.1").group.deployments[0].provider == "local"
        del providers["work"]
        assert catalogue_of(providers=providers).resolve("gpt-4.1").group.deployments[0].provider == "openai"

    def test_a_name_alone_has_the_default_groups_manners(self, catalogue_of):
        retry, judge = object(), object()
        default = {
            "deployments": ["mini", "big"],
            "select": "cost",
            "estimate": "constant",
            "retry": retry,
            "filters": [],
            "judge": judge,
            "fallbacks": ["x"],
            "hedge": {"at": 1},
            "deadline_s": 5,
            "max_attempts": 3,
            "patience_s": 1,
            "breaker": {"failures": 9},
            "timeouts": {"idle_s": 2},
            "on_interrupt": "continue",
            "params": {"temperature": 0},
        }
        catalogue = catalogue_of(
            groups={"default": default, "x": {"deployments": ["big"]}},
            agents={},
            router={"params": {"user": "u"}},
        )
        for name in ("big", "gpt-4.1"):
            plan = catalogue.resolve(name)
            assert (plan.estimate.use, plan.select.use, plan.retry.instance) == ("constant", "priority", retry)
            assert (plan.filters, plan.judge, plan.hedge, plan.group.fallbacks) == ((), None, None, ())
            assert (plan.group.deadline_s, plan.group.max_attempts, plan.group.patience_s) == (5, 3, 1)
            assert (plan.group.timeouts.idle_s, plan.group.on_interrupt) == (2, "continue")
            assert plan.group.params == {"user": "u"}
            assert plan.group.deployments[0].breaker.failures == 9
            assert plan.path == "groups.default"

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("chatt", "unknown model 'chatt'; did you mean \"chat\"?"),
            ("gpt4o-mini", "unknown model 'gpt4o-mini'; did you mean \"gpt-4o-mini\"?"),
            ("opnai/gpt-4", "unknown model 'opnai/gpt-4'; did you mean \"openai/gpt-4\"?"),
            ("zzzzz", "unknown model 'zzzzz'; write \"provider/model\" where the provider is to be told"),
            ("openai/", "unknown model 'openai/'; "),
            ("", "unknown model ''; "),
            ("tell me of the weather " * 10, "unknown model; "),
        ],
    )
    def test_an_unknown_name(self, catalogue_of, name, expected):
        with pytest.raises(UnknownModelGroup) as caught:
            catalogue_of().resolve(name)
        assert str(caught.value).startswith(expected)
        assert isinstance(caught.value, LookupError)


class TestAgents:
    def test_an_agent_on_a_group(self, catalogue_of):
        catalogue = catalogue_of(agents={"recon": {"group": "chat", "params": {"temperature": 0}}})
        agent = catalogue.agents["recon"]
        assert agent.plan is catalogue.groups["chat"]
        assert (agent.name, agent.params, agent.deadline_s, agent.max_attempts) == (
            "recon",
            {"temperature": 0},
            None,
            None,
        )

    def test_overlays(self, base, catalogue_of):
        agent = {
            "group": "chat",
            "complexity_threshold": 0.9,
            "max_retries": 0,
            "initial_delay": 0,
            "backoff_factor": 1,
            "jitter": False,
            "deadline_s": 3,
            "max_attempts": 1,
        }
        group = {
            "deployments": ["mini", "big"],
            "select": {"use": "complexity", "threshold": 0.1, "tiers": [["mini"], ["big"]]},
            "retry": {"use": "exponential", "cap_s": 4},
        }
        catalogue = catalogue_of(groups={"chat": group}, agents={"recon": agent})
        agent, chat = catalogue.agents["recon"], catalogue.groups["chat"]
        assert agent.plan.select.options == {"threshold": 0.9, "tiers": [["mini"], ["big"]]}
        assert agent.plan.retry.options == {
            "cap_s": 4,
            "max_retries": 0,
            "initial_delay_s": 0,
            "factor": 1,
            "jitter": False,
        }
        assert (agent.deadline_s, agent.max_attempts) == (3, 1)
        assert (agent.plan.group.deadline_s, agent.plan.group.max_attempts) == (3, 1)
        assert (agent.plan.group.name, agent.plan.group.deployments) == ("chat", chat.group.deployments)
        assert agent.plan.path == "agents.recon"
        assert (chat.select.options["threshold"], chat.group.deadline_s, chat.path) == (0.1, 60.0, "groups.chat")

    def test_a_threshold_makes_a_group_without_selector_choose_by_complexity(self, catalogue_of):
        plan = catalogue_of(agents={"recon": {"group": "chat", "complexity_threshold": 0.4}}).agents["recon"].plan
        assert (plan.select.use, plan.select.options) == ("complexity", {"threshold": 0.4})

    def test_a_threshold_over_another_selector_is_its_factorys_affair(self, base, catalogue_of):
        base["groups"]["chat"]["select"] = "priority"
        plan = catalogue_of(agents={"recon": {"group": "chat", "complexity_threshold": 0.4}}).agents["recon"].plan
        assert (plan.select.use, plan.select.options) == ("priority", {"threshold": 0.4})

    def test_nothing_is_laid_over_an_object(self, base, faults_of):
        base["groups"]["chat"] |= {"select": object(), "retry": object()}
        base["agents"]["recon"] |= {"complexity_threshold": 0.4, "max_retries": 1, "jitter": True}
        assert faults_of(base) == [
            (
                "agents.recon.complexity_threshold: cannot be laid over the group's select, which is an object; "
                "write select by name in the group, or leave this out"
            ),
            (
                "agents.recon.max_retries: cannot be laid over the group's retry, which is an object; "
                "write retry by name in the group, or leave this out"
            ),
            (
                "agents.recon.jitter: cannot be laid over the group's retry, which is an object; "
                "write retry by name in the group, or leave this out"
            ),
        ]

    def test_models_of_its_own_over_objects_of_the_default_group(self, base, catalogue_of):
        retry = object()
        base["groups"]["default"] = {"deployments": ["mini"], "select": object(), "retry": retry}
        plan = catalogue_of(agents={"own": {"model_name": "mini", "backup_model": "big"}}).agents["own"].plan
        assert (plan.select.use, plan.select.options) == ("complexity", {"threshold": 0.7})
        assert plan.retry.instance is retry

    def test_models_of_its_own(self, base, catalogue_of):
        base["groups"]["default"] = {
            "deployments": ["mini"],
            "select": {"use": "complexity", "threshold": 0.3},
            "breaker": {"failures": 8},
            "fallbacks": ["spare"],
            "params": {"temperature": 0},
        }
        agents = {
            "two": {"model_name": "gpt-4o", "backup_model": "groq/x", "deadline_s": 4, "max_attempts": 3},
            "one": {"model_name": "mini"},
            "same": {"model_name": "gpt-4o", "backup_model": "big", "max_retries": 2},
        }
        catalogue = catalogue_of(agents=agents)
        two = catalogue.agents["two"].plan
        assert names(two) == ["big", "groq/x"]
        assert two.select.options == {"threshold": 0.3}
        assert (two.group.deadline_s, two.group.max_attempts) == (4, 3)
        assert (two.group.fallbacks, two.group.params) == (("spare",), {"temperature": 0})
        assert catalogue.deployments["groq/x"].breaker.failures == 8
        assert catalogue.deployments["big"].breaker.failures == 5
        one = catalogue.agents["one"].plan
        assert (names(one), one.select.use) == (["mini"], "priority")
        same = catalogue.agents["same"].plan
        assert (names(same), same.retry.use, same.retry.options) == (["big"], "exponential", {"max_retries": 2})

    def test_with_nothing_to_ask(self):
        config = RouterConfig(agents={"recon": AgentSettings(params={"x": 1})})
        assert build_catalogue(config).agents["recon"].plan is None

    def test_on_a_default_that_is_a_deployment(self):
        config = RouterConfig(
            router=RouterSettings(default="gpt-4"),
            providers={"openai": ProviderSettings()},
            agents={"recon": AgentSettings(deadline_s=2), "own": AgentSettings(model_name="gpt-4", backup_model="o1")},
        )
        catalogue = build_catalogue(config)
        assert names(catalogue.agents["recon"].plan) == ["gpt-4"]
        assert catalogue.agents["recon"].plan.group.deadline_s == 2
        assert catalogue.agents["own"].plan.select.options == {"threshold": 0.7}
