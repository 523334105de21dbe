"""Chunks assembled to the answer that a plain call would have given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.engine.assembly import Assembler, merge
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage


def chunk(delta=None, finish=None, *, index=0, **top):
    return Chunk({"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **top})


def assembled(*chunks):
    assembler = Assembler()
    for one in chunks:
        assembler.add(one)
    return assembler


def response_of(assembler):
    return Response(raw=assembler.raw(), deployment="d", model="m")


def test_nothing_is_an_answer_without_choices():
    assembler = assembled()
    assert assembler.raw() == {"object": "chat.completion", "choices": []}
    assert (assembler.text, assembler.usage) == ("", None)
    assert not assembler.finished
    assert not assembler.in_tool_call
    assert assembler.is_continuable


def test_a_tool_call_is_cut_where_its_arguments_are_and_no_finish_reason_came():
    def call(arguments, index=0):
        return chunk({"tool_calls": [{"index": index, "function": {"name": "f", "arguments": arguments}}]})

    assert not assembled(chunk({"content": "a"})).is_cut_in_tool_call
    assert not assembled(call('{"a": '), call("1}")).is_cut_in_tool_call
    assert assembled(call("{}"), call('{"a": ', 1)).is_cut_in_tool_call
    assert not assembled(call('{"a": '), chunk(finish="length")).is_cut_in_tool_call
    for strange in ({"tool_calls": [5]}, {"tool_calls": [{"index": 0}]}):
        assert assembled(chunk(strange)).is_cut_in_tool_call
    assert not assembled(chunk({"tool_calls": {"index": 0}})).is_cut_in_tool_call


def test_texts_are_joined_and_the_finish_reason_is_kept():
    assembler = assembled(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"})
    )
    assert assembler.text == "Hello"
    assert not assembler.finished
    assembler.add(chunk(finish="stop"))
    assert assembler.finished
    assert assembler.raw()["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]


def test_the_first_of_each_field_of_the_envelope_stands():
    first = chunk({"content": "a"}, id="1", created=5, model="m", system_fingerprint=None)
    second = chunk({"content": "b"}, id="2", created=6, system_fingerprint="f", service_tier="flex", other="x")
    raw = assembled(first, second).raw()
    assert {key: raw[key] for key in ("id", "created", "model", "system_fingerprint", "service_tier")} == {
        "id": "1",
        "created": 5,
        "model": "m",
        "system_fingerprint": "f",
        "service_tier": "flex",
    }
    assert "other" not in raw


def test_of_usages_with_every_text_the_last_stands():
    running = ({"prompt_tokens": 3, "completion_tokens": count} for count in (1, 2, 3))
    assembler = assembled(*(chunk({"content": "a"}, usage=usage) for usage in running))
    assert assembler.usage == Usage(input_tokens=3, output_tokens=3)
    assert (assembler.text, assembler.raw()["usage"]["completion_tokens"]) == ("aaa", 3)


def test_the_last_usage_stands():
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    running = {"prompt_tokens": 3, "completion_tokens": 1}
    assembler = assembled(
        chunk({"content": "a"}, usage=running), Chunk({"choices": [], "usage": usage}), chunk(usage=None)
    )
    assert assembler.usage == Usage(input_tokens=3, output_tokens=4)
    assert assembler.raw()["usage"] == usage


def test_reasoning_and_refusals_are_joined_other_fields_replaced():
    pieces = [
        {"reasoning_content": "hm", "refusal": "I ", "annotations": [{"a": 1}], "vendor": "one"},
        {
            "reasoning_content": ", yes",
            "refusal": "won't",
            "annotations": [{"b": 2}],
            "vendor": "two",
            "extra": {"x": 1},
        },
        {"extra": {"y": 2}, "reasoning": None},
    ]
    message = response_of(assembled(*map(chunk, pieces))).message
    assert message == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "hm, yes",
        "refusal": "I won't",
        "annotations": [{"a": 1}, {"b": 2}],
        "vendor": "two",
        "extra": {"x": 1, "y": 2},
        "reasoning": None,
    }


def test_logprobs_are_collected():
    one, two = {"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}
    chunks = [
        Chunk({"choices": [{"index": 0, "delta": {"content": one["token"]}, "logprobs": {"content": [one]}}]}),
        Chunk({"choices": [{"index": 0, "delta": {"content": "b"}, "logprobs": {"content": [two]}, "native": "x"}]}),
    ]
    (choice,) = assembled(*chunks).raw()["choices"]
    assert choice["logprobs"] == {"content": [one, two]}
    assert choice["native"] == "x"


def test_tool_calls_are_merged_by_their_index():
    pieces = [
        [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}],
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}],
        [{"index": 0, "function": {"arguments": "}"}}, {"index": 1, "function": {"arguments": "[]"}}],
    ]
    assembler = assembled(*(chunk({"tool_calls": piece}) for piece in pieces))
    assert response_of(assembler).tool_calls == [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "function": {"name": "g", "arguments": "[]"}},
    ]
    assert assembler.in_tool_call
    assert not assembler.is_continuable


def test_choices_are_kept_apart():
    assembler = assembled(
        chunk({"content": "b"}, index=1), chunk({"content": "a"}, index=0), chunk(finish="stop", index=1)
    )
    assert [choice["message"]["content"] for choice in assembler.raw()["choices"]] == ["a", "b"]
    assert not assembler.finished
    assert not assembler.is_continuable
    assembler.add(chunk(finish="length", index=0))
    assert assembler.finished
    assert assembler.text == "a"


@pytest.mark.parametrize(
    ("wanted", "complete"), [({}, True), ({"n": 1}, True), ({"n": 2}, False), ({"n": "two"}, True), ({"n": None}, True)]
)
def test_it_is_complete_when_every_choice_that_was_asked_for_has_ended(wanted, complete):
    request = Request(messages=[], params=wanted)
    assembler = assembled(chunk({"content": "a"}))
    assert not assembler.is_complete(request)
    assembler.add(chunk(finish="stop"))
    assert assembler.is_complete(request) is complete


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"choices": None},
        {"choices": ["odd", None, 3]},
        {"choices": [{}]},
        {"choices": [{"delta": None, "index": None}]},
        {"choices": [{"delta": "odd", "logprobs": "odd"}]},
        {"choices": [{"delta": {"tool_calls": [None, "odd", {"id": "no index"}]}}]},
        {"choices": [{"delta": {"content": 5}}]},
        {"choices": [{"delta": {"content": {"parts": []}}}]},
        {"usage": "odd"},
    ],
)
def test_odd_chunks_are_no_stumbling_block(raw):
    assembler = assembled(chunk({"content": "so far"}), Chunk(raw), chunk({"content": " so good"}))
    assert isinstance(assembler.text, str)
    assert isinstance(response_of(assembler).text, str)
    assembler.finished, assembler.in_tool_call, assembler.is_continuable  # noqa: B018 - they must not raise


def part(text):
    return {"content": [{"type": "text", "text": text}]}


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


@pytest.mark.parametrize(
    ("deltas", "content"),
    [
        ([part("Hel"), part("lo")], [{"type": "text", "text": "Hello"}]),
        ([{"content": ""}, part("Hel"), {"content": "lo"}], [{"type": "text", "text": "Hello"}]),
        ([{"content": "Hel"}, part("lo")], [{"type": "text", "text": "Hello"}]),
        ([{"content": [THOUGHT]}, {"content": ""}, part("Hello")], [THOUGHT, {"type": "text", "text": "Hello"}]),
        ([part("Hel"), {"content": [THOUGHT]}, part("lo")],
         [{"type": "text", "text": "Hel"}, THOUGHT, {"type": "text", "text": "lo"}]),
        ([{"content": ["odd", {"type": "text"}, {"type": "text", "text": 5}]}, part("Hello")],
         ["odd", {"type": "text"}, {"type": "text", "text": 5}, {"type": "text", "text": "Hello"}]),
    ],
    ids=["parts", "text after parts", "parts after text", "thoughts", "thoughts between", "odd"],
)  # fmt: skip
def test_a_content_in_parts_is_a_text_all_the_same(deltas, content):
    chunks = [chunk(delta) for delta in deltas]
    before = repr(deltas)
    assembler = assembled(*chunks)
    assert assembler.text == response_of(assembler).text == "Hello"
    assert response_of(assembler).message["content"] == content
    assert repr(deltas) == before, "the caller has these chunks too"


def test_only_a_content_has_parts():
    whole = {"vendor": "text"}
    merge(whole, {"vendor": [{"type": "text", "text": "a"}]})
    merge(whole, {"vendor": [{"type": "text", "text": "b"}]})
    assert whole == {"vendor": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}


def test_merging_leaves_the_piece_alone():
    whole, piece = {}, {"list": [{"index": 0, "text": "a"}], "map": {"x": "y"}}
    merge(whole, piece)
    merge(whole, {"list": [{"index": 0, "text": "b"}], "map": {"x": "z"}})
    assert piece == {"list": [{"index": 0, "text": "a"}], "map": {"x": "y"}}
    assert whole == {"list": [{"index": 0, "text": "b"}], "map": {"x": "z"}}


def test_a_value_of_another_kind_replaces_what_was_there():
    whole = {"a": "text", "b": {"x": 1}, "c": [1]}
    merge(whole, {"a": {"now": "a mapping"}, "b": ["now", "a list"], "c": "now a text", "content": "new"})
    assert whole == {"a": {"now": "a mapping"}, "b": ["now", "a list"], "c": "now a text", "content": "new"}


def pieces_of(text, cuts):
    places = sorted({min(cut, len(text)) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(
    text=st.text(max_size=60),
    arguments=st.lists(st.text(max_size=40), max_size=3),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_however_it_is_cut_the_whole_is_the_same(text, arguments, cuts, order):
    """Pieces of one text stay in their order; the texts and calls may be interleaved in any way."""
    queues = [[chunk({"content": piece}) for piece in pieces_of(text, cuts)]]
    for number, argument in enumerate(arguments):
        first = {"index": number, "id": f"c{number}", "function": {"name": f"f{number}", "arguments": ""}}
        rest = [{"index": number, "function": {"arguments": piece}} for piece in pieces_of(argument, cuts)]
        queues.append([chunk({"tool_calls": [piece]}) for piece in (first, *rest)])
    assembler = Assembler()
    while queues := [queue for queue in queues if queue]:
        assembler.add(order.choice(queues).pop(0))
    response = response_of(assembler)
    assert response.text == text
    assert list(response.tool_calls) == [
        {"id": f"c{number}", "function": {"name": f"f{number}", "arguments": argument}}
        for number, argument in enumerate(arguments)
    ]
