"""The two-model facade: where models, agents and keys come from, and what is refused."""

from __future__ import annotations

import attrs
import pytest
from sync_routers import loop_threads as threads
from two_models import HARD, NOTHING, grouped, metrics, upstream

from asyncrouter import (
    AllAttemptsFailed,
    AuthenticationFailed,
    ConfigError,
    InvalidRequest,
    ModelManager,
    ModelManagerProvider,
    Router,
    ServerError,
    SyncRouter,
)
from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.manager import BACKUP_FIRST, PRIMARY_FIRST
from asyncrouter.strategies.fallbacks.onward import NextFallback
from asyncrouter.testing import Fail, FakeProvider, Reply

# Where the models come from


def test_a_dictionary_of_the_original_form(provider):
    config = {
        "model": {"primary_model": "gpt-3.5-turbo", "backup_model": "gpt-4", "complexity_threshold": 0.4},
        "providers": {"openai": provider},
    }
    with ModelManager(config=config) as manager:
        assert (manager.primary_model, manager.backup_model) == ("gpt-3.5-turbo", "gpt-4")
        assert manager.complexity_threshold == 0.4
        assert manager.generate("hi", complexity=0.39).text == "gpt-3.5-turbo"
        assert manager.generate("hi", complexity=0.4).text == "gpt-4"
    with ModelManager(config=config, complexity_threshold=0.9) as manager:
        assert manager.complexity_threshold == 0.9


def test_a_threshold_given_goes_before_the_configurations(provider):
    config = upstream(provider, model={"primary_model": "gpt-4", "backup_model": "other"})
    with ModelManager(complexity_threshold=0.2, config=config) as manager:
        assert manager.generate("hi", complexity=0.2).text == "other"


def test_a_configuration_with_groups_gives_the_first_two_of_its_default_group(provider):
    with ModelManager(config=grouped(provider)) as manager:
        assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == ("other", "gpt-4", 0.5)
        assert manager.generate("hi", complexity=0.49).text == "other"
        assert manager.generate("hi", complexity=0.5).text == "gpt-4"


def test_the_models_named_go_before_the_configurations(provider):
    for tables in (grouped(provider), upstream(provider, model={"primary_model": "other"})):
        manager = ModelManager("gpt-3.5-turbo", "gpt-4", config=tables)
        assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == (
            "gpt-3.5-turbo",
            "gpt-4",
            0.7,
        )
    with manager:
        assert manager.generate("hi").text == "gpt-3.5-turbo"


def test_a_model_may_be_named_as_its_deployment_serves_it(provider):
    config = {
        "providers": {"fake": provider},
        "deployments": {"mini": {"provider": "fake", "model": "m-1"}, "big": {"provider": "fake", "model": "m-2"}},
    }
    with ModelManager("m-1", "fake/m-2", config=config) as manager:
        assert (manager.primary_model, manager.backup_model) == ("mini", "big")
        provider.play({"mini": Fail(AuthenticationFailed), "big": Reply("rescued")})
        assert manager.generate("hi", model="m-1").deployment == "big"


@pytest.mark.parametrize("settings", [{}, {"fallback": NextFallback(), "fallback_on": ["content_filter"]}], ids=str)
def test_the_groups_settings_hold_in_the_facade_too(provider, settings):
    config = grouped(
        provider,
        **settings,
        hedge={"at": 0.5, "max_extra_load": 0.2},
        fallbacks=["spare"],
        params={"top_p": 0.5},
        deadline_s=7.0,
        max_attempts=3,
        timeouts={"attempt_s": 2.0},
        patience_s=0.1,
        filters=["capability"],
        estimate="constant",
        retry={"use": "none"},
        on_interrupt="continue",
    )
    config["groups"]["spare"] = {"deployments": ["other"]}
    manager = ModelManager(config=config)
    catalogue = build_catalogue(manager._config)
    theirs = catalogue.groups["chat"]
    pair = theirs.group.deployments[:2]
    for name, deployments in ((PRIMARY_FIRST, pair), (BACKUP_FIRST, pair[::-1])):
        ours = catalogue.groups[name]
        group = attrs.evolve(theirs.group, name=name, deployments=deployments)
        assert ours == attrs.evolve(theirs, group=group, select=ours.select, path=ours.path)
        assert ours.select.use == "priority"


