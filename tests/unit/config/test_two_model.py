"""The original dictionary form."""

from __future__ import annotations

import pytest

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import AgentSettings, DeploymentSettings, ProviderSettings, RouterConfig, RouterSettings
from asyncrouter.config.two_model import two_model_config
from asyncrouter.types.errors import ConfigError

SEED = {
    "model": {
        "primary_model": "gpt-4",
        "backup_model": "gpt-3.5-turbo",
        "complexity_threshold": 0.6,
        "max_retries": 3,
        "initial_delay": 0.5,
        "backoff_factor": 3.0,
        "jitter": False,
    },
    "agents": {
        "recon": {"model_name": "claude-3-opus", "backup_model": "gpt-3.5-turbo", "complexity_threshold": 0.8},
        "prompt_engineer": {"model_name": "gpt-4", "max_retries": 1},
        "plain": {},
        "careful": {"complexity_threshold": 0.2, "jitter": True},
    },
}
RETRY = {"max_retries": 3, "initial_delay_s": 0.5, "factor": 3.0, "jitter": False}


def names(plan):
    return [deployment.name for deployment in plan.group.deployments]


def test_the_model_table_is_the_default_group():
    catalogue = build_catalogue(load_config(SEED))
    plan = catalogue.resolve(None)
    assert plan is catalogue.groups["default"]
    assert names(plan) == ["gpt-4", "gpt-3.5-turbo"]
    assert (plan.select.use, plan.select.options) == ("complexity", {"threshold": 0.6})
    assert (plan.retry.use, plan.retry.options) == ("exponential", RETRY)
    assert catalogue.deployments["gpt-4"].provider == "openai"
    assert catalogue.deployments["gpt-4"].model == "gpt-4"


def test_an_agent_with_models_is_a_group_of_its_own():
    catalogue = build_catalogue(load_config(SEED))
    recon = catalogue.agents["recon"].plan
    assert recon is catalogue.groups["recon"] is catalogue.resolve("recon")
    assert recon.group.name == "recon"
    assert recon.path == "agents.recon"
    assert names(recon) == ["claude-3-opus", "gpt-3.5-turbo"]
    assert recon.select.options == {"threshold": 0.8}
    assert recon.retry.options == RETRY
    assert catalogue.deployments["claude-3-opus"].provider == "anthropic"


def test_an_agent_takes_what_it_leaves_out_from_the_table():
    catalogue = build_catalogue(load_config(SEED))
    plan = catalogue.agents["prompt_engineer"].plan
    assert names(plan) == ["gpt-4", "gpt-3.5-turbo"]
    assert plan.select.options == {"threshold": 0.6}
    assert plan.retry.options == {**RETRY, "max_retries": 1}


def test_an_agent_without_models_works_on_the_default_group():
    catalogue = build_catalogue(load_config(SEED))
    assert catalogue.agents["plain"].plan is catalogue.groups["default"]
    careful = catalogue.agents["careful"].plan
    assert careful.group == catalogue.groups["default"].group
    assert careful.select.options == {"threshold": 0.2}
    assert careful.retry.options == {**RETRY, "jitter": True}
    assert careful.path == "agents.careful"
    assert "careful" not in catalogue.groups


def test_defaults():
    config = load_config({"model": {"primary_model": "gpt-4", "backup_model": "gpt-3.5-turbo"}})
    group = config.groups["default"]
    assert group.select.options == {"threshold": 0.7}
    assert group.retry.options == {"max_retries": 5, "initial_delay_s": 1.0, "factor": 2.0, "jitter": True}


@pytest.mark.parametrize("backup", [{}, {"backup_model": None}, {"backup_model": "gpt-4"}])
def test_one_model_is_enough(backup):
    catalogue = build_catalogue(load_config({"model": {"primary_model": "gpt-4", **backup}}))
    assert names(catalogue.resolve(None)) == ["gpt-4"]
    assert catalogue.resolve(None).select.use == "priority"


def test_models_may_be_configured_deployments_or_tell_their_provider():
    config = load_config(
        {
            "providers": {"house": {"kind": "openai", "base_url": "http://127.0.0.1:1"}},
            "deployments": {"mini": {"provider": "openai", "model": "gpt-4o-mini", "weight": 3}},
            "model": {"primary_model": "gpt-4o-mini", "backup_model": "house/gpt-4"},
        }
    )
    catalogue = build_catalogue(config)
    assert names(catalogue.resolve(None)) == ["mini", "house/gpt-4"]
    assert catalogue.deployments["house/gpt-4"].provider == "house"
    assert catalogue.deployments["house/gpt-4"].model == "gpt-4"


