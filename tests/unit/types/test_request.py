"""What callers may ask: prompts, complexities and deadlines, good and bad."""

from __future__ import annotations

import math
from collections import UserDict, UserList, deque
from fractions import Fraction
from types import MappingProxyType

import pytest

from asyncrouter.types.errors import InvalidRequest
from asyncrouter.types.request import (
    EMPTY,
    Request,
    check_naming,
    checked_complexity,
    checked_deadline,
    messages_of,
    place_asked,
    text_of,
)

USER = {"role": "user", "content": "hi"}
SENTINEL = "zanzibar-sentinel"


# ------------------------------------------------------------------ prompts


def test_a_text_becomes_one_user_message():
    assert list(messages_of("hi")) == [USER]
    assert list(messages_of(" hi\n")) == [{"role": "user", "content": " hi\n"}]


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        (USER,),
        UserList([USER]),
        deque([USER]),
        [UserDict(USER)],
        [MappingProxyType(USER)],
        [{"role": "system", "content": ""}, USER],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}],
        [{"role": "assistant", "function_call": {"name": "f"}}],
        [{"role": "user", "content": {"odd": "but there"}}],
        [{"role": "my own", "content": "hi", "name": "n", "unknown": 1}],
    ],
)
def test_messages_pass_as_they_are(messages):
    assert messages_of(messages) is messages


BAD_PROMPTS = [
    ("", "prompt: is empty"),
    (" \n\t", "prompt: is empty"),
    ("\u2003\u00a0", "prompt: is empty"),
    (None, "prompt: expected a str or a list of messages, not NoneType"),
    (5, "prompt: expected a str or a list of messages, not int"),
    (b"hi", "not bytes"),
    (bytearray(b"hi"), "not bytearray"),
    (USER, "not dict"),
    (UserDict(USER), "not UserDict"),
    ({USER["role"]}, "not set"),
    (iter([USER]), "not list_iterator"),
    ([], "prompt: the list of messages is empty"),
    ((), "prompt: the list of messages is empty"),
    (["hi"], r"messages\[0\]: expected a mapping with a role, not str"),
    ([USER, None], r"messages\[1\]: expected a mapping with a role, not NoneType"),
    ([USER, ["role", "user"]], r"messages\[1\]: expected a mapping with a role, not list"),
    ([{}], r"messages\[0\]\.role: missing or not a str"),
    ([{"content": "hi"}], r"messages\[0\]\.role: missing"),
    ([USER, {"role": 5, "content": "hi"}], r"messages\[1\]\.role: missing or not a str"),
    ([{"role": None, "content": "hi"}], r"messages\[0\]\.role"),
    ([{"role": "user"}], "messages: no message has any content"),
    ([{"role": "user", "content": None}], "no message has any content"),
    ([{"role": "user", "content": " \n"}, {"role": "user", "content": []}], "no message has any content"),
    ([{"role": "assistant", "content": "", "tool_calls": []}], "no message has any content"),
]


@pytest.mark.parametrize(("prompt", "message"), BAD_PROMPTS)
def test_a_bad_prompt_is_refused_with_its_place(prompt, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        messages_of(prompt)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "prompt",
    [[SENTINEL], [USER, {"role": [SENTINEL]}], [{SENTINEL: 1}], {SENTINEL: 1}, [{"role": "user", SENTINEL: 1}]],
)
def test_a_refusal_does_not_quote_the_prompt(prompt):
    with pytest.raises(InvalidRequest) as caught:
        messages_of(prompt)
    assert SENTINEL not in str(caught.value)


# ------------------------------------------------------------------ complexity and deadline


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5, 1.0, 5e-324])
def test_a_complexity_is_a_number_from_0_to_1(value):
    assert checked_complexity(value) == value
    assert type(checked_complexity(value)) is float


@pytest.mark.parametrize("value", [0.001, 1, 30.0, 1e300, math.inf])
def test_a_deadline_is_a_positive_number(value):
    assert checked_deadline(value) == value
    assert type(checked_deadline(value)) is float


def test_none_is_none():
    assert checked_complexity(None) is None
    assert checked_deadline(None) is None


class LooksLikeANumber(str):
    __slots__ = ()

    def __repr__(self):
        return SENTINEL


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (-0.1, "-0.1"),
        (1.0000001, "1.0000001"),
        (2, "2"),
        (-1, "-1"),
        (10**400, "int"),
        (True, "True"),
        (False, "False"),
        ("0.5", "str"),
        (SENTINEL, "str"),
        (LooksLikeANumber("1"), "LooksLikeANumber"),
        (Fraction(1, 2), "Fraction"),
        ([0.5], "list"),
        (0.5j, "complex"),
    ],
)
def test_a_bad_complexity_is_refused(value, shown):
    with pytest.raises(InvalidRequest) as caught:
        checked_complexity(value)
    assert str(caught.value) == f"complexity: expected a number from 0 to 1, not {shown}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.0, "0.0"), (-5, "-5"), (math.nan, "nan"), (-math.inf, "-inf"), (True, "True"), ("30", "str"),
     (-(10**400), "int"), (object(), "object")],
)  # fmt: skip
def test_a_bad_deadline_is_refused(value, shown):
    with pytest.raises(InvalidRequest) as caught:
        checked_deadline(value)
    assert str(caught.value) == f"deadline_s: expected a positive number of seconds, not {shown}"


def test_names_and_metadata_are_told_by_their_types():
    check_naming(None, None, None)
    check_naming("", "conv-42", MappingProxyType({}))
    model = "model: expected a str, not {}; pass a name, or leave it out for the default"
    session = "session: expected a str, not int; pass any text that is the same for all calls of a conversation"
    for arguments, message in (
        ((5, None, None), model.format("int")),
        (([SENTINEL], None, None), model.format("list")),
        (("chat", 5, None), session),
        ((None, "", [SENTINEL]), "metadata: expected a mapping, not list; pass a dict"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            check_naming(*arguments)
        assert str(caught.value) == message


def test_a_deadline_that_no_float_holds_is_refused():
    with pytest.raises(InvalidRequest, match=r"deadline_s: no float holds .* math\.inf") as caught:
        checked_deadline(10**400)
    assert len(str(caught.value)) < 100


# ------------------------------------------------------------------ the rest


def test_a_request_has_harmless_defaults():
    request = Request(messages=[USER])
    assert (request.params, request.metadata, request.model, request.stream) == (EMPTY, EMPTY, None, False)
    assert not EMPTY


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (USER, "hi"),
        ({"content": ""}, ""),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": 5}, ""),
        ({"content": {"text": "hi"}}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}, "a\nb"),
        ({"content": ("a", {"text": "b"})}, "a\nb"),
        ({"content": [{"text": 5}, 7, None]}, ""),
    ],
)
def test_the_text_of_a_message(message, text):
    assert text_of(message) == text


@pytest.mark.parametrize(
    ("roles", "place"),
    [
        ([], -1),
        (["user"], 0),
        (["system"], 0),
        (["user", "assistant"], 0),
        (["user", "assistant", "user", "tool"], 2),
        (["assistant", None, 7], 2),
    ],
)
def test_what_is_asked_is_the_users_last_message(roles, place):
    messages = [{"role": role} if isinstance(role, str) else role for role in roles]
    assert place_asked(messages) == place
