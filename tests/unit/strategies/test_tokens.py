from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.types import tokens

ANY_TEXT = st.text(st.characters(exclude_categories=()))
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a" * 400, 100),
        ("证" * 150, 100),
        ("ж" * 240, 110),
        ("न" * 150, 100),
        ("😀" * 80, 70),
        ("\ud800" * 150, 100),
    ],
)
def test_a_text_counts_by_its_script(text, expected):
    assert tokens.text_tokens(text) == pytest.approx(expected)


def test_messages_have_a_frame():
    assert tokens.estimate_tokens([{"role": "user", "content": "a" * 40}, {"role": "user", "content": None}]) == 18


def test_parts_count_by_kind():
    parts = [{"type": "text", "text": "a" * 40}, "b" * 40, IMAGE, {"type": "input_audio"}, {"type": 7}, 3, None]
    assert tokens.estimate_tokens([{"role": "user", "content": parts}]) == 4 + 10 + 10 + tokens.IMAGE_TOKENS


def test_tool_calls_count():
    call = {"id": "1", "type": "function", "function": {"name": "f" * 8, "arguments": "x" * 40}}
    odd = [None, {}, {"function": "f"}, {"function": {"name": None}}]
    message = {"role": "assistant", "content": None, "tool_calls": [call, *odd]}
    assert tokens.estimate_tokens([message]) == 4 + (4 + 2 + 10) + 4
    assert tokens.estimate_tokens([{"role": "assistant", "tool_calls": "none"}]) == 4


def test_what_is_no_message_counts_nothing():
    assert tokens.estimate_tokens([None, 3, "text", ["list"], {"content": 7}]) == 4


@pytest.mark.parametrize("name", ["tools", "functions"])
def test_tools_count_as_input(ask, name):
    request = ask("a" * 40, **{name: [{}, {}]})
    assert tokens.tool_count(request) == 2
    assert tokens.input_tokens(request) == 14 + 2 * tokens.TOOL_TOKENS
    assert tokens.tool_count(ask("a", **{name: "junk"})) == 0


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": None}, 7),
        ({"max_tokens": True}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": "7"}, None),
    ],
)
def test_the_callers_bound_on_the_answer(ask, params, expected):
    assert tokens.requested_output_tokens(ask("hi", **params)) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [("image", False), (None, False), ([], False), (["image"], False), ([{"type": "text"}], False), ([IMAGE], True)],
)
def test_pictures_are_seen(content, expected):
    assert tokens.has_image(content) is expected


def test_messages_are_counted_once_a_request_and_anew_for_other_messages(ask):
    request = ask("a" * 40)
    assert tokens.message_tokens(request) == 14
    request.messages[0]["content"] = "a" * 80
    assert tokens.message_tokens(request) == 14
    assert tokens.message_tokens(attrs.evolve(request, model="other")) == 24


@given(first=ANY_TEXT, second=ANY_TEXT)
def test_more_text_is_never_fewer_tokens(first, second):
    whole = tokens.text_tokens(first + second)
    assert whole >= tokens.text_tokens(first)
    assert whole == pytest.approx(tokens.text_tokens(first) + tokens.text_tokens(second))