def test_it_may_stand_beside_groups():
    config = load_config(
        {
            **SEED,
            "groups": {"chat": {"deployments": ["mini"]}},
            "deployments": {"mini": {"provider": "openai", "model": "gpt-4o-mini"}},
            "router": {"default": "chat"},
        }
    )
    catalogue = build_catalogue(config)
    assert catalogue.default == "chat"
    assert catalogue.agents["recon"].plan.retry.options == RETRY


FAULTS = [
    ({"model": {}}, ['model.primary_model: missing; name one: primary_model = "gpt-4"']),
    ({"model": None}, ['model.primary_model: missing; name one: primary_model = "gpt-4"']),
    ({"model": "gpt-4"}, ["model: expected a table, not the string 'gpt-4'"]),
    (
        {"model": {"primary_model": "gtp-4", "backup_model": "zzzzzz/y", "max_retries": -1}},
        [
            "model.max_retries: expected a whole number of 0 or more, not -1",
            "model.primary_model: unknown model 'gtp-4'; write \"provider/model\" where the provider is to be told",
            "model.backup_model: unknown model 'zzzzzz/y'; name a configured or preset provider before the slash",
        ],
    ),
    (
        {"model": {"primary_model": "gpt-4", "complexity_treshold": 0.7}},
        ['model.complexity_treshold: unknown key; did you mean "complexity_threshold"?'],
    ),
    (
        {"model": {"primary_model": "gpt-4", "complexity_threshold": 7}},
        ["model.complexity_threshold: expected a number from 0 to 1, not 7"],
    ),
    (
        {
            "model": {"primary_model": "gpt-4"},
            "groups": {"default": {"deployments": ["mini"]}},
            "deployments": {"mini": {"provider": "openai", "model": "gpt-4o-mini"}},
        },
        ['model: makes the group "default", which groups.default makes too; keep one'],
    ),
    (
        {"model": {"primary_model": "mini"}, "deployments": {"mini": {"model": "gpt-4o-mini"}}},
        ['deployments.mini.provider: missing; name one: provider = "openai"'],
    ),
    (
        {"model": {"primary_model": "gpt-4"}, "agents": {"recon": {"backup_model": "nix"}}},
        ["agents.recon.backup_model: unknown model 'nix'; write \"provider/model\" where the provider is to be told"],
    ),
]


@pytest.mark.parametrize(("config", "expected"), FAULTS)
def test_faults(config, expected, faults_of):
    assert faults_of(config) == expected


class TestHelper:
    def test_it_says_what_the_table_says(self):
        config = two_model_config("gpt-4", "gpt-3.5-turbo", agents={"recon": AgentSettings(model_name="gpt-4o")})
        table = {
            "model": {"primary_model": "gpt-4", "backup_model": "gpt-3.5-turbo"},
            "agents": {"recon": {"model_name": "gpt-4o"}},
        }
        assert config == load_config(table)

    def test_models_of_a_base(self):
        base = RouterConfig(
            router=RouterSettings(seed=4),
            providers={"house": ProviderSettings(kind="openai")},
            deployments={"tiny": DeploymentSettings(provider="house", model="t")},
            agents={"recon": AgentSettings(backup_model="tiny")},
        )
        config = two_model_config("tiny", "house/big", base=base)
        assert config.router.seed == 4
        assert config.groups["default"].deployments == ("tiny", "house/big")
        assert config.agents["recon"].model_name == "tiny"

    @pytest.mark.parametrize(
        ("arguments", "path"),
        [
            ({"primary_model": "gtp-4"}, "primary_model"),
            ({"primary_model": ""}, "primary_model"),
            ({"primary_model": "gpt-4", "backup_model": "nix"}, "backup_model"),
            ({"primary_model": "gpt-4", "complexity_threshold": float("nan")}, "complexity_threshold"),
            ({"primary_model": "gpt-4", "max_retries": True}, "max_retries"),
        ],
    )
    def test_faults_name_the_argument(self, arguments, path):
        with pytest.raises(ConfigError) as caught:
            two_model_config(**arguments)
        assert [fault.path for fault in caught.value.faults] == [path]
