"""Taking prompts apart."""

from __future__ import annotations

import numpy as np
import pytest
from asyncrouter_semantic.ngrams import ngrams
from asyncrouter_semantic.text import HISTORY_SAMPLE, SAMPLE, conversation, parse
from asyncrouter_semantic.traits import NAMES, traits


def trait(text, name):
    return traits(parse(text))[NAMES.index(name)]


def test_options_are_told_from_the_question():
    text = parse("Which is not a prime?\nA. two\nB. four\nC. nine or so\nAnswer:")
    assert text.question == "Which is not a prime?"
    assert text.options == ["two", "four", "nine or so"]
    assert text.words[: text.asked] == ["which", "is", "not", "a", "prime", "?"]


@pytest.mark.parametrize("plain", ["A. first alone", "one\nA. two", "x\nB. y\nC. z"])
def test_what_does_not_begin_with_a_and_b_offers_nothing(plain):
    assert parse(plain).options == []


def test_the_last_sentence_is_found():
    text = parse("There are 3 cats. One leaves. How many stay?")
    assert text.words[text.last : text.asked] == ["how", "many", "stay", "?"]


def test_traits_count_what_they_say():
    text = "Add 12 and 345.\nA. 1\nB. 22\nC. x"
    assert trait(text, "options") == 3
    assert trait(text, "numeric options") == pytest.approx(2 / 3)
    assert trait(text, "longest number") == 3
    assert trait(text, "numbers") == pytest.approx(np.log(1 + 4))


@pytest.mark.parametrize(
    "text", ["", " \n ", "數學問題,證明有無限多個質數。", "مرحبا", "🙂🙂", "\ud800", "\x00", "٣٤ и ৫"]
)
def test_any_text_has_traits_and_grams(text):
    assert np.isfinite(traits(parse(text))).all()
    assert ngrams(parse(text)).dtype == np.uint32


def test_numbers_are_told_by_their_length_alone():
    same, longer = ngrams(parse("buy 37 eggs")), ngrams(parse("buy 370 eggs"))
    assert set(ngrams(parse("buy 12 eggs"))) == set(same)
    assert set(same) != set(longer)


def test_a_pair_of_words_has_an_order():
    assert set(ngrams(parse("a b. x"))) != set(ngrams(parse("b a. x")))


def test_the_last_user_message_is_the_task_and_the_others_are_told_apart():
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "prove it"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    last, whole = conversation(messages)
    assert (last.whole, last.length) == ("prove it", 8)
    assert (whole.whole, whole.length) == ("be brief\nprove it", 16)
    assert conversation(messages[1:]) == (last, None)
    assert conversation([]) == (parse(""), None)


def test_of_long_texts_both_ends_are_read():
    last, whole = conversation([
        {"role": "user", "content": "b" * 3 * HISTORY_SAMPLE},
        {"role": "user", "content": "x" + "a" * 10 * SAMPLE + "y"},
    ])  # fmt: skip
    assert (last.whole[0], last.whole[-1], len(last.whole)) == ("x", "y", 2 * SAMPLE + 1)
    assert len(whole.whole) == len(last.whole) + 2 * HISTORY_SAMPLE + 2
    assert last.length == 10 * SAMPLE + 2
    assert whole.length == last.length + 3 * HISTORY_SAMPLE
