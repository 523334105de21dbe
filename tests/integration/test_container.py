"""The dependency-injection container."""

from __future__ import annotations

import copy
import importlib
import sys

import pytest

from asyncrouter import ConfigError, ModelManager, Router
from asyncrouter.container import DEFAULTS, ContainerFactory, merge
from asyncrouter.testing import FakeProvider, Reply


def of(config=None):
    return ContainerFactory.create_container(config)


@pytest.fixture
def provider():
    return FakeProvider(lambda request, deployment, number: Reply(deployment.model))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("config", [None, {}])
def test_without_a_configuration_it_is_made_of_the_defaults(config):
    manager = of(config).model_manager()
    assert isinstance(manager, ModelManager)
    assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == (
        "gpt-4",
        "gpt-3.5-turbo",
        0.7,
    )
    assert of(config).config() == DEFAULTS


def test_values_are_laid_over_the_defaults_recursively():
    container = of({"model": {"primary_model": "gpt-4o", "complexity_threshold": 0.2}, "agents": {"recon": {}}})
    assert container.config()["model"] == {
        **DEFAULTS["model"],
        "primary_model": "gpt-4o",
        "complexity_threshold": 0.2,
    }
    manager = container.model_manager()
    assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == (
        "gpt-4o",
        "gpt-3.5-turbo",
        0.2,
    )


def test_what_is_written_to_one_container_is_in_no_other(provider):
    before = copy.deepcopy(DEFAULTS)
    given = {"providers": {"openai": provider}, "router": {"params": {"top_p": 1}}}
    config = of(given).config()
    config["model"]["primary_model"] = "gpt-4o"
    config["agents"]["recon"] = {}
    config["router"]["params"]["top_p"] = 0
    assert before == DEFAULTS
    assert of().config() == before
    assert given == {"providers": {"openai": provider}, "router": {"params": {"top_p": 1}}}
    assert config["providers"]["openai"] is provider


def test_every_agent_has_its_manager(provider):
    container = of(
        {
            "providers": {"openai": provider},
            "agents": {
                "recon": {"model_name": "gpt-4o", "complexity_threshold": 0.8},
                "prompt_engineer": {"backup_model": "gpt-4o", "model_name": "gpt-3.5-turbo"},
                "plain": {"complexity_threshold": 0.1},
            },
        }
    )
    recon, engineer, plain = (getattr(container, f"{name}_model_manager")() for name in container.config()["agents"])
    assert [one.agent for one in (recon, engineer, plain)] == ["recon", "prompt_engineer", "plain"]
    assert (recon.primary_model, recon.backup_model, recon.complexity_threshold) == ("gpt-4o", "gpt-3.5-turbo", 0.8)
    assert (engineer.primary_model, engineer.backup_model) == ("gpt-3.5-turbo", "gpt-4o")
    assert (plain.primary_model, plain.backup_model, plain.complexity_threshold) == ("gpt-4", "gpt-3.5-turbo", 0.1)
    with recon:
        assert recon.generate("hi", complexity=0.75).deployment == "gpt-4o"
        assert recon.generate("hi", complexity=0.8).deployment == "gpt-3.5-turbo"
    assert not hasattr(container, "stranger_model_manager")


def test_each_is_made_once_in_one_container_and_anew_in_another():
    container, other = of({"agents": {"recon": {}}}), of({"agents": {"recon": {}}})
    assert container.model_manager() is container.model_manager()
    assert container.recon_model_manager() is container.recon_model_manager()
    assert container.recon_model_manager() is not container.model_manager()
    assert other.model_manager() is not container.model_manager()


async def test_the_router_is_made_of_the_same_configuration_once(provider):
    container = of({"providers": {"openai": provider}, "model": {"complexity_threshold": 0.4}})
    router = container.router()
    assert isinstance(router, Router)
    assert container.router() is router
    async with router:
        assert (await router.generate("hi", complexity=0.3)).deployment == "gpt-4"
        assert (await router.generate("hi", complexity=0.4)).deployment == "gpt-3.5-turbo"


def groups_style(provider):
    return {
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": name} for name in ("small", "large")},
        "groups": {"chat": {"deployments": ["small", "large"], "select": {"use": "complexity", "threshold": 0.5}}},
        "agents": {"recon": {"group": "chat", "complexity_threshold": 0.9}},
    }


def test_a_configuration_with_groups_of_its_own_takes_no_defaults(provider):
    config = groups_style(provider)
    container = of(config)
    assert container.config() == config
    manager = container.model_manager()
    assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == ("small", "large", 0.5)
    assert container.recon_model_manager().complexity_threshold == 0.9
    with manager:
        assert manager.generate("hi", complexity=0.5).text == "large"


def test_a_configuration_with_only_deployments_takes_no_defaults(provider):
    config = {"providers": {"fake": provider}, "deployments": {"one": {"provider": "fake", "model": "m"}}}
    manager = of(config).model_manager()
    assert (manager.primary_model, manager.backup_model) == ("one", None)
    with manager:
        assert manager.generate("hi", complexity=1.0).deployment == "one"


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"model": {"primary_modell": "gpt-4"}}, "model.primary_modell"),
        ({"model": {"complexity_threshold": 7}}, "model.complexity_threshold"),
        ({"model": {"primary_model": "no-such-model"}}, "model.primary_model"),
        ({"model": None}, "model.primary_model"),
        ({"agents": {"recon": {"threshold": 0.5}}}, "agents.recon.threshold"),
        ({"agents": ["recon"]}, "agents"),
        ({"agents": 3}, "agents"),
        ({"routers": {}}, "routers"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused_when_something_is_asked_for(config, path):
    container = of(config)
    for ask in (container.model_manager, container.router):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert path in [fault.path for fault in caught.value.faults]


def test_an_agents_manager_refuses_a_wrong_configuration_too():
    container = of({"agents": {"recon": {"complexity_threshold": -1}}})
    with pytest.raises(ConfigError, match=r"agents\.recon\.complexity_threshold"):
        container.recon_model_manager()


def test_a_missing_key_is_missed_by_the_router_and_not_by_a_manager():
    container = of()
    assert 0 <= container.model_manager().estimate_complexity("hi") <= 1
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        container.router()


@pytest.mark.parametrize(
    ("under", "over", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1, "y": {"z": 2}}}, {"a": {"y": {"w": 3}}}, {"a": {"x": 1, "y": {"z": 2, "w": 3}}}),
        ({"a": {"x": 1}}, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": 1}, {"a": {"x": 2}}, {"a": {"x": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}),
    ],
)
def test_merge_lays_one_mapping_over_another(under, over, merged):
    given = copy.deepcopy((under, over))
    result = merge(under, over)
    assert result == merged
    for value in result.values():
        if isinstance(value, dict):
            value["written"] = True
    result["written"] = True
    assert (under, over) == given


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dependency_injector", None)
    monkeypatch.delitem(sys.modules, "asyncrouter.container")
    with pytest.raises(ModuleNotFoundError, match=r'run: pip install "asyncrouter\[di\]"'):
        importlib.import_module("asyncrouter.container")
