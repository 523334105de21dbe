"""The two-model facade: which model answers, and what falls over to the other."""

from __future__ import annotations

import math

import pytest
from sync_routers import loop_threads as threads
from two_models import HARD, NOTHING, grouped, metrics, two_models

from asyncrouter import (
    AllAttemptsFailed,
    AuthenticationFailed,
    InvalidRequest,
    ModelManager,
    RateLimited,
    ServerError,
    UnknownModelGroup,
)
from asyncrouter.manager import PRIMARY_FIRST
from asyncrouter.testing import Fail, FakeProvider, Reply

AT_ONCE = {"initial_delay": 0.0, "jitter": False}


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


@pytest.mark.parametrize("model", [3, b"gpt-4", ["gpt-4"]])
def test_a_model_that_is_no_name_is_refused_before_any_call(provider, model):
    with two_models(provider) as manager, pytest.raises(InvalidRequest, match="model: expected a str"):
        manager.generate("hi", model=model)
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


# Estimates


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