def test_a_router_that_is_open_already_decides_by_its_own_configuration(provider):
    with SyncRouter.from_config(grouped(provider)) as router:
        with ModelManager(router=router) as manager:
            assert (manager.primary_model, manager.backup_model) == ("other", "gpt-4")
            assert manager.complexity_threshold == 0.5
            assert manager.generate("hi", complexity=0.2).text == "other"
            assert manager.generate("hi", complexity=0.5).text == "gpt-4"
            assert manager.generate("hi", model="gpt-3.5-turbo", complexity=1).text == "gpt-3.5-turbo"
            assert metrics(manager, "primary_calls", "backup_calls") == (1, 1)
        assert manager.generate("hi", complexity=0.2).text == "other"  # it was the router's owner who may close it
    assert provider.closed


async def test_an_open_sync_router_serves_generate_async_too(provider):
    with SyncRouter.from_config(grouped(provider)) as router:
        manager = ModelManager(router=router, agent="own")
        assert (await manager.generate_async("hi")).text == "gpt-3.5-turbo"
        assert router.metrics().agents["own"].calls == 1


async def test_an_async_router_is_awaited(provider):
    async with Router.from_config(grouped(provider)) as router:
        manager = ModelManager(router=router)
        assert (await manager.generate_async("hi", complexity=0.5)).text == "gpt-4"
        own = ModelManager(router=router, agent="own")
        assert (own.primary_model, own.backup_model) == ("gpt-3.5-turbo", "gpt-4")
        assert (await own.generate_async("hi", complexity=0.1)).text == "gpt-3.5-turbo"
        assert metrics(own, "primary_calls", "backup_calls") == (1, 1)
        with pytest.raises(RuntimeError, match=r"await generate_async\(\), or give it a SyncRouter"):
            manager.generate("hi")
        with pytest.raises(InvalidRequest):
            await manager.generate_async("hi", complexity=3)
        manager.close()
        assert (await manager.generate_async("hi", complexity=0.1)).text == "other"
        assert threads() == []


def test_with_nothing_given_the_embedded_default_answers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    with ModelManager() as manager:
        assert manager.generate("What is 2 + 2?").text
        assert metrics(manager, "primary_calls", "failed_requests") == (1, 0)


# Agents


def test_an_agent_with_models_of_its_own(provider):
    with ModelManagerProvider.create_for_agent("own", grouped(provider)) as manager:
        assert (manager.primary_model, manager.backup_model) == ("gpt-3.5-turbo", "gpt-4")
        assert manager.complexity_threshold == 0.5  # the default group's
        assert manager.generate("hi", complexity=0.49).text == "gpt-3.5-turbo"
        assert manager.generate("hi", complexity=0.5).text == "gpt-4"
        assert provider.calls[0].request.agent == "own"


def test_an_agents_retries_are_its_own():
    provider = FakeProvider(Fail(ServerError))
    config = upstream(
        provider,
        model={"primary_model": "gpt-4", "initial_delay": 0.0},
        agents={"once": {"model_name": "gpt-4", "max_retries": 1}},
    )
    with ModelManagerProvider.create_for_agent("once", config) as manager:
        with pytest.raises(AllAttemptsFailed):
            manager.generate("hi")
        assert metrics(manager, "primary_calls", "retries") == (2, 1)


def test_an_agent_of_a_group(provider):
    with ModelManagerProvider.create_for_agent("recon", grouped(provider)) as manager:
        assert (manager.primary_model, manager.backup_model, manager.complexity_threshold) == ("other", "gpt-4", 0.9)
        assert manager.generate("hi", complexity=0.89).text == "other"
        assert manager.generate("hi", complexity=0.9, temperature=0.5).text == "gpt-4"
    assert [call.request.params["temperature"] for call in provider.calls] == [0, 0.5]


