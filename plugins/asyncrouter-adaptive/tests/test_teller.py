"""The kinds of texts are told from the calls that name theirs, and only where these are of the same sort."""

from __future__ import annotations

import random

import numpy as np
import pytest
from asyncrouter_adaptive.features import DENSE, MOST_LABELS, Features
from asyncrouter_adaptive.logistic import Logistic
from asyncrouter_adaptive.shape import FORMS
from asyncrouter_adaptive.teller import LEARNED_FROM, SIZE, Sight, Teller

from asyncrouter import Estimate, Request

TEXTS = {
    "sky": "Which {} planet or comet moves around the far star?",
    "sea": "Which {} fish or whale swims below the deep water?",
}
STRANGE = "Name a {} poem of love and grief by an old master of rhyme"
LABELS = slice(DENSE, DENSE + MOST_LABELS)
CONTEXT = slice(DENSE + MOST_LABELS, None)


class Calls:
    """Calls about the sky and the sea, all in one form, of which some name their kind."""

    def __init__(self):
        self.features = Features("kind")
        self.chance = random.Random(1)  # noqa: S311 - repeatable

    def request(self, text, kind=None):
        message = {"role": "user", "content": text.format(self.chance.choice(("big", "small", "blue", "slow")))}
        return Request(messages=[message], metadata={} if kind is None else {"kind": kind})

    def see(self, text, kind=None):
        request = self.request(text, kind)
        x = self.features.of(request, Estimate(complexity=0.5))
        self.features.teach(request)
        return x

    def serve(self, count, *others):
        """Let *count* calls name their kinds, each after one of *others* that names none, or of the same."""
        for _ in range(count):
            self.see(self.chance.choice(others or tuple(TEXTS.values())))
            kind = self.chance.choice(list(TEXTS))
            self.see(TEXTS[kind], kind)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_is_taken_for_the_kind_that_others_like_it_have(kind):
    calls = Calls()
    calls.serve(60)
    x, named = calls.see(TEXTS[kind]), calls.see(TEXTS[kind], kind)
    assert x[LABELS] == pytest.approx(named[LABELS], abs=0.1)
    assert x[LABELS].sum() == pytest.approx(1.0)
    assert not x[CONTEXT].any()


def test_before_enough_lessons_the_shape_of_the_text_stands():
    calls = Calls()
    calls.serve(LEARNED_FROM // 2)
    x = calls.see(TEXTS["sky"])
    assert not x[LABELS].any()
    assert x.tolist() == Features("kind").of(calls.request(TEXTS["sky"]), Estimate(complexity=0.5)).tolist()


def test_a_form_in_which_nobody_named_a_kind_is_not_told():
    calls = Calls()
    calls.serve(60)
    assert not calls.see("print {}:\n```\n1\n```")[LABELS].any()


def test_kinds_that_the_text_does_not_tell_are_not_told():
    calls = Calls()
    for _ in range(300):
        calls.see(TEXTS["sky"])
        calls.see(TEXTS["sky"], calls.chance.randrange(8))
    assert not calls.see(TEXTS["sky"])[LABELS].any()


def test_texts_of_another_sort_than_those_that_name_their_kinds_are_not_told():
    calls = Calls()
    calls.serve(60, STRANGE)
    for text, kind in (*((TEXTS[kind], kind) for kind in TEXTS), (STRANGE, "sky")) * 20:
        calls.see(text, kind)  # in that form kinds are told well enough
    calls.serve(60, STRANGE)
    assert not calls.see(STRANGE)[LABELS].any()
    assert calls.see(TEXTS["sky"])[LABELS].any()


def test_texts_teach_nothing_while_every_call_names_its_kind():
    calls = Calls()
    for kind in list(TEXTS) * 30:
        calls.see(TEXTS[kind], kind)
    assert calls.features.dump()["teller"]["kinds"] == []


def test_beyond_the_most_labels_kinds_teach_nothing():
    calls = Calls()
    calls.see(TEXTS["sky"])
    for kind in range(MOST_LABELS + 5):
        calls.see(TEXTS["sky"], kind)
    assert calls.features.dump()["teller"]["kinds"] == list(range(MOST_LABELS))


def test_what_was_learned_of_texts_is_kept():
    calls, again = Calls(), Calls()
    calls.serve(60)
    again.features.load(calls.features.dump())
    assert again.features.dump() == calls.features.dump()
    request = calls.request(TEXTS["sea"])
    seen = [one.features.of(request, Estimate(complexity=0.5)).tolist() for one in (calls, again)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("what", ["a kind without a label", "a kind twice", "a count too few", "another size"])
def test_a_damaged_state_is_refused(what):
    calls = Calls()
    calls.serve(20)
    state = calls.features.dump()
    if what == "a kind without a label":
        state["labels"].pop()
    elif what == "a kind twice":
        state["teller"]["kinds"] = [0, 0]
    elif what == "a count too few":
        state["teller"]["right"].pop()
    else:
        state["teller"]["by_sort"] = Logistic(SIZE - 1, 2, 1.0).dump()
    with pytest.raises(ValueError, match=r"label|fit|other features"):
        Features("kind").load(state)


def test_the_regression_comes_near_the_shares_that_are_true():
    chance = np.random.default_rng(3)
    one = Logistic(3, 2, 1.0)
    for _ in range(4000):
        place = int(chance.integers(2))
        one.learn([place, 2], np.ones(2), int(chance.random() < (0.2, 0.7)[place]))
    assert [one.shares([place, 2], np.ones(2))[1] for place in (0, 1)] == pytest.approx([0.2, 0.7], abs=0.03)


def test_odd_texts_have_features():
    for text in ("", "   ", "\ud800 \ud800", "wórd " * 1000):
        places, values = Sight(text).features()
        assert len(places) == len(set(places)) == len(values)
        assert max(places) < SIZE
        assert np.isfinite(values).all()
    teller = Teller()
    assert teller.tell(Sight("")) is None
    assert len(FORMS) == len(teller.dump()["right"])
