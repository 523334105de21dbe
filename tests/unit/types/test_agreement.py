"""Answers that say the same have one normal form, and those that do not, have not."""

from __future__ import annotations

import pytest

from asyncrouter.types.agreement import normal_form


def says(text):
    return normal_form({"role": "assistant", "content": text})


def calls(*pairs):
    return normal_form(
        {"tool_calls": [{"id": str(n), "function": {"name": a, "arguments": b}} for n, (a, b) in enumerate(pairs)]}
    )


SAME = [
    ("Paris.", " paris "),
    ("It  is\nParis", "it is PARIS!"),
    ("I think so.\nAnswer: 42", "**Answer:** 42."),
    ("We add.\n#### 42", "so it is \\boxed{42}"),
    ("The final answer is 42", "42"),
    ('{"a": 1, "b": [2, 3]}', '```json\n{"b":[2,3],\n "a":1}\n```'),
    ("\uff21", "a"),
]
DIFFERENT = [
    ("Paris", "London"),
    ("#### 42", "#### 43"),
    ('{"a": 1}', '{"a": 2}'),
    ('{"a": [1, 2]}', '{"a": [2, 1]}'),
    ("no", "none"),
    ("There is no answer to this", "this"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_in_other_words(one, other):
    assert says(one) == says(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_the_same(one, other):
    assert says(one) != says(other)


def test_tool_calls_agree_by_name_and_arguments_in_any_order():
    assert calls(("f", '{"x":1,"y":2}'), ("g", "{}")) == calls(("g", "{ }"), ("f", '{"y": 2, "x": 1}'))
    assert calls(("f", '{"x":1}')) != calls(("f", '{"x":2}'))
    assert calls(("f", "{")) != calls(("f", "[")), "arguments that are no JSON are compared as they are"


def test_a_text_is_no_tool_call_and_no_json():
    assert len({says('f {"x":1}'), calls(("f", '{"x":1}')), says('{"x":1}')}) == 3


@pytest.mark.parametrize(
    "message",
    [{}, {"content": None}, {"tool_calls": "x"}, {"tool_calls": [None, {"function": 7}]}, {"content": "[" * 50_000}],
)
def test_odd_messages_have_a_form_too(message):
    assert isinstance(normal_form(message), str)
