"""Answers, chunks and usage: the accessors never raise, whatever an upstream sent."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.types.request import EMPTY
from asyncrouter.types.response import NO_USAGE, Chunk, Response, Usage, usage_of

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def answer(message=None, **choice):
    return Response(raw={"choices": [{"message": message, **choice}]}, deployment="a", model="m")


def chunk(delta=None, **choice):
    return Chunk({"choices": [{"delta": delta, **choice}]})


# ------------------------------------------------------------------ whole answers


def test_an_answer_shows_its_first_choice():
    message = {"role": "assistant", "content": "one"}
    choices = [
        {"message": message, "finish_reason": "stop"},
        {"message": {"content": "two"}, "finish_reason": "length"},
    ]
    response = Response(raw={"choices": choices}, deployment="a", model="m")
    assert response.message is message
    assert (response.text, response.tool_calls, response.finish_reason) == ("one", (), "stop")
    assert (response.usage, response.cost_usd, response.trace, response.headers) == (NO_USAGE, None, None, EMPTY)


def test_an_answer_may_be_tool_calls_alone():
    response = answer({"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls")
    assert (response.text, response.tool_calls, response.finish_reason) == ("", [CALL], "tool_calls")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", ""),
        ("hi", "hi"),
        (None, ""),
        (5, ""),
        ([], ""),
        ({"text": "no"}, ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (({"text": "a"},), "a"),
        ([{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "a"}], "a"),
        ([{"text": None}, {"text": 5}, "bare", None, 5], ""),
    ],
)
def test_the_text_of_every_kind_of_content(content, text):
    assert answer({"content": content}).text == text
    assert chunk({"content": content}).text == text


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": 5},
        {"choices": "abc"},
        {"choices": {"0": {}}},
        {"choices": [None]},
        {"choices": ["abc"]},
        {"choices": [[]]},
        {"choices": [{}]},
        {"choices": [{"message": None, "delta": None, "finish_reason": None}]},
        {"choices": [{"message": "hi", "delta": "hi", "finish_reason": 5}]},
        {"choices": [{"message": [], "delta": [], "finish_reason": []}]},
        {"choices": [{"message": {"tool_calls": "abc"}, "delta": {"content": ""}}]},
        {"choices": [{"message": {"tool_calls": {"a": 1}}, "delta": {}}]},
    ],
)
def test_odd_answers_show_nothing_and_raise_nothing(raw):
    response, piece = Response(raw=raw, deployment="a", model="m"), Chunk(raw)
    assert (response.text, list(response.tool_calls), response.finish_reason) == ("", [], None)
    assert isinstance(response.message, dict)
    assert (piece.text, piece.finish_reason, piece.is_output) == ("", None, False)
    assert isinstance(piece.delta, dict)


def test_any_mapping_will_do():
    message = MappingProxyType({"content": "hi"})
    response = Response(raw=MappingProxyType({"choices": ({"message": message},)}), deployment="a", model="m")
    assert response.text == "hi"


FIELDS = st.sampled_from(["choices", "message", "delta", "content", "text", "tool_calls", "finish_reason", "role",
                          "usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "index"])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5))
ANSWERS = st.fixed_dictionaries({}, optional={"choices": JSON | st.lists(st.dictionaries(FIELDS, JSON)), "usage": JSON})


@given(raw=ANSWERS)
def test_no_json_makes_an_accessor_raise(raw):
    response, piece = Response(raw=raw, deployment="a", model="m"), Chunk(raw)
    assert isinstance(response.text, str)
    assert isinstance(piece.text, str)
    assert isinstance(piece.is_output, bool)
    assert response.finish_reason is None or isinstance(response.finish_reason, str)
    assert piece.finish_reason is None or isinstance(piece.finish_reason, str)
    assert list(response.tool_calls) == list(response.tool_calls)
    assert list(response.message) == list(response.message)
    assert piece.text == "" or piece.is_output
    usage = usage_of(raw)
    assert usage is None or usage.total_tokens >= 0


def test_what_the_router_adds_replaces_and_keeps():
    raw, headers = {"choices": []}, {"x-request-id": "r"}
    response = Response(raw=raw, deployment="a", model="m", headers=headers)
    done = response.finished(Usage(1, 2), 0.5, None)
    assert done == Response(raw=raw, deployment="a", model="m", usage=Usage(1, 2), cost_usd=0.5, headers=headers)
    assert done.raw is raw


# ------------------------------------------------------------------ chunks

OUTPUT = [
    ({"content": "a"}, True),
    ({"role": "assistant", "content": "a"}, True),
    ({"content": " "}, True),
    ({"content": [{"text": "a"}]}, True),
    ({"tool_calls": [{"index": 0}]}, True),
    ({"function_call": {"name": "f"}}, True),
    ({"reasoning_content": "hm"}, True),
    ({"refusal": "no"}, True),
    ({"audio": {"data": "AA"}}, True),
    ({}, False),
    ({"role": "assistant"}, False),
    ({"role": "assistant", "content": ""}, False),
    ({"role": "assistant", "content": None, "refusal": None}, False),
    ({"tool_calls": []}, False),
    (None, False),
]


@pytest.mark.parametrize(("delta", "is_output"), OUTPUT)
def test_what_counts_as_output(delta, is_output):
    assert chunk(delta).is_output is is_output
    assert chunk(delta, finish_reason="stop").is_output is is_output


def test_output_in_any_choice_counts():
    deltas = [{"index": 0, "delta": {"role": "assistant"}}, {"index": 1, "delta": {"content": "a"}}]
    assert Chunk({"choices": deltas}).is_output
    assert not Chunk({"choices": [], "usage": {"prompt_tokens": 5}}).is_output


def test_a_chunk_is_a_delta_unless_it_says_restart():
    assert (chunk({"content": "a"}).kind, chunk({"content": "a"}).text) == ("delta", "a")
    restart = Chunk(kind="restart")
    assert (restart.kind, restart.text, restart.is_output, restart.delta) == ("restart", "", False, {})
    assert chunk({}, finish_reason="length").finish_reason == "length"


# ------------------------------------------------------------------ usage


def test_usage_is_read_with_its_details():
    usage = usage_of({"usage": {
        "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3},
    }})  # fmt: skip
    assert usage == Usage(input_tokens=10, output_tokens=7, cached_input_tokens=4, reasoning_tokens=3)
    assert usage.total_tokens == 17
    assert not usage.estimated


def test_deepseek_has_a_word_of_its_own_for_cached_tokens():
    assert usage_of({"usage": {"prompt_tokens": 10, "prompt_cache_hit_tokens": 6}}) == Usage(10, 0, 6)


@pytest.mark.parametrize("usage", [None, 5, "10", [10], False])
def test_no_usage_is_none(usage):
    assert usage_of({"usage": usage}) is None
    assert usage_of({}) is None


@pytest.mark.parametrize("count", [None, "10", 2.0, -3, True, [], {}])
def test_odd_counts_count_nothing(count):
    details = {"cached_tokens": count, "reasoning_tokens": count}
    found = usage_of({"usage": {"prompt_tokens": count, "completion_tokens": count,
                                "prompt_tokens_details": details, "completion_tokens_details": details}})  # fmt: skip
    assert found == Usage()
    assert type(found.input_tokens) is int


@pytest.mark.parametrize("details", [None, 5, [], "x"])
def test_odd_details_count_nothing(details):
    assert usage_of({"usage": {"prompt_tokens": 1, "prompt_tokens_details": details}}) == Usage(input_tokens=1)
