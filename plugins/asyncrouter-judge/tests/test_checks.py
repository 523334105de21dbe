"""What each check finds, and what it leaves alone."""

from __future__ import annotations

import json
import math

import pytest
from asyncrouter_judge import ChecksJudge
from asyncrouter_judge.checks import NAMES
from asyncrouter_judge.refusals import PHRASES, is_refusal

from asyncrouter import ConfigError, Request, Response
from asyncrouter.hooks.registry import Registry
from asyncrouter.testing import Reply
from asyncrouter.testing.wire import completion

REFUSALS = {
    "English": [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "I can’t provide instructions for that.",
        "As an AI language model, I am unable to generate that kind of content.",
        "I must decline.",
        "Sorry, I can't do that.",
        "I'm not able to discuss that topic.",
    ],
    "German": [
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Leider kann ich diese Anfrage nicht beantworten.",
    ],
    "French": ["Je suis désolé, mais je ne peux pas vous aider.", "Je ne peux pas répondre à cette demande."],
    "Spanish": ["Lo siento, pero no puedo ayudarte con eso.", "No puedo proporcionar esa información."],
    "Italian": ["Mi dispiace, ma non posso aiutarti.", "Non posso fornire queste informazioni."],
    "Portuguese": ["Desculpe, mas não posso ajudar com isso.", "Não posso fornecer essa informação."],
    "Dutch": ["Het spijt me, maar ik kan je daar niet bij helpen.", "Ik kan je daarbij niet helpen."],
    "Polish": ["Przepraszam, ale nie mogę w tym pomóc.", "Nie mogę udzielić takich informacji."],
    "Turkish": ["Üzgünüm, ancak bu konuda yardımcı olamam."],
    "Russian": ["Извините, но я не могу с этим помочь.", "К сожалению, я не могу предоставить эту информацию."],
    "Chinese": ["抱歉，我无法提供帮助。", "对不起，我不能回答这个问题。"],
    "Japanese": ["申し訳ありませんが、そのご要望にはお応えできません。", "すみませんが、お答えできません。"],
    "Korean": ["죄송하지만 도와드릴 수 없습니다."],
    "Arabic": ["عذرًا، لا أستطيع مساعدتك في ذلك."],
    "Hindi": ["माफ़ कीजिए, मैं इसमें मदद नहीं कर सकता।"],
    "Indonesian": ["Maaf, saya tidak bisa membantu dengan hal itu."],
}
ANSWERS = [
    "The answer is 42.",
    "I can't believe it's not butter is a brand of spread.",
    "You cannot divide by zero, so the limit does not exist.",
    "I cannot overstate how good Paris is in spring.",
    "Sorry to hear that! Here are three things that help.",
    "Sie können damit nicht rechnen: die Reihe divergiert.",
    "Das geht leider nicht mit Python 3.8; verwenden Sie 3.11.",
    "Je ne peux que recommander ce livre.",
    "No puedo más es una canción de 1999.",
    "The patient cannot provide consent, so a guardian signs.",
    "无法连接到服务器，请检查网络。",
    "このメソッドは再帰的に呼び出すことができません。",
    "이 함수는 음수를 받을 수 없습니다.",
    "Я не могу уснуть — песня 1995 года.",
    "def refuse(): return \"I'm sorry, but I can't do that\"",
    "I can't share the recipe, but here is what is known of it. " + "It has flour, water and salt in it. " * 40,
]
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}},
    "required": ["age"],
    "additionalProperties": False,
}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
LOOP = "The same words come again and again. " * 40
PROSE = " ".join(f"Sentence {number} tells of {number * 7} things and {number % 13} people." for number in range(60))


def asked(**params):
    return Request(messages=[{"role": "user", "content": "well?"}], params=params)


def answered(text="Paris.", **fields):
    return Response(raw=completion(Reply(text, **fields), "m"), deployment="a", model="m")


