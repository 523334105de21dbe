"""The two-model facade, on a fake provider."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from asyncrouter import (
    AllAttemptsFailed,
    AuthenticationFailed,
    ConfigError,
    InvalidRequest,
    ModelManager,
    ModelManagerProvider,
    RateLimited,
    Router,
    ServerError,
    SyncRouter,
    UnknownModelGroup,
)
from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.manager import BACKUP_FIRST, PRIMARY_FIRST
from asyncrouter.strategies.fallbacks.onward import NextFallback
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply
from asyncrouter.types.tokens import estimate_tokens

NOTHING = {
    "primary_calls": 0,
    "backup_calls": 0,
    "failures": 0,
    "failed_requests": 0,
    "retries": 0,
    "fallbacks": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "cost_usd": 0.0,
}
AT_ONCE = {"initial_delay": 0.0, "jitter": False}


@pytest.fixture
def provider():
    return FakeProvider(lambda request, deployment, number: Reply(deployment.name))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threads()
    yield
    assert threads() == before


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "asyncrouter"]


def upstream(provider, *more, **tables):
    return {
        "providers": {"fake": provider},
        "deployments": {
            name: {"provider": "fake", "model": name} for name in ("gpt-4", "gpt-3.5-turbo", "other", *more)
        },
        **tables,
    }


def two_models(provider, primary="gpt-4", backup="gpt-3.5-turbo", threshold=None, **options):
    return ModelManager(primary, backup, threshold, config=upstream(provider), **options)


def grouped(provider, **chat):
    return upstream(
        provider,
        router={"default": "chat"},
        groups={
            "chat": {
                "deployments": ["other", "gpt-4", "gpt-3.5-turbo"],
                "select": {"use": "complexity", "threshold": 0.5},
                **chat,
            }
        },
        agents={
            "recon": {"group": "chat", "complexity_threshold": 0.9, "params": {"temperature": 0}},
            "own": {"model_name": "gpt-3.5-turbo", "backup_model": "gpt-4", "max_retries": 1, "jitter": False},
            "plain": {},
        },
    )


def metrics(manager, *names):
    counted = manager.get_metrics()
    return tuple(counted[name] for name in names)


# Which model


@pytest.mark.parametrize(
    ("complexity", "answers"),
    [
        (None, "gpt-4"),
        (0.0, "gpt-4"),
        (math.nextafter(0.7, 0), "gpt-4"),
        (0.7, "gpt-3.5-turbo"),
        (math.nextafter(0.7, 1), "gpt-3.5-turbo"),
        (1.0, "gpt-3.5-turbo"),
    ],
)
def test_a_complexity_at_or_over_the_threshold_takes_the_backup(provider, complexity, answers):
    with two_models(provider) as manager:
        assert manager.complexity_threshold == 0.7
        assert manager.generate("hi", complexity=complexity).text == answers
        backup = answers != "gpt-4"
        assert metrics(manager, "primary_calls", "backup_calls", "fallbacks") == (not backup, backup, 0)


@pytest.mark.parametrize(("threshold", "complexity"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_the_threshold_may_be_any_complexity(provider, threshold, complexity):
    with two_models(provider, threshold=threshold) as manager:
        assert manager.generate("hi", complexity=complexity).text == "gpt-3.5-turbo"
        assert manager.generate("hi").text == "gpt-4"


def test_a_hard_prompt_without_a_complexity_takes_the_primary(provider):
    prompt = "Prove step by step, with every lemma, that there are infinitely many primes. " * 40
    with two_models(provider, threshold=0.01) as manager:
        assert manager.estimate_complexity(prompt) > 0.01
        assert manager.generate(prompt).text == "gpt-4"


def test_without_a_backup_the_primary_answers_everything(provider):
    with two_models(provider, backup=None) as manager:
        assert manager.backup_model is None
        assert manager.generate("hi", complexity=1.0).text == "gpt-4"
        assert metrics(manager, "primary_calls", "backup_calls") == (1, 0)


def test_the_same_model_twice_is_no_backup(provider):
    with two_models(provider, backup="gpt-4") as manager:
        assert manager.backup_model is None
        assert manager.generate("hi", complexity=1.0).text == "gpt-4"


@pytest.mark.parametrize("complexity", [None, 0.0, 1.0])
@pytest.mark.parametrize("model", ["gpt-4", "gpt-3.5-turbo", "other", "fake/gpt-4", "fake/elsewhere"])
def test_an_explicit_model_is_never_overridden(provider, model, complexity):
    with two_models(provider) as manager:
        for reply in (
            manager.generate("hi", model, complexity),
            manager.generate("hi", model=model, complexity=complexity),
        ):
            assert reply.model == model.removeprefix("fake/")
        assert {call.deployment.model for call in provider.calls} == {model.removeprefix("fake/")}


def test_an_explicit_group_is_asked_as_it_is(provider):
    with ModelManager("gpt-4", "gpt-3.5-turbo", config=grouped(provider)) as manager:
        assert manager.generate("hi", model="chat", complexity=0.1).text == "other"
        assert manager.generate("hi", model="chat", complexity=0.5).text == "gpt-4"


def test_an_explicit_unknown_model_is_refused(provider):
    for backup in ("gpt-3.5-turbo", None):
        with two_models(provider, backup=backup) as manager, pytest.raises(UnknownModelGroup, match="othr"):
            manager.generate("hi", model="othr", complexity=1.0)
    assert provider.calls == []


@pytest.mark.parametrize("complexity", [-0.1, 1.1, math.nan, math.inf, "0.5", True])
def test_a_wrong_complexity_is_refused_before_any_call(provider, complexity):
    with two_models(provider) as manager:
        for model in (None, "gpt-4"):
            with pytest.raises(InvalidRequest, match="complexity"):
                manager.generate("hi", model=model, complexity=complexity)
    assert provider.calls == []


def test_an_empty_prompt_is_refused_before_any_call(provider):
    with two_models(provider) as manager, pytest.raises(InvalidRequest):
        manager.generate("")
    assert provider.calls == []


def test_messages_and_parameters_reach_the_model_untouched(provider):
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    with two_models(provider) as manager:
        reply = manager.generate(messages, temperature=0, max_tokens=7, metadata={"team": "x"})
    request = provider.calls[0].request
    assert list(request.messages) == messages
    assert (request.params["temperature"], request.params["max_tokens"]) == (0, 7)
    assert request.metadata == {"team": "x"}
    assert reply.trace.groups == (PRIMARY_FIRST,)


# Falling over


@pytest.mark.parametrize(
    ("arguments", "first", "second"),
    [
        ({}, "gpt-4", "gpt-3.5-turbo"),
        ({"complexity": 0.9}, "gpt-3.5-turbo", "gpt-4"),
        ({"model": "gpt-4", "complexity": 0.9}, "gpt-4", "gpt-3.5-turbo"),
        ({"model": "gpt-3.5-turbo"}, "gpt-3.5-turbo", "gpt-4"),
        ({"model": "fake/gpt-3.5-turbo"}, "gpt-3.5-turbo", "gpt-4"),
    ],
    ids=str,
)
def test_either_one_failing_falls_over_to_the_other(arguments, first, second):
    provider = FakeProvider({first: Fail(AuthenticationFailed), second: Reply("rescued")})
    with two_models(provider) as manager:
        reply = manager.generate("hi", **arguments)
        assert (reply.text, reply.deployment) == ("rescued", second)
        assert [call.deployment.name for call in provider.calls] == [first, second]
        assert manager.get_metrics() == {
            **NOTHING,
            "primary_calls": 1,
            "backup_calls": 1,
            "failures": 1,
            "fallbacks": 1,
            "input_tokens": 10,
            "output_tokens": 5,
            "cost_usd": pytest.approx(reply.cost_usd or 0.0),
        }


def test_the_retries_come_before_the_other_model():
    provider = FakeProvider({"gpt-4": Fail(RateLimited), "gpt-3.5-turbo": Reply("rescued")})
    with two_models(provider, max_retries=2, **AT_ONCE) as manager:
        assert manager.generate("hi").text == "rescued"
        assert [call.deployment.name for call in provider.calls][-1] == "gpt-3.5-turbo"
        assert metrics(manager, "failures", "fallbacks", "failed_requests") == (
            len(provider.calls_to("gpt-4")),
            1,
            0,
        )
        assert metrics(manager, "primary_calls", "backup_calls") == (len(provider.calls_to("gpt-4")), 1)


def test_a_passing_failure_is_retried_on_the_only_model():
    provider = FakeProvider([Fail(ServerError), Fail(ServerError), Reply("at last")])
    with two_models(provider, backup=None, max_retries=2, **AT_ONCE) as manager:
        assert manager.generate("hi").text == "at last"
        assert metrics(manager, "primary_calls", "failures", "retries", "failed_requests") == (3, 2, 2, 0)


def test_no_retries_may_be_asked_for():
    provider = FakeProvider(Fail(ServerError))
    with two_models(provider, backup=None, max_retries=0) as manager:
        with pytest.raises(AllAttemptsFailed):
            manager.generate("hi")
        assert metrics(manager, "primary_calls", "failures", "retries", "failed_requests") == (1, 1, 0, 1)


def test_both_failing_raises_with_both_errors():
    provider = FakeProvider(Fail(AuthenticationFailed))
    with two_models(provider) as manager:
        with pytest.raises(AllAttemptsFailed) as caught:
            manager.generate("hi")
        assert [error.deployment for error in caught.value.errors] == ["gpt-4", "gpt-3.5-turbo"]
        assert metrics(manager, "primary_calls", "backup_calls", "failures", "failed_requests") == (1, 1, 2, 1)


def test_another_deployment_asked_for_is_in_neither_models_count(provider):
    with two_models(provider) as manager:
        manager.generate("hi", model="other")
        assert metrics(manager, "primary_calls", "backup_calls", "input_tokens") == (0, 0, 10)


# Async


async def test_generate_async_decides_alike(provider):
    with two_models(provider) as manager:
        assert (await manager.generate_async("hi")).text == "gpt-4"
        assert (await manager.generate_async("hi", complexity=0.7)).text == "gpt-3.5-turbo"
        assert (await manager.generate_async("hi", "other", 1.0, temperature=1)).text == "other"
        assert provider.calls[-1].request.params["temperature"] == 1
        with pytest.raises(InvalidRequest):
            await manager.generate_async("hi", complexity=2)


async def test_many_async_calls_run_at_once_in_a_running_loop():
    everybody = threading.Barrier(2, timeout=10)
    arrived = []

    def step(request, deployment, number):
        arrived.append(deployment.name)
        if len(arrived) < 40:
            return Hang()
        everybody.wait()
        return Reply("the last")

    with two_models(FakeProvider(step)) as manager:
        calls = [
            asyncio.ensure_future(manager.generate_async(f"{number}", complexity=number % 2)) for number in range(40)
        ]
        await asyncio.to_thread(everybody.wait)  # all forty are upstream, and this loop is free
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result().text for call in done] == ["the last"]
        assert (arrived.count("gpt-4"), arrived.count("gpt-3.5-turbo")) == (20, 20)
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)


async def test_generate_works_inside_a_running_loop(provider):
    with two_models(provider) as manager:
        assert manager.generate("hi").text == "gpt-4"


async def test_cancelling_generate_async_cancels_the_call_upstream():
    begun, ended = threading.Event(), threading.Event()

    class Watched(FakeProvider):
        async def complete(self, request, deployment, timeouts):
            begun.set()
            try:
                return await super().complete(request, deployment, timeouts)
            finally:
                ended.set()

    provider = Watched(Hang())
    with two_models(provider) as manager:
        call = asyncio.ensure_future(manager.generate_async("hi"))
        assert await asyncio.to_thread(begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(ended.wait, 10)
        sent = estimate_tokens([{"role": "user", "content": "hi"}])  # the prompt is paid for, whoever leaves
        assert manager.get_metrics() == {**NOTHING, "primary_calls": 1, "input_tokens": sent}
    assert [(one.deployment.name, one.outcome) for one in provider.calls] == [("gpt-4", "cancelled")]


def test_many_threads_share_one_router(provider):
    manager = two_models(provider)
    everybody = threading.Barrier(8, timeout=10)

    def ask(number):
        everybody.wait()
        return manager.generate("hi", complexity=number % 2).text

    with manager, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
        assert len(threads()) == 1
        assert metrics(manager, "primary_calls", "backup_calls") == (4, 4)
    assert answers == ["gpt-4", "gpt-3.5-turbo"] * 4


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


HARD = (
    "Prove step by step that there are infinitely many primes, then analyse the complexity of the sieve of "
    "Eratosthenes, compare it with trial division, and implement both in Python with tests."
    "\n```python\ndef f(): ...\n```"
)


@pytest.mark.parametrize(
    "prompt", ["hi", HARD, "?", "x" * 100_000, [{"role": "user", "content": HARD}, {"role": "user", "content": "go"}]]
)
def test_an_estimate_is_from_0_to_1_and_asks_nobody(provider, prompt):
    with two_models(provider) as manager:
        estimate = manager.estimate_complexity(prompt)
        assert 0.0 <= estimate <= 1.0
        assert manager.estimate_complexity(prompt) == estimate
        assert threads() == []
    assert provider.calls == []


def test_an_estimate_of_no_prompt_is_refused(provider):
    with pytest.raises(InvalidRequest):
        two_models(provider).estimate_complexity("")


# Opening and closing


def test_the_thread_lives_from_the_first_call_to_the_close(provider):
    manager = two_models(provider)
    assert threads() == []
    manager.generate("hi")
    assert len(threads()) == 1
    manager.close()
    assert threads() == []
    assert provider.closed


def test_closing_twice_or_unopened_does_no_harm(provider):
    manager = two_models(provider)
    manager.generate("hi")
    manager.close()
    manager.close()
    unopened = two_models(FakeProvider())
    unopened.close()
    unopened.close()
    for closed in (manager, unopened):
        with pytest.raises(RuntimeError, match="this manager is closed; make a new one"):
            closed.generate("hi")


async def test_a_closed_manager_refuses_calls_and_keeps_its_metrics(provider):
    with two_models(provider) as manager:
        manager.generate("hi")
        before = manager.get_metrics()
    assert before == {**NOTHING, "primary_calls": 1, "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.0}
    assert manager.get_metrics() == before
    with pytest.raises(RuntimeError, match="this manager is closed"):
        await manager.generate_async("hi")
    assert 0 <= manager.estimate_complexity("hi") <= 1
    assert threads() == []


def test_the_context_manager_is_the_manager_and_closes_after_an_error(provider):
    manager = two_models(provider)

    def fail():
        with manager as entered:
            assert entered is manager
            manager.generate("hi")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert provider.closed


def test_closing_ends_the_calls_under_way():
    begun = threading.Event()

    def step(request, deployment, number):
        begun.set()
        return Hang()

    provider = FakeProvider(step)
    manager = two_models(provider)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(manager.generate, "hi")
        assert begun.wait(10)
        manager.close()
        with pytest.raises(RuntimeError, match="the router was closed during the call"):
            call.result(10)
    assert [one.outcome for one in provider.calls] == ["cancelled"]


async def test_closing_ends_the_async_calls_under_way_and_cancels_no_task():
    begun = threading.Event()

    def step(request, deployment, number):
        begun.set()
        return Hang()

    manager = two_models(FakeProvider(step))
    call = asyncio.ensure_future(manager.generate_async("hi"))
    assert await asyncio.to_thread(begun.wait, 10)
    await asyncio.to_thread(manager.close)
    with pytest.raises(RuntimeError, match="the router was closed during the call"):
        await call