def test_an_agent_that_says_nothing_has_the_defaults(provider):
    with ModelManagerProvider.create_for_agent("plain", grouped(provider), complexity_threshold=0.6) as manager:
        assert (manager.primary_model, manager.complexity_threshold) == ("other", 0.6)
        assert manager.generate("hi", complexity=0.5).text == "other"


def test_an_agent_with_one_model_takes_the_rest_from_the_table():
    config = {
        "model": {"primary_model": "gpt-4", "backup_model": "gpt-3.5-turbo"},
        "agents": {"recon": {"model_name": "gpt-4o", "complexity_threshold": 0.8}},
    }
    recon = ModelManagerProvider.create_for_agent("recon", config)
    assert (recon.primary_model, recon.backup_model, recon.complexity_threshold) == ("gpt-4o", "gpt-3.5-turbo", 0.8)


def test_an_unknown_agent_is_refused_with_those_known(provider):
    with pytest.raises(ConfigError, match=r"agents\.rekon: no such agent; known: own, plain, recon"):
        ModelManagerProvider.create_for_agent("rekon", grouped(provider))
    with pytest.raises(ConfigError, match="no such agent; known: none"):
        ModelManagerProvider.create_for_agent("recon", upstream(provider, model={"primary_model": "gpt-4"}))
    with SyncRouter.from_config(grouped(provider)) as router, pytest.raises(ConfigError, match="no such agent"):
        ModelManager(router=router, agent="rekon")


def test_create_manager_takes_what_the_manager_takes(provider):
    make = ModelManagerProvider.create_manager
    with make("gpt-4", "other", complexity_threshold=0.1, config=upstream(provider)) as manager:
        assert isinstance(manager, ModelManager)
        assert manager.generate("hi", complexity=0.1).text == "other"


# What is refused


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"primary_model": "no-such-model"}, "primary_model"),
        ({"primary_model": "gpt-4", "backup_model": "no-such-model"}, "backup_model"),
        ({"primary_model": "gpt-4", "complexity_threshold": 1.5}, "complexity_threshold"),
        ({"primary_model": "gpt-4", "max_retries": -1}, "max_retries"),
        ({"primary_model": "gpt-4", "initial_delay": -1}, "initial_delay"),
        ({"primary_model": "gpt-4", "backoff_factor": 0.5}, "backoff_factor"),
        ({"primary_model": "gpt-4", "jitter": 1}, "jitter"),
        ({"complexity_threshold": -0.1}, "complexity_threshold"),
        ({"backup_model": "gpt-4"}, "backup_model"),
        ({"config": {"deployments": {}, "groups": {}}}, "router.default"),
        ({"config": {"agents": {"recon": {}}}, "agent": "recon"}, "agents.recon"),
        ({"config": {"agent": {}}}, "agent"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_by_its_name(options, path):
    with pytest.raises(ConfigError) as caught:
        ModelManager(**options)
    assert [fault.path for fault in caught.value.faults] == [path]


def test_what_is_no_router_is_refused():
    with pytest.raises(TypeError, match="router: expected a Router or a SyncRouter, not FakeProvider"):
        ModelManager(router=FakeProvider())


# Keys


def test_a_manager_may_be_made_and_asked_without_a_key():
    manager = ModelManager("gpt-4", "gpt-3.5-turbo")
    assert (manager.primary_model, manager.backup_model) == ("gpt-4", "gpt-3.5-turbo")
    assert manager.estimate_complexity("hi") < manager.estimate_complexity(HARD)
    assert manager.get_metrics() == NOTHING
    for _ in range(2):  # the key may be set in between: each call looks again
        with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
            manager.generate("hi")
    assert threads() == []
    manager.close()


async def test_generate_async_misses_the_key_alike():
    with ModelManager("gpt-4") as manager, pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await manager.generate_async("hi")
