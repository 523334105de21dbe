"""What the estimator says: complexity, reasons, and the qualities of deployments."""

from __future__ import annotations

import pytest
from asyncrouter_semantic.estimator import SemanticEstimator
from asyncrouter_semantic.panel import plain

from asyncrouter import ConfigError, Deployment, ModelGroup, Request
from asyncrouter.types.deployments import Price


def group(*deployments):
    return ModelGroup(name="chat", deployments=deployments or (Deployment(name="d", provider="p", model="unheard-of"),))


def ask(estimator, content, where=None):
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    return estimator.asyncrouter_estimate(Request(messages=messages), where or group())


@pytest.fixture(scope="module")
def own(model_path):
    return SemanticEstimator(model=str(model_path))


def test_what_gains_more_is_more_complex(own):
    assert ask(own, "prove a theorem about knots please now today 7").complexity > 0.6
    assert ask(own, "say hello to knots please now today 7").complexity < 0.4


def test_tells_what_moved_the_score_most_first(own):
    said = ask(own, "prove a theorem about knots")
    sizes = [abs(points) for points, _ in said.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert {"wording", "kind of task"} & {name for _, name in said.contributions[:2]}
    assert "most like proof" in said.reason
    assert "knots" not in repr(said) + said.reason


def test_a_short_message_is_understood_from_the_conversation(own):
    alone = ask(own, "now graphs").complexity
    before = [{"role": "user", "content": "prove a theorem about knots"}, {"role": "assistant", "content": "done"}]
    followed = ask(own, [*before, {"role": "user", "content": "now graphs"}]).complexity
    assert followed > alone
    long = "say hello to knots please " * 40
    assert ask(own, [*before, {"role": "user", "content": long}]).complexity < 0.5


@pytest.mark.parametrize("text", ["", "數學" * 1000, "x" * 10**6, "\ud800", "7" * 10**5])
def test_answers_whatever_is_sent(text):
    assert 0.0 <= ask(SemanticEstimator(), text).complexity <= 1.0


def test_expects_of_known_models_what_they_did(own):
    where = group(*(Deployment(name=name, provider="p", model=name) for name in ("big", "small", "x/middle")))
    hard, easy = ask(own, "prove a theorem about knots", where), ask(own, "say hello to knots", where)
    assert hard.qualities["big"] == pytest.approx(0.9, abs=0.1)
    assert hard.qualities["small"] == pytest.approx(0.3, abs=0.15)
    assert hard.qualities["x/middle"] == pytest.approx(0.6, abs=0.15)
    assert easy.qualities["small"] == pytest.approx(0.9, abs=0.1)


def test_says_nothing_of_unknown_models_without_a_price(own):
    assert ask(own, "hi").qualities == {}


def test_unknown_models_are_placed_by_options(model_path):
    told = {"d": "small", "other-model": 0.99}
    estimator = SemanticEstimator(model=str(model_path), qualities=told)
    other = Deployment(name="e", provider="p", model="other-model")
    said = ask(estimator, "prove a theorem about knots", group(*group().deployments, other)).qualities
    assert said["d"] < 0.5 < said["e"]


def test_unknown_models_are_placed_by_price():
    prices = {"dear": Price(input=10.0, output=50.0), "cheap": Price(input=0.1, output=0.1)}
    where = group(*(Deployment(name=name, provider="p", model=name, price=one) for name, one in prices.items()))
    said = ask(SemanticEstimator(), "Find the sum of all primes below 40.", where).qualities
    assert said["cheap"] < said["dear"]


@pytest.mark.parametrize(
    ("qualities", "said"),
    [
        ({"d": "smal"}, r'qualities.d: no model .smal. is known; did you mean "small"'),
        ({"d": 1.5}, "qualities.d: expected"),
        ({"d": True}, "qualities.d: expected"),
        ({"d": None}, "qualities.d: expected"),
    ],
)
def test_options_that_do_not_fit_are_refused(model_path, qualities, said):
    with pytest.raises(ConfigError, match=said):
        SemanticEstimator(model=str(model_path), qualities=qualities)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Meta-Llama-3_1-8B-Instruct"),
        ("Claude-3-5-Haiku-20241022", "claude-3.5-haiku-latest"),
    ],
)
def test_names_of_the_same_model_are_the_same(name, same):
    assert plain(name) == plain(same)
