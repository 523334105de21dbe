"""Subjects: the groups of a kind of task that are too small to be kinds themselves."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from asyncrouter_semantic.head import Head
from asyncrouter_semantic.model import NO_PRIOR, Model
from asyncrouter_semantic.packing import Pack, unpacked
from asyncrouter_semantic.subjects import TEMPER, shares_of, starts_of
from asyncrouter_semantic.text import parse
from asyncrouter_semantic.training.boosting import Bins
from asyncrouter_semantic.training.sights import look
from asyncrouter_semantic.training.subjects import LEAST_ROWS, MOST_SUBJECTS, NONE, PRESUMED_ROWS, find_subjects
from asyncrouter_semantic.training.tasks import Tasks
from asyncrouter_semantic.training.trainer import SemanticTrainer
from asyncrouter_semantic.training.view import FOREST, SUBJECT, Lesson, beside_others

from asyncrouter import ConfigError
from asyncrouter.lab.outcomes import Outcomes
from asyncrouter.types.model_file import ModelFile

WORDS = {
    "algebra": ("ring", "field", "ideal", "module", "kernel", "lattice"),
    "botany": ("leaf", "root", "petal", "moss", "fern", "spore"),
    "history": ("treaty", "king", "siege", "empire", "crown", "revolt"),
    "law": ("court", "tort", "writ", "plea", "jury", "lien"),
}
HARD = "algebra"


def made(rows=120, seed=0):
    """Return outcomes of one source whose groups are too small to be kinds of task; the strong model wins at HARD."""
    random = np.random.default_rng(seed)
    groups = tuple(str(one) for one in random.choice(list(WORDS), rows))
    prompts = tuple(f"what is a {' or a '.join(random.choice(WORDS[one], 3))} {row}" for row, one in enumerate(groups))
    weak = np.array([random.random() < (0.1 if one == HARD else 0.9) for one in groups], dtype=float)
    return Outcomes(
        ids=tuple(map(str, range(rows))),
        prompts=prompts,
        groups=groups,
        sources=("exams",) * rows,
        models=("big", "small"),
        scores=np.column_stack([np.ones(rows), weak]),
        strong="big",
        weak="small",
    )


@pytest.fixture(scope="module")
def one_kind():
    table = made()
    return table, Tasks(("exams",), np.zeros(len(table), dtype=np.intp))


@pytest.fixture(scope="module")
def model():
    content = SemanticTrainer(prior=NO_PRIOR).train(made())
    return Model.of(unpacked(ModelFile.parse(content, "here").content, "here"), "here")


@pytest.fixture(scope="module")
def view(one_kind):
    table, tasks = one_kind
    sights, of_row, gain = look(table.prompts, lambda _share: None), tasks.of_row, table.gain
    lesson = Lesson(sights, Bins.of(sights.traits), tasks, find_subjects(table, tasks), of_row, gain, gain, 0)
    return lesson.learn(np.arange(90), lambda _share: None), lesson


def test_a_source_of_groups_too_small_for_kinds_falls_into_subjects(one_kind):
    parts = find_subjects(*one_kind)
    assert len(parts.kinds) == len(WORDS)
    by_group = {one: set(parts.of_row[np.array(one_kind[0].groups) == one].tolist()) for one in WORDS}
    assert sorted(map(tuple, by_group.values())) == [(0,), (1,), (2,), (3,)]


def test_small_groups_are_one_subject_together(one_kind):
    table, tasks = one_kind
    groups = list(table.groups)
    for row in range(2 * (LEAST_ROWS - 1)):
        groups[row] = f"rare {row % 2}"
    parts = find_subjects(attrs.evolve(table, groups=tuple(groups)), tasks)
    assert len(parts.kinds) == len(WORDS) + 1
    assert set(parts.of_row[: 2 * (LEAST_ROWS - 1)].tolist()) == {len(WORDS)}


def test_kinds_of_a_single_group_have_no_subjects(one_kind):
    table, _ = one_kind
    names = tuple(WORDS)
    tasks = Tasks(names, np.array([names.index(one) for one in table.groups]))
    parts = find_subjects(table, tasks)
    assert not len(parts.kinds)
    assert set(parts.of_row.tolist()) == {NONE}


def test_groups_without_end_are_no_subjects():
    rows = (MOST_SUBJECTS + 1) * LEAST_ROWS
    table = made(rows)
    groups = tuple(f"session {row // LEAST_ROWS}" for row in range(rows))
    tasks = Tasks(("log",), np.zeros(rows, dtype=np.intp))
    assert not len(find_subjects(attrs.evolve(table, groups=groups), tasks).kinds)
    few = table.rows(np.arange(MOST_SUBJECTS * LEAST_ROWS))
    few = attrs.evolve(few, groups=groups[: len(few)])
    assert len(find_subjects(few, Tasks(("log",), np.zeros(len(few), dtype=np.intp))).kinds) == MOST_SUBJECTS


def test_shares_are_of_each_kind():
    places = np.array([0, 0, 1, 1, 1])
    said = TEMPER * np.log(np.array([[1.0, 3.0, 1.0, 1.0, 2.0]]))
    np.testing.assert_allclose(shares_of(said, places, starts_of(places)), [[0.25, 0.75, 0.25, 0.25, 0.5]])


def test_what_a_subject_is_worth_is_held_to_its_kind(view, one_kind):
    learned, lesson = view
    of_row, beside = lesson.parts.of_row[:90], beside_others(one_kind[0].gain[:90], np.zeros(90, dtype=np.intp))
    expected = [beside[of_row == one].sum() / ((of_row == one).sum() + PRESUMED_ROWS) for one in range(4)]
    np.testing.assert_allclose(learned.subjects.worth, expected)


def test_words_tell_the_subject(view, one_kind):
    learned, lesson = view
    said = learned.predict(lesson.sights, np.arange(90, 120)).gains[:, SUBJECT]
    hard = np.array([one == HARD for one in one_kind[0].groups[90:]])
    assert said[hard].min() > said[~hard].max() + 0.1


def test_the_head_that_is_read_says_what_the_view_has_said(view, one_kind):
    learned, lesson = view
    shares = np.zeros(FOREST + 1)
    shares[SUBJECT] = 0.7
    head = Head.of(learned.pack(lesson.sights, shares, np.array([0.2])))
    judged = [head.judge(head.look(parse(prompt))) for prompt in one_kind[0].prompts[90:]]
    said = learned.predict(lesson.sights, np.arange(90, 120)).gains[:, SUBJECT]
    np.testing.assert_allclose([one.gain for one in judged], 0.2 + 0.7 * said, atol=0.01)
    np.testing.assert_allclose([one.added[1] for one in judged], [one.gain for one in judged], atol=1e-5)


def test_a_model_with_subjects_tells_them_apart_and_holds_no_name_of_one(model):
    fresh = made(80, seed=7)
    said = np.array([model.judge(parse(prompt)).gain for prompt in fresh.prompts])
    hard = np.array([one == HARD for one in fresh.groups])
    assert said[hard].mean() - said[~hard].mean() > 0.4
    assert not any(name in str(model.pack.facts) for name in WORDS)


def test_subjects_that_do_not_fit_are_refused(model):
    pack = model.pack
    for name in sorted(one for one in pack.arrays if one.startswith("subjects/")):
        rest = {other: one for other, one in pack.arrays.items() if other != name}
        with pytest.raises(ConfigError, match=r"there: .*lab train"):
            Model.of(Pack(rest, pack.facts), "there")
    kinds = np.full_like(pack.arrays["subjects/kinds"], 9)
    with pytest.raises(ConfigError, match="tasks that there are"):
        Model.of(Pack({**pack.arrays, "subjects/kinds": kinds}, pack.facts), "there")
