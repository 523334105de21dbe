"""The regressions, the test for changes, and what is seen of a request."""

from __future__ import annotations

import random

import numpy as np
import pytest
from asyncrouter_adaptive.changes import FRESH, Changes, Freshness
from asyncrouter_adaptive.features import CONTEXT, DENSE, FORM, MOST_LABELS, SIZE, VECTOR_LENGTH, Features
from asyncrouter_adaptive.model import BLOCK, NOISE, PRIOR, PRIOR_OF_ALL, Model
from asyncrouter_adaptive.shape import FORMS, NUMBERS, SAMPLE, TAIL, shape_of

from asyncrouter import Estimate, Request

TEXT = slice(DENSE + MOST_LABELS, SIZE)


def test_the_model_is_the_ridge_regression_around_the_common_one():
    chance = np.random.default_rng(2)
    model, rows = Model(4, 1e9), {"a": [], "b": []}
    for number in range(BLOCK - 1):
        x, reward, name = chance.normal(size=4), float(chance.random()), "ab"[number % 2]
        model.learn(x, name, reward)
        rows[name].append((x, reward))
    everything = [pair for pairs in rows.values() for pair in pairs]
    design, rewards = np.array([x for x, _ in everything]), np.array([reward for _, reward in everything])
    common = np.linalg.solve(design.T @ design + np.eye(4), design.T @ rewards)
    x = chance.normal(size=4)
    means, deviations = model.scores(x, ["b", "nobody"])
    design, rewards = np.array([x for x, _ in rows["b"]]), np.array([reward for _, reward in rows["b"]])
    prior = np.array([PRIOR_OF_ALL, PRIOR, PRIOR, PRIOR])
    precision = design.T @ design + np.diag(prior)
    assert means[0] == pytest.approx(x @ np.linalg.solve(precision, design.T @ rewards + prior * common))
    assert deviations[0] == pytest.approx(NOISE * np.sqrt(x @ np.linalg.solve(precision, x)))
    assert means[1] == pytest.approx(x @ common)
    assert deviations[1] == pytest.approx(NOISE * np.sqrt(x @ (x / prior)))


def test_old_outcomes_count_less():
    model, x = Model(2, 128), np.array([1.0, 0.0])
    for reward in [0.0] * (4 * BLOCK) + [1.0] * (4 * BLOCK):
        model.learn(x, "a", reward)
    assert model.pulls("a") < 1.2 * 128
    assert model.scores(x, ["a"])[0][0] > 0.75


def test_a_change_is_noticed_and_steadiness_is_none():
    chance = random.Random(0)  # noqa: S311 - repeatable
    changes = Changes()
    assert not any(changes.see("a", (chance.random() < 0.6) - 0.6) for _ in range(10_000))
    fall = next(n for n in range(1, 500) if changes.see("a", (chance.random() < 0.2) - 0.6))
    rise = next(n for n in range(1, 500) if changes.see("b", (chance.random() < 0.9) - 0.5))
    assert max(fall, rise) < 90


def test_many_labels_and_odd_estimates_do_no_harm():
    features = Features("kind")
    for number in range(100):
        request = Request(messages=[{"role": "user", "content": "x"}], metadata={"kind": number}, agent=f"a{number}")
        assert len(features.of(request, Estimate(complexity=0.1, features=[1.0] * (number % 3)))) == SIZE
    plain = Request(messages=[{"role": "user", "content": None}])
    odd = Estimate(complexity=0.1, features=[0.0] * 7, contributions=((0.2, "length \ud800"),))
    assert np.isfinite(features.of(plain, odd)).all()


def test_what_is_forgotten_of_one_is_forgotten_of_all():
    chance = np.random.default_rng(4)
    model, other = Model(4, 1e9), Model(4, 1e9)
    for number in range(BLOCK - 1):
        x, reward, name = chance.normal(size=4), float(chance.random()), "ab"[number % 2]
        model.learn(x, name, reward)
        if name == "a":
            other.learn(x, name, reward)
    model.forget("b", 0.0)
    model.forget("nobody", 0.0)
    x = chance.normal(size=4)
    for found, expected in zip(model.scores(x, ["a", "b"]), other.scores(x, ["a", "b"]), strict=True):
        assert found == pytest.approx(expected)
    assert (model.pulls("b"), model.average("b")) == (0.0, 0.0)
    assert model.average("a") == pytest.approx(other.average("a"))


