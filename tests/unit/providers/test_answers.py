"""What counts as an answer, and a whole answer as chunks."""

from __future__ import annotations

import pytest

from asyncrouter.providers.answers import NoAnswer, as_chunks, checked_completion, error_in


def answer(message=None, finish_reason="stop", **more):
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason, **more}]}


@pytest.mark.parametrize(
    "body",
    [
        answer({"role": "assistant", "content": "Hi"}),
        answer({"content": [{"type": "text", "text": "Hi"}]}),
        answer({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls"),
        answer({"content": None, "function_call": {"name": "f"}}),
        answer({"content": "", "refusal": "I would rather not"}),
        answer({"content": None, "audio": {"id": "a"}}),
        answer({"content": "Hi"}, None),
        answer({"content": ""}, "length"),
        answer({"content": None, "reasoning_content": "hm"}, "length"),
        {"choices": [answer({"content": ""})["choices"][0], answer({"content": "Hi"})["choices"][0]]},
        {**answer({"content": "Hi"}), "error": None, "unknown": {"x": 1}},
    ],
)
def test_answers(body):
    assert checked_completion(body) is body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "no JSON object"),
        ("text", "no JSON object"),
        ([], "no JSON object"),
        ([1], "no JSON object"),
        ({}, "no choices"),
        ({"choices": None}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": {"0": 1}}, "no choices"),
        ({"choices": ["x"]}, "is empty"),
        (answer(None), "is empty"),
        (answer("Hi"), "is empty"),
        (answer({}), "is empty"),
        (answer({"role": "assistant", "content": None}), "is empty"),
        (answer({"role": "assistant", "content": "", "tool_calls": []}), "is empty"),
        (answer({"content": None}, "tool_calls"), "is empty"),
        (answer({"content": 42}), "is empty"),
        (answer({"content": {"text": "Hi"}}), "is empty"),
        (answer({"content": None, "tool_calls": "pay", "refusal": True}), "is empty"),
        (answer({"content": "", "reasoning_content": "hm", "annotations": [1]}), "is empty"),
    ],
)
def test_no_answers(body, message):
    with pytest.raises(NoAnswer, match=message) as raised:
        checked_completion(body)
    assert raised.value.error is None
    assert not raised.value.filtered


def test_a_filtered_choice_spoils_the_answer():
    filtered = answer({"content": "half an ans"}, "content_filter")["choices"][0]
    for choices in ([filtered], [answer({"content": "Hi"})["choices"][0], filtered]):
        with pytest.raises(NoAnswer, match="policy") as raised:
            checked_completion({"choices": choices})
        assert raised.value.filtered


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "x"}},
        {"error": "x", "choices": []},
        {"object": "error", "message": "x"},
        [{"error": {"message": "x"}}],
        answer({"content": ""}, "error"),
        answer({"content": "half"}, None, error={"code": 502, "message": "x"}),
    ],
)
def test_errors_in_place_of_an_answer(body):
    with pytest.raises(NoAnswer) as raised:
        checked_completion(body)
    assert raised.value.error


def test_what_is_no_error():
    assert error_in({"error": None}) is None
    assert error_in({"object": "error", "choices": []}) is None
    assert error_in([]) is None


def test_a_whole_answer_as_chunks():
    body = {
        "id": "1",
        "object": "chat.completion",
        "unknown": 5,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "logprobs": None,
                "message": {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, "junk", {"index": 7}]},
            },
            "junk",
            {"index": 1},
        ],
        "usage": {"prompt_tokens": 1},
    }
    first, usage = as_chunks(body)
    assert first == {
        "id": "1",
        "object": "chat.completion.chunk",
        "unknown": 5,
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "logprobs": None,
                "delta": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"index": 0, "id": "a"}, {"index": 7}],
                },
            },
            {"index": 1, "delta": {}},
        ],
    }
    assert usage == {
        "id": "1",
        "object": "chat.completion.chunk",
        "unknown": 5,
        "choices": [],
        "usage": {"prompt_tokens": 1},
    }
    del body["usage"]
    assert len(list(as_chunks(body))) == 1
