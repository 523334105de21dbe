"""A configuration written out in Python: the classes check what they are given."""

from __future__ import annotations

import attrs
import pytest

from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import (
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    HedgeSettings,
    ProviderSettings,
    RouterConfig,
    RouterSettings,
    StrategySpec,
)
from asyncrouter.types.deployments import BreakerSettings, Limits, Price
from asyncrouter.types.errors import ConfigError

SECRET = "sk-0123456789"


def test_it_says_what_a_mapping_says():
    judge = object()
    written = RouterConfig(
        router=RouterSettings(plugins=["cache"]),
        providers={"openai": ProviderSettings(options={"base_url": "http://127.0.0.1"})},
        deployments={
            "mini": DeploymentSettings(
                provider="openai",
                model="gpt-4o-mini",
                price=Price(input=1, output=2),
                tags=["eu"],
                capabilities=["tools"],
            )
        },
        groups={
            "chat": GroupSettings(
                deployments=["mini"],
                select={"use": "complexity", "threshold": 0.7},
                estimate="heuristic",
                judge=judge,
                filters=["cooldown"],
                hedge=HedgeSettings(at=1),
            )
        },
        agents={"recon": AgentSettings(group="chat")},
    )
    mapping = {
        "router": {"plugins": ["cache"]},
        "providers": {"openai": {"base_url": "http://127.0.0.1"}},
        "deployments": {
            "mini": {
                "provider": "openai",
                "model": "gpt-4o-mini",
                "price": {"input": 1, "output": 2},
                "tags": ["eu"],
                "capabilities": ["tools"],
            }
        },
        "groups": {
            "chat": {
                "deployments": ["mini"],
                "select": {"use": "complexity", "threshold": 0.7},
                "estimate": "heuristic",
                "judge": judge,
                "filters": ["cooldown"],
                "hedge": {"at": 1},
            }
        },
        "agents": {"recon": {"group": "chat"}},
    }
    assert load_config(mapping) == written
    assert load_config(written) is written


def test_a_mapping_may_hold_made_parts():
    config = load_config(
        {
            "router": RouterSettings(seed=1),
            "providers": {"openai": ProviderSettings()},
            "deployments": {
                "a": DeploymentSettings(provider="openai", model="m"),
                "b": {"provider": "openai", "model": "m", "limits": Limits(rpm=1)},
            },
            "groups": {"g": {"deployments": ("a", "b"), "select": StrategySpec(use="cost")}},
        }
    )
    assert config.router.seed == 1
    assert config.deployments["b"].limits.rpm == 1
    assert config.groups["g"].deployments == ("a", "b")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: RouterSettings(deadline_s=-1), "deadline_s: expected a positive number, not -1"),
        (lambda: DeploymentSettings(provider="", model="m"), "provider: is empty"),
        (
            lambda: DeploymentSettings(provider="p", model="m", price=Price(input=-1, output=float("nan"))),
            (
                "price.input: expected a number of 0 or more, not -1\n"
                "price.output: expected a number of 0 or more, not nan"
            ),
        ),
        (
            lambda: DeploymentSettings(provider="p", model="m", price={"input": 1}),
            "price: expected a Price, not a table",
        ),
        (
            lambda: GroupSettings(deployments=["a"], breaker=BreakerSettings(open_s=9, open_cap_s=1)),
            "breaker.open_cap_s: 1 is under open_s, 9",
        ),
        (lambda: GroupSettings(deployments="a"), "deployments: expected a list of strings, not the string 'a'"),
        (
            lambda: GroupSettings(deployments=["a"], filters=["x", 3]),
            'filters[1]: expected a strategy\'s name, a table with use = "name", or an object, not 3',
        ),
        (
            lambda: HedgeSettings(at="soon"),
            "at: expected a percentile or seconds, not the string 'soon'; such as \"p95\"",
        ),
        (StrategySpec, "use: expected a strategy's name, or else an instance"),
        (lambda: StrategySpec(use="x", instance=object()), "use: expected a strategy's name, or else an instance"),
        (lambda: StrategySpec(use=3), "use: expected a strategy's name, or else an instance"),
        (
            lambda: ProviderSettings(instance=object()),
            "expected a table, or an object with complete, stream and aclose, not an object of type object",
        ),
        (lambda: ProviderSettings(options={1: 2}), "options: the key 1 is no string; put it in quotes"),
        (lambda: RouterConfig(groups=[]), "groups: expected a mapping of GroupSettings, not an empty list"),
        (
            lambda: RouterConfig(groups={"g": {"deployments": ["a"]}, "": GroupSettings(deployments=["a"])}),
            'groups.g: expected a GroupSettings under its name\ngroups."": expected a GroupSettings under its name',
        ),
        (lambda: RouterConfig(router={}), "router: expected a RouterSettings, not a table"),
    ],
)
def test_what_is_wrong_is_refused_at_once(make, expected):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == expected
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProviderSettings(options={"api_key": SECRET}),
        lambda: StrategySpec(use="x", options={"api_key": SECRET}),
        lambda: GroupSettings(deployments=["a"], select={"use": "x", "api_key": SECRET}),
        lambda: RouterSettings(plugins=[{"use": "x", "api_key": SECRET}]),
        lambda: AgentSettings(params={"extra": [{"api_key": SECRET}]}),
    ],
)
def test_a_secret_written_out_is_refused(make):
    with pytest.raises(ConfigError, match="a secret must not be written out") as caught:
        make()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", [RouterConfig, RouterSettings, ProviderSettings, AgentSettings])
def test_they_are_frozen(kind):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kind().params = {}