def test_who_is_hardly_asked_is_stale():
    freshness = Freshness()
    for number in range(1000):
        freshness.note("a", number)
        if number % 20 == 0:  # 5 % of the calls
            freshness.note("b", number)
        if number % 50 == 0:  # 2 %
            freshness.note("c", number)
    assert [freshness.is_stale(name, 1000) for name in "abcd"] == [False, False, True, True]
    assert freshness.is_stale("b", 1000 + 250)
    again = Freshness()
    again.load(freshness.dump())
    assert again.dump() == freshness.dump()
    assert FRESH < 250 * 0.05


def seen(features, text="hello", **fields):
    request = Request(messages=[{"role": "user", "content": text}], **fields)
    return Features("kind").of(request, Estimate(complexity=0.5, features=features))[TEXT]


def test_shares_of_kinds_are_taken_for_what_they_are_and_nothing_after_them():
    assert seen([0.7, 0.2, 0.1, 9.0, -9.0]).tolist() == pytest.approx([0.7, 0.2, 0.1] + [0.0] * (CONTEXT - 3))
    many = [1.0 / 40] * 40  # more kinds than there is room for: what fits, at one length
    assert np.linalg.norm(seen(many)) == pytest.approx(VECTOR_LENGTH)


@pytest.mark.parametrize("features", [[3.0, 4.0], [-0.5, 0.5, 1.0], [0.6, 0.6], [1e-3] * 5])
def test_another_vector_is_brought_to_one_length(features):
    expected = np.array(features) * VECTOR_LENGTH / np.linalg.norm(features)
    assert seen(features)[: len(features)] == pytest.approx(expected)


@pytest.mark.parametrize("features", [[0.0] * 7, [float("inf"), 1.0], [float("nan"), 1.0]])
def test_a_vector_that_tells_nothing_gives_way_to_the_text(features):
    assert seen(features).tolist() == seen([]).tolist()


def test_a_named_kind_stands_for_the_text():
    assert not seen([0.7, 0.3], metadata={"kind": "code"}).any()
    assert seen([]).any()  # without both there is the shape of the text


PROMPTS = {
    "What does this print?\n```\nprint(1)\n```": "code",
    "Why does it fail?\n    x = y": "code",
    "Write a function to reverse words.": "programming",
    "A function of what is the price of bread?": "question",  # the word alone asks for no program
    "What is the slope of $y = 3x$ there?": "notation",
    "Evaluate \\int x dx": "notation",
    "Does a coat of $20 cost more than two of $15?": "question",
    "Which gas do plants take in?\nA. oxygen\nB. carbon dioxide": "options",
    "who wrote the first novel": "keywords",
    "who wrote the first novel?": "question",
    "Ann has 3 apples. She eats 1. How many are left?": "reckoning",
    "Ann has 3 apples. She eats one. How many are left?": "sentences",
    "Ann has 3 apples. She eats 1. " * 30: "long",
    "word " * 100: "keywords",
    "Word " * 100: "long",
    "Which town lies on the river Kennet?": "names",
    "Name a gas": "statement",
    "": "statement",
}


@pytest.mark.parametrize(("text", "form"), PROMPTS.items())
def test_the_form_of_a_text_is_the_first_that_fits(text, form):
    place, numbers = shape_of(text)
    assert FORMS[place] == form
    assert len(numbers) == NUMBERS
    assert np.isfinite(numbers).all()


def test_every_form_occurs():
    assert set(PROMPTS.values()) == set(FORMS)


def test_the_form_is_marked_and_the_numbers_follow_it():
    marks = seen([], "who wrote the first novel")[: len(FORMS)]
    assert marks.tolist() == [FORM if form == "keywords" else 0.0 for form in FORMS]
    assert len(FORMS) + NUMBERS == CONTEXT
    assert np.abs(seen([], "who wrote the first novel")[len(FORMS) :]).max() < FORM / 2


def test_a_megabyte_is_looked_at_as_a_page_is():
    page = "Word " * 400
    form, numbers = shape_of(page)
    longer, others = shape_of(page + "Word ``` \nB. $x$ " * 50_000 + "Word " * TAIL)
    assert (longer, others[1:]) == (form, numbers[1:])  # all but the length
    assert len(page) > SAMPLE
