"""The vector of an estimate: what is in it, and what a model learns from it where prompts are not kept."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from asyncrouter_semantic.estimator import SemanticEstimator
from asyncrouter_semantic.model import Model
from asyncrouter_semantic.training.trainer import SemanticTrainer
from asyncrouter_semantic.vectors import width

from asyncrouter import ConfigError, Deployment, Estimate, ModelGroup, Request

GROUP = ModelGroup(name="chat", deployments=(Deployment(name="d", provider="p", model="unheard-of"),))


def said(estimator, text):
    return estimator.asyncrouter_estimate(Request(messages=[{"role": "user", "content": text}]), GROUP)


@pytest.fixture(scope="module")
def vectors(model_path, outcomes):
    """Return outcomes as a log without prompts tells them: with the vectors of the estimates."""
    table, estimator = outcomes(300, seed=3), SemanticEstimator(model=str(model_path))
    features = np.array([said(estimator, prompt).features for prompt in table.prompts])
    return attrs.evolve(table, prompts=("",) * 300, features=features)


@pytest.fixture(scope="module")
def turned(vectors, model_path, tmp_path_factory):
    """Return an estimator that has learned from vectors that the small model is the better one."""
    path = tmp_path_factory.mktemp("models") / "turned.model"
    table = attrs.evolve(vectors, strong="small", weak="big")
    path.write_bytes(SemanticTrainer(prior=str(model_path)).train(table))
    return SemanticEstimator(model=str(path))


def test_the_vector_begins_with_what_the_prompt_is_like(model_path, read, content):
    estimate = said(SemanticEstimator(model=str(model_path)), "prove a theorem about knots")
    tasks = len(read(content).head.tasks)
    assert len(estimate.features) == width(tasks) < 64
    assert sum(estimate.features[:tasks]) == pytest.approx(1.0)
    assert f"{estimate.features[tasks]:+.2f}" in estimate.reason
    assert np.isfinite(estimate.features).all()


def test_of_a_conversation_the_vector_is_between_those_of_its_parts(model_path):
    estimator = SemanticEstimator(model=str(model_path))
    messages = [{"role": "user", "content": "prove a theorem about knots"}, {"role": "user", "content": "now graphs"}]
    both = estimator.asyncrouter_estimate(Request(messages=messages), GROUP).features
    last = said(estimator, "now graphs").features
    whole = said(estimator, "prove a theorem about knots\nnow graphs").features
    low, high = np.minimum(last, whole), np.maximum(last, whole)
    assert (np.asarray(both) >= low - 1e-5).all()
    assert (np.asarray(both) <= high + 1e-5).all()


def test_a_model_learns_from_vectors_what_it_would_from_prompts(turned, model_path):
    before = SemanticEstimator(model=str(model_path))
    proof, greeting = (f"{what} knots please now today 7" for what in ("prove a theorem about", "say hello to"))
    assert said(before, proof).complexity > said(before, greeting).complexity
    assert said(turned, proof).complexity < 0.4
    assert said(turned, greeting).complexity > 0.6
    assert said(turned, proof).contributions[0][1] == "own outcomes"


def test_a_logged_vector_is_judged_as_its_prompt_is(turned, model_path):
    estimate = said(SemanticEstimator(model=str(model_path)), "prove a theorem about knots")
    logged = Estimate(complexity=estimate.complexity, features=tuple(estimate.features), source="semantic")
    assert turned.revise(logged).complexity == pytest.approx(said(turned, "prove a theorem about knots").complexity)
    assert SemanticEstimator(model=str(model_path)).revise(logged) is logged
    with pytest.raises(ConfigError, match="a vector of 3 numbers is another model's"):
        turned.revise(attrs.evolve(logged, features=(1.0, 2.0, 3.0)))


def test_little_to_learn_from_changes_little(vectors, model_path, read):
    top = read(SemanticTrainer(prior=str(model_path)).train(vectors.rows(np.arange(25)))).top
    before = Model.load(model_path)
    assert top.weights[len(before.head.tasks)] > 0.9  # of the prior's own gain


def test_what_was_learned_before_is_learned_upon(turned, vectors, model_path, tmp_path):
    path = tmp_path / "again.model"
    path.write_bytes(SemanticTrainer(prior=str(model_path)).train(attrs.evolve(vectors, strong="small", weak="big")))
    again = Model.load(path)
    gains = again.top.gains(vectors.features)
    as_said = np.column_stack([gains, np.zeros((len(gains), len(vectors.models) - 1))])
    path.write_bytes(SemanticTrainer(prior=str(path)).train(attrs.evolve(vectors, scores=as_said)))
    np.testing.assert_allclose(Model.load(path).top.weights, again.top.weights, atol=1e-9)


def test_vectors_that_do_not_fit_are_refused(vectors, model_path):
    trainer = SemanticTrainer(prior=str(model_path))
    with pytest.raises(ConfigError, match="give the model that the router had as --prior"):
        trainer.train(attrs.evolve(vectors, features=vectors.features[:, :5]))
    with pytest.raises(ConfigError, match="19 rows with a vector"):
        trainer.train(vectors.rows(np.arange(19)))
