"""What the estimator ``cost`` sees of a prompt, and how it likens one to another."""

from __future__ import annotations

import numpy as np
import pytest
from asyncrouter_cost.models.likeness import Likeness, doubt
from asyncrouter_cost.models.traits import ASCII_KINDS, COUNT, traits
from asyncrouter_cost.models.wording import BUCKETS, Wording


def test_traits_of_any_text():
    for text in ("", " ", "\n", "a", "\udc80", "9" * 100_000, "x " * 500_000, "多" * 1000):
        found = traits(text)
        assert found.shape == (COUNT,)
        assert np.isfinite(found).all()


def test_characters_are_counted_alike_in_ascii_and_beyond():
    """The traits of what both hold are the same but for the one character that makes them not ASCII."""
    text = "Def F(x1):\n\treturn x1 % 2 == 10\x1c\x0b?\r" * 3
    assert [len(kind) for kind in ASCII_KINDS] == [10, 26, 62, 10]
    characters = len(text) + 1
    for kind, value in zip((str.isdigit, str.isupper), traits(text)[2:4], strict=True):
        assert value == pytest.approx(sum(map(kind, text)) / characters)
    others = sum(not (one.isalnum() or one.isspace()) for one in text)
    assert traits(text)[4] == pytest.approx(others / characters)
    assert traits(text + "é")[4] == pytest.approx(others / (characters + 1))
    assert traits("٣٤")[2] == pytest.approx(2 / 3)


def test_likenesses():
    corners = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    likeness = Likeness(np.zeros(2, np.float32), np.ones(2, np.float32), corners, (0.1, 0.2))
    far = (np.exp(-1.25) + np.exp(-2.5)) / 2  # the mean squared difference is 12.5
    assert likeness.to_landmarks(corners) == pytest.approx(np.array([[1.0, far], [far, 1.0]]))


def test_wordings_are_alike_that_share_rare_trigrams():
    prompts = ("the cat sat on the mat", "the cat sat on the hat", "the prime factors of 91", "the prime factors of 12")
    wording = Wording.of(prompts)
    alike = wording.products(prompts, wording.matrix(prompts))
    assert np.diag(alike) == pytest.approx(1.0)
    assert alike == pytest.approx(alike.T)
    assert alike[0, 1] > 0.8
    assert alike[0, 2] < 0.1
    assert wording.products(["THE CAT SAT ON THE MAT"], wording.matrix(prompts[:1])) == pytest.approx(1.0)


@pytest.mark.parametrize("prompt", ["", "a", "ab", "\udc80", "zqj"])
def test_a_wording_that_no_other_has_weighs_nothing(prompt):
    wording = Wording.of(["one", "another one", "\udc80"])
    assert wording.products([prompt], np.ones(BUCKETS, np.float32)) == [0.0]


def test_doubt_is_the_spread_of_a_coin():
    assert doubt(np.array([0.5, 0.2, 0.8, 0.0, 1.5]), 1.0) == pytest.approx([1.0, 0.64, 0.64, 0.0784, 0.0784])
    assert doubt(np.array([0.5, 0.2]), 0.5) == pytest.approx([1.0, 0.8])
    assert (doubt(np.array([0.5, 0.2, 0.0]), 0.0) == 1.0).all()