def call(arguments, name="look"):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def judged(response, request=None, **options):
    return ChecksJudge(**options).asyncrouter_judge(request or asked(), response)


def test_a_good_answer_has_no_fault():
    verdict = judged(answered())
    assert (verdict.accept, verdict.score, verdict.reason) == (True, 1.0, "")


@pytest.mark.parametrize("text", ["", " \n\t\u3000"])
def test_nothing_is_empty(text):
    verdict = judged(answered(text))
    assert (verdict.accept, verdict.score, verdict.reason) == (False, 0.0, "the answer is empty")
    assert judged(answered(text, tool_calls=[call("{}")])).accept


@pytest.mark.parametrize("text", [text for texts in REFUSALS.values() for text in texts])
def test_a_refusal_is_found_in_its_language(text):
    verdict = judged(answered(text))
    assert (verdict.accept, verdict.score, verdict.reason) == (False, 0.1, "refused in words")


def test_every_language_has_a_refusal():
    assert set(REFUSALS) == set(PHRASES)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text):
    assert not is_refusal(text)


def test_the_upstreams_own_mark_of_a_refusal_counts():
    raw = {"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]}
    assert judged(Response(raw=raw, deployment="a", model="m")).score == 0.1
    assert judged(answered("fine", finish_reason="content_filter")).score == 0.1


def test_what_is_cut_is_rejected_unless_the_caller_wants_it_short():
    cut = answered("The answer", finish_reason="length")
    assert (judged(cut).accept, judged(cut).reason) == (False, "cut by its length")
    assert not judged(cut, asked(max_tokens=33)).accept
    assert judged(cut, asked(max_tokens=32)).accept
    assert judged(cut, asked(max_completion_tokens=1)).accept


def test_a_loop_is_found_and_prose_is_not():
    verdict = judged(answered(LOOP))
    assert not verdict.accept
    assert "is repeated" in verdict.reason
    assert judged(answered("好的，这是答案。" * 60)).accept is False
    assert judged(answered(PROSE)).accept
    assert judged(answered("no " * 20)).accept  # too short to tell
    assert judged(answered(PROSE + LOOP * 3)).score < judged(answered(PROSE * 2 + LOOP)).score


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ('{"age": 3}', 1.0, ""),
        ("Sure! It is 3.", 0.0, "no JSON, which was asked for"),
        ('```json\n{"age": 3}\n```', 0.0, "no JSON, which was asked for"),
        ('{"age": -3}', 0.2, 'JSON that breaks the schema: "minimum"'),
        ('{"age": "three"}', 0.2, 'JSON that breaks the schema: "type"'),
        ("{}", 0.2, 'JSON that breaks the schema: "required"'),
        ('{"age": 3, "x": 1}', 0.2, 'JSON that breaks the schema: "additionalProperties"'),
        ("[" * 40_000 + "]" * 40_000, 0.0, "no JSON, which was asked for"),
    ],
)
def test_json_is_held_against_its_schema(text, score, reason):
    verdict = judged(answered(text), asked(response_format=JSON_SCHEMA), checks=["json"])
    assert (verdict.score, verdict.reason) == (score, reason)


def test_any_object_will_do_where_no_schema_is_given():
    request = asked(response_format={"type": "json_object"})
    assert judged(answered('{"x": 1}'), request).accept
    assert judged(answered("[1]"), request).reason == "JSON, but no object"
    assert judged(answered("plain"), asked(response_format={"type": "text"})).accept


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.org/elsewhere.json"},
        {"$schema": "https://example.org/own", "type": "object"},
        {"type": 7},
        {"properties": {"age": {"pattern": "("}, "name": 7}, "required": 7},
        [],
        None,
    ],
)
def test_a_schema_that_is_no_good_is_not_the_answers_fault(schema):
    request = asked(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert judged(answered('{"age": 3}'), request).accept


@pytest.mark.parametrize(
    ("arguments", "name", "reason"),
    [
        ('{"age": 3}', "look", ""),
        ("{", "look", "the arguments of a tool call are no JSON object"),
        ('{"age": "x"}', "look", 'the arguments of a tool call break its schema: "type"'),
        ("{}", "leap", "calls a tool that was not offered"),
    ],
)
def test_tool_calls_are_held_against_what_was_offered(arguments, name, reason):
    verdict = judged(answered("", tool_calls=[call(arguments, name)]), asked(tools=[TOOL]))
    assert (verdict.reason, verdict.accept) == (reason, not reason)


def samples(*texts):
    choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate(texts)]
    return Response(raw={"choices": choices}, deployment="a", model="m")


