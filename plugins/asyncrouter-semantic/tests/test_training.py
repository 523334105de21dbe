"""Learning: the same bytes for the same outcomes, what was planted is found, and what was thought before is kept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from asyncrouter_semantic.forest import Forest
from asyncrouter_semantic.head import Head
from asyncrouter_semantic.model import NO_PRIOR
from asyncrouter_semantic.text import parse
from asyncrouter_semantic.training import boosting
from asyncrouter_semantic.training.blend import mix
from asyncrouter_semantic.training.linear import ridge
from asyncrouter_semantic.training.sights import look
from asyncrouter_semantic.training.subjects import NONE, Parts
from asyncrouter_semantic.training.tasks import Tasks
from asyncrouter_semantic.training.trainer import SemanticTrainer
from asyncrouter_semantic.training.view import FOREST, GROWN, LENGTH, Lesson, beside_others
from scipy import sparse

from asyncrouter import ConfigError
from asyncrouter.types.model_file import ModelFile

FIT = Path(__file__).parents[1] / "fit.py"


def gains(model, table):
    return np.array([model.judge(parse(prompt)).gain for prompt in table.prompts])


def test_the_same_outcomes_give_the_same_bytes(content, outcomes):
    assert SemanticTrainer(prior=NO_PRIOR).train(outcomes(), seed=0) == content
    assert SemanticTrainer(prior=NO_PRIOR).train(outcomes(), seed=1) != content


def test_the_fitting_script_gives_the_same_bytes(tmp_path, outcomes):
    spec = importlib.util.spec_from_file_location("fit", FIT)
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)
    table = outcomes(60)
    path = tmp_path / "rows.jsonl"
    rows = zip(table.prompts, table.groups, table.scores.tolist(), strict=True)
    lines = [
        {"prompt": prompt, "category": group, **dict(zip(table.models, scores, strict=True))}
        for prompt, group, scores in rows
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    made = fit.fitted([path])
    assert made == fit.fitted([path])
    assert len(ModelFile.parse(made, "here").learned_from) == 60


def test_finds_what_was_planted(content, outcomes, read):
    model, fresh = read(content), outcomes(200, seed=9)
    said = gains(model, fresh)
    hard = np.array([group == "proof" for group in fresh.groups])
    assert said[hard].mean() == pytest.approx(0.6, abs=0.15)
    assert said[~hard].mean() == pytest.approx(0.0, abs=0.15)
    assert said[hard].min() > said[~hard].max()


def test_kinds_of_task_are_the_groups(content, read):
    assert read(content).head.tasks == ("greeting", "proof")
    assert read(content).judge(parse("prove a theorem about knots")).likeness.argmax() == 1


def test_a_prior_that_is_right_keeps_its_weight_where_there_is_little_to_learn_from(
    model_path, content, outcomes, read
):
    few = outcomes(24, seed=5)
    blended = read(SemanticTrainer(prior=str(model_path)).train(few))
    assert blended.prior_weight > 0.5
    fresh = outcomes(200, seed=9)
    assert np.corrcoef(gains(blended, fresh), gains(read(content), fresh))[0, 1] > 0.9


def test_a_prior_that_is_wrong_is_given_up_as_rows_come(model_path, outcomes, read):
    table = outcomes(480, seed=6)
    turned = attrs.evolve(table, strong="small", weak="big", groups=("mine",) * 480)
    blended = read(SemanticTrainer(prior=str(model_path)).train(turned))
    assert blended.prior_weight < 0.2


def test_too_few_rows_are_refused(outcomes):
    with pytest.raises(ConfigError, match="20 or more"):
        SemanticTrainer(prior=NO_PRIOR).train(outcomes(19))


def test_rows_without_prompts_are_refused(outcomes):
    table = outcomes(40)
    with pytest.raises(ConfigError, match="0 rows with a prompt"):
        SemanticTrainer(prior=NO_PRIOR).train(attrs.evolve(table, prompts=("",) * 40))


def test_rows_without_both_scores_teach_nothing(content, outcomes):
    table, more = outcomes(), outcomes(250)
    scores = more.scores.copy()
    scores[:240], scores[240:, 0] = table.scores, np.nan
    more = attrs.evolve(
        more, prompts=(*table.prompts, *more.prompts[240:]), groups=(*table.groups, *more.groups[240:]), scores=scores
    )
    assert SemanticTrainer(prior=NO_PRIOR).train(more, seed=0) == content


def test_tells_its_progress(outcomes):
    shares = []
    SemanticTrainer(prior=NO_PRIOR).train(outcomes(40), progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_forest_that_is_walked_is_the_one_that_was_grown():
    random = np.random.default_rng(0)
    traits = random.normal(size=(300, 5)).astype(np.float32)
    target = np.where(traits[:, 2] > 0.3, 1.0, 0.0) + 0.1 * traits[:, 0]
    trees = boosting.boost(boosting.Bins.of(traits), np.arange(300), target, 0, lambda _share: None)
    said = trees.predict(traits)[:, -1]
    assert np.corrcoef(said, target)[0, 1] > 0.9
    forest = Forest.of(trees.pack(), 5)
    walked = [forest.walk(row) for row in traits[:20]]
    np.testing.assert_allclose([total for total, _, _ in walked], said[:20], atol=1e-5)
    added = sum(np.bincount(features, steps, 5) for _, features, steps in walked)
    assert np.abs(added).argmax() == 2


def test_ridge_is_the_closed_form():
    random = np.random.default_rng(0)
    matrix, targets = random.normal(size=(40, 6)), random.normal(size=(40, 2))
    centred = matrix - matrix.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + 2 * np.eye(6), centred.T @ (targets - targets.mean(axis=0)))
    found = ridge(sparse.csr_matrix(matrix), targets, 2.0)
    np.testing.assert_allclose(found.weights, expected, atol=1e-4)
    np.testing.assert_allclose(found.predict(matrix).mean(axis=0), targets.mean(axis=0), atol=1e-8)


def test_the_mix_is_what_was_thought_before_until_rows_say_otherwise():
    random = np.random.default_rng(0)
    said = random.normal(size=(5000, 3))
    before = np.array([0.0, 0.0, 1.0])
    held = np.full(3, 50.0)
    few, many = (mix(said[:rows], 2 * said[:rows, 0] + 1, before, held) for rows in (3, 5000))
    assert few[2] > 0.5
    np.testing.assert_allclose(many, [2, 0, 0, 1], atol=0.05)


def test_each_column_of_the_mix_is_held_by_rows_of_its_own():
    said = np.random.default_rng(0).normal(size=(300, 2))
    loose, tight = mix(said, said @ [2.0, 2.0], np.ones(2), np.array([50.0, 3000.0]))[:2]
    assert loose == pytest.approx(1 + 300 / 350, abs=0.05)
    assert tight == pytest.approx(1 + 300 / 3300, abs=0.05)


def test_longer_prompts_are_thought_to_gain_more_until_rows_say_otherwise(outcomes, read):
    table = outcomes(240)
    alike = attrs.evolve(table, scores=np.tile([1.0, 0.0, 0.0], (240, 1)), groups=("mine",) * 240)
    few, many = (read(SemanticTrainer(prior=NO_PRIOR).train(alike.rows(np.arange(rows)))) for rows in (24, 240))
    lengths = np.log1p([len(prompt) for prompt in table.prompts])
    assert np.corrcoef(gains(few, table), lengths)[0, 1] > 0.99
    assert gains(few, table).std() > 1.5 * gains(many, table).std() > 0


def test_no_weight_of_the_mix_is_negative():
    said = np.random.default_rng(0).normal(size=(500, 2))
    assert mix(said, -said[:, 0], np.array([0.5, 0.5]), np.array([50.0, 50.0]))[0] == 0.0


@pytest.fixture(scope="module")
def lesson(outcomes):
    """Return a lesson of two kinds, in which all proofs gain, the longer the more."""
    table = outcomes(120, seed=4)
    sights = look(table.prompts, lambda _share: None)
    of_row = np.array([group == "proof" for group in table.groups]).astype(np.intp)
    target = of_row + 0.1 * np.array([len(prompt) for prompt in table.prompts]) % 1
    bins = boosting.Bins.of(sights.traits)
    tasks, parts = Tasks(("greeting", "proof"), of_row), Parts(np.zeros(0, dtype=np.intp), np.full(len(of_row), NONE))
    return Lesson(sights, bins, tasks, parts, of_row, target, target, 0), table


def test_the_head_that_is_read_says_what_the_views_have_said(lesson):
    lesson, table = lesson
    view = lesson.learn(np.arange(100), lambda _share: None)
    shares, offsets = np.linspace(0.2, 1.0, FOREST + 1), np.array([0.1, 0.7])
    said = view.predict(lesson.sights, np.arange(100, 120))
    head = Head.of(view.pack(lesson.sights, shares, offsets, GROWN[1]))
    gains = said.gains[:, [*range(FOREST), FOREST + 1]]
    judged = [head.judge(head.look(parse(prompt))) for prompt in table.prompts[100:]]
    np.testing.assert_allclose([one.gain for one in judged], gains @ shares + said.likeness @ offsets, atol=0.01)
    np.testing.assert_allclose([one.likeness for one in judged], said.likeness, atol=0.02)


def test_views_do_not_learn_what_a_kind_gains_as_a_whole(lesson):
    lesson, _table = lesson
    said = lesson.learn(np.arange(120), lambda _share: None).predict(lesson.sights, np.arange(120)).gains
    said = np.delete(said, LENGTH, axis=1)  # is as it is, not learned; the offsets of the kinds take it out
    proofs = lesson.tasks.of_row == 1
    np.testing.assert_allclose(said[proofs].mean(axis=0) - said[~proofs].mean(axis=0), 0.0, atol=0.1)


def test_beside_others_of_its_cell():
    values, cells = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 7.0]]), np.array([4, 4, 0])
    np.testing.assert_allclose(beside_others(values, cells), [[-1.0, -10.0], [1.0, 10.0], [0.0, 0.0]])
    np.testing.assert_allclose(beside_others(values[:, 0], cells), [-1.0, 1.0, 0.0])


def test_where_nothing_can_be_told_few_trees_are_kept(outcomes, read):
    table = outcomes(80)
    by_lot = np.random.default_rng(2).integers(2, size=table.scores.shape).astype(float)
    head = read(SemanticTrainer(prior=NO_PRIOR).train(attrs.evolve(table, scores=by_lot))).head
    assert len(head.forest.inner) == round(GROWN[0] * boosting.TREES)