def test_samples_that_disagree_with_the_first_reject_it():
    assert judged(samples("42", "42.", "So it is 41")).score == pytest.approx(2 / 3)
    verdict = judged(samples("41", "The sum.\nAnswer: 42", "so \\boxed{42}"))
    assert (verdict.accept, verdict.reason) == (False, "1 of 3 samples agree")


def probable(*logprobs):
    choice = {"message": {"content": "x"}, "logprobs": {"content": [{"logprob": value} for value in logprobs]}}
    return Response(raw={"choices": [choice]}, deployment="a", model="m")


def test_improbable_tokens_reject_the_answer():
    assert judged(probable(math.log(0.9), math.log(0.4))).score == pytest.approx(0.6)
    verdict = judged(probable(math.log(0.3)))
    assert (verdict.accept, verdict.reason) == (False, "tokens of probability 0.30 on average")
    assert judged(probable(None, "x", float("nan"), True)).score == 1.0
    assert judged(probable(-math.inf)).score == 0.0


def test_the_worst_check_decides_and_all_that_reject_are_told():
    cut_and_unsure = {"choices": [{**probable(-3.0).raw["choices"][0], "finish_reason": "length"}]}
    verdict = judged(Response(raw=cut_and_unsure, deployment="a", model="m"))
    assert verdict.score == pytest.approx(math.exp(-3))
    assert verdict.reason == "cut by its length; tokens of probability 0.05 on average"


def test_only_the_named_checks_are_made():
    assert judged(answered(""), checks=["refusal"]).accept
    assert not judged(answered("", finish_reason="length"), checks=["truncated"]).accept
    assert judged(answered("", finish_reason="length"), checks=["truncated"], accept_at=0.3).accept
    assert ChecksJudge().checks == NAMES


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            {"checks": ["refusals"]},
            r'checks\[0\]: expected empty, .* or probability, .*; did you mean "refusal"\?',
        ),
        ({"checks": "empty"}, "checks: expected a list of names"),
        ({"checks": ["empty", "empty"]}, "checks: names the string 'empty' twice"),
        ({"accept_at": 1.5}, "accept_at: expected a number from 0 to 1, not 1.5"),
        ({"accept": 0.5}, 'did you mean "accept_at"'),
    ],
)
def test_wrong_options_are_told(options, fault):
    with pytest.raises(ConfigError, match=fault):
        Registry().make("judge", "judge", options, "groups.chat.judge")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" * 1_000_000, "no JSON, which was asked for; 100% of it is repeated"),
        ("ab " * 300_000, "no JSON, which was asked for; 100% of it is repeated"),
        (json.dumps(["x"] * 200_000), 'JSON that breaks the schema: "type"; 100% of it is repeated'),
        ("I can " * 200_000, "100% of it is repeated"),
        ("ich kann " * 100_000, "no JSON, which was asked for; 100% of it is repeated"),
    ],
    ids=["one word", "short words", "JSON", "too long to be parsed", "German"],
)
def test_a_megabyte_is_judged_as_a_page_is(text, reason):
    """Whatever took the square of its length would still be at it tomorrow."""
    assert judged(answered(text), asked(response_format=JSON_SCHEMA)).reason == reason
