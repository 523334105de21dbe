# ruff: noqa: RUF001  (the letters and symbols of other scripts are meant)
from __future__ import annotations

import json
import pathlib
import re
import statistics
import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.strategies.estimators import heuristic, vocabulary
from asyncrouter.strategies.estimators.constant import ConstantEstimator
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import TOOL_TOKENS

PROMPTS = tomllib.loads((pathlib.Path(__file__).parent / "prompts.toml").read_text(encoding="utf-8"))
ESTIMATOR = heuristic.HeuristicEstimator()
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
INDICATORS = [
    *(entry.replace("_", " ") for entry, _, _ in vocabulary._entries(vocabulary.LATIN)),
    *(entry for entry, _, _ in vocabulary._entries(vocabulary.SPACED)),
    *vocabulary.SIGNS,
    "```",
    "\n1. item",
    "? ?",
    "？？",
    "x^2 = \\frac{1}{2}",
]  # fmt: skip


def estimate(prompt, **params):
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return ESTIMATOR.asyncrouter_estimate(Request(messages=messages, params=params))


def complexity(prompt, **params):
    return estimate(prompt, **params).complexity


def of_level(level):
    return [
        pytest.param(text, id=f"{lang}-{n}") for lang, texts in PROMPTS[level].items() for n, text in enumerate(texts)
    ]


# ---------------------------------------------------------------- calibration


def test_the_calibration_set_is_broad():
    texts = [text for level in PROMPTS.values() for texts in level.values() for text in texts]
    assert len(set(texts)) >= 60
    assert len({language for level in PROMPTS.values() for language in level}) >= 10


@pytest.mark.parametrize("prompt", of_level("trivial"))
def test_trivial_prompts_stay_low(prompt):
    assert complexity(prompt) < 0.3


@pytest.mark.parametrize("prompt", of_level("hard"))
def test_hard_prompts_reach_the_shipped_threshold(prompt):
    assert complexity(prompt) >= 0.7


@pytest.mark.parametrize("language", sorted(PROMPTS["medium"]))
def test_levels_keep_their_distance_in_every_language(language):
    trivial, medium, hard = (
        statistics.mean(map(complexity, PROMPTS[level][language])) for level in ("trivial", "medium", "hard")
    )
    assert trivial + 0.2 < medium < hard - 0.3
    assert 0.3 <= medium < 0.7


# ---------------------------------------------------------------- formula


def test_the_documented_table_is_the_code():
    rows = re.findall(r"^(\w+) +([\d.]+) +([\d.]+) ", heuristic.__doc__, re.MULTILINE)
    documented = {name: (float(weight), float(half)) for name, weight, half in rows}
    others = [one for one in vars(heuristic).values() if isinstance(one, heuristic.Feature)]
    assert documented == {one.name: (one.weight, one.half) for one in (*heuristic.TEXT_FEATURES, *others)}


def test_half_earns_half_of_the_weight():
    feature = heuristic.Feature("x", 0.8, 3.0)
    assert feature.points(0) == 0
    assert feature.points(3.0) == pytest.approx(0.4)
    assert feature.points(10**9) == pytest.approx(0.8)


def test_complexity_is_the_documented_function_of_the_points():
    found = estimate("Prove it step by step in Python, without recursion.\n1. first\n2. second " + "word " * 400)
    points = sum(float(number) for number in re.findall(r"\d\.\d\d", found.reason))
    assert found.complexity == pytest.approx(1 - 2.718281828**-points, abs=0.01)


def test_the_reason_names_the_features_largest_first():
    found = estimate("Prove that x^2 = 4 has two solutions. It must not exceed ten lines.")
    assert re.sub(r" \d\.\d\d", "", found.reason) == "instructions, constraints, mathematics, code, length"
    points = [float(number) for number in re.findall(r"\d\.\d\d", found.reason)]
    assert points == sorted(points, reverse=True)
    assert found.source == "heuristic"


def test_nothing_found_is_said():
    assert estimate("hi").reason == "nothing that tells of difficulty"


def test_reason_holds_no_prompt():
    assert "sentinel" not in estimate("Prove the sentinel theorem with sentinel code ```sentinel```").reason


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("STEP-BY-STEP, please", "instructions"),
        ("Explain: why?", "instructions"),
        ("¿Analiza esto?", "instructions"),
        ("“Beweise” das", "instructions"),
        ("« démontrez »", "instructions"),
        ("ANALYSEZ EN DÉTAIL", "instructions"),
        ("Докажи", "instructions"),
        ("подробно", "instructions"),
        ("用Python证明", "instructions"),
        ("用Python写", "code"),
        ("```\nx\n```", "code"),
        ("f(x) { return; }", "code"),
        ("∀ε ∃δ", "mathematics"),
        ("\\int_0^1", "mathematics"),
        ("3² × 4", "mathematics"),
        ("a\n1. b\n2) c\n - d\n* e", "constraints"),
        ("at most three", "constraints"),
    ],
)
def test_what_is_found(text, feature):
    assert f"{feature} " in estimate(text).reason


@pytest.mark.parametrize("text", ["that most people like", "at the most", "stepbystep", "proved provenance", "inside"])
def test_parts_of_words_and_of_phrases_are_not_found(text):
    assert heuristic.counts_in(text) == [0.0] * 5


def test_every_word_of_the_vocabulary_is_found_with_its_strength():
    for table in (vocabulary.LATIN, vocabulary.SPACED, vocabulary.UNSPACED):
        for entry, feature, strength in vocabulary._entries(table):
            found = heuristic.counts_in(f"x {entry.replace('_', ' ')} x")[feature]
            assert found >= strength - 1e-9, entry


@pytest.mark.parametrize(
    ("text", "count"), [("a?", 0), ("a? b?", 1), ("甲？乙？丙？", 2), ("ا؟ ب؟", 1), ("é? è? à?", 2)]
)
def test_questions_beyond_the_first_count(text, count):
    assert heuristic.counts_in(text)[4] == count


def test_words_count_once():
    assert heuristic.counts_in("prove prove prove") == heuristic.counts_in("prove")


# ---------------------------------------------------------------- conversation


def test_earlier_messages_count_and_the_last_counts_more():
    hard, easy = PROMPTS["hard"]["en"][0], "Please go on."
    alone, first, last = (
        complexity(prompt)
        for prompt in (
            easy,
            [
                {"role": "user", "content": hard},
                {"role": "assistant", "content": "ok"},
                {"role": "user", "content": easy},
            ],
            [
                {"role": "user", "content": easy},
                {"role": "assistant", "content": "ok"},
                {"role": "user", "content": hard},
            ],
        )
    )
    assert alone + 0.2 < first < last
    assert first < 0.7 <= last


def test_the_last_user_message_is_meant_whatever_follows_it():
    user = {"role": "user", "content": PROMPTS["hard"]["en"][0]}
    assert complexity([user, {"role": "tool", "content": "42"}]) >= 0.7


def test_without_a_user_message_the_last_is_meant():
    assert (
        complexity([{"role": "system", "content": "hi"}, {"role": "system", "content": "Prove it step by step."}]) > 0.7
    )


def test_depth_shows_in_the_reason():
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}] * 20
    assert "depth 0." in estimate([*turns, {"role": "user", "content": "hi"}]).reason


def test_parts_are_read():
    parts = [{"type": "text", "text": "Prove it"}, {"type": "image_url"}, {"type": "text", "text": "step by step."}]
    found = estimate([{"role": "user", "content": parts}])
    assert found.complexity == pytest.approx(complexity("Prove it\nstep by step."), abs=0.05)
    assert found.input_tokens > 765


# ---------------------------------------------------------------- parameters and forecast


def test_tools_and_format_count():
    plain = complexity("hi")
    one, many = complexity("hi", tools=[{}]), complexity("hi", tools=[{}] * 20)
    loose, strict = (
        complexity("hi", response_format={"type": "json_object"}),
        complexity("hi", response_format={"type": "json_schema"}),
    )
    assert plain < one < many < 0.3
    assert plain < loose < strict < 0.3
    assert complexity("hi", response_format="junk") == plain
    assert "tools 0." in estimate("hi", tools=[{}] * 5).reason


def test_the_token_forecast():
    found = estimate("a" * 400, tools=[{}], max_tokens=50)
    assert found.input_tokens == 104 + TOOL_TOKENS
    assert found.output_tokens == 50
    assert estimate("hi").output_tokens is None


def test_constant_gives_its_own(ask):
    found = ConstantEstimator(complexity=1).asyncrouter_estimate(ask("a" * 400, max_tokens=9))
    assert (found.complexity, found.input_tokens, found.output_tokens, found.source) == (1, 104, 9, "constant")
    assert ConstantEstimator().asyncrouter_estimate(ask("hi")).complexity == 0.5


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "high", True])
def test_constant_refuses_what_is_no_complexity(value):
    with pytest.raises(ValueError, match=r"^complexity: expected a number from 0 to 1, not "):
        ConstantEstimator(complexity=value)


# ---------------------------------------------------------------- properties


@given(text=ANY_TEXT, indicator=st.sampled_from(INDICATORS), more=st.sampled_from(INDICATORS))
def test_an_indicator_more_never_lowers(text, indicator, more):
    once = f"{text} {indicator}"
    assert complexity(text) <= complexity(once) <= complexity(f"{once} {more}")


@given(text=ANY_TEXT, earlier=ANY_TEXT, role=st.sampled_from(["system", "user", "assistant", "tool"]))
def test_a_message_more_never_lowers(text, earlier, role):
    last = {"role": "user", "content": text}
    assert complexity([{"role": role, "content": earlier}, last]) >= complexity([last])


KEYS = st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(
    messages=st.lists(JSON, max_size=4),
    params=st.dictionaries(st.sampled_from(["tools", "functions", "response_format", "max_tokens"]), JSON),
)
def test_odd_messages_never_raise(messages, params):
    found = ESTIMATOR.asyncrouter_estimate(Request(messages=messages, params=params))
    assert 0.0 <= found.complexity <= 1.0
    assert found.input_tokens >= 0
    json.dumps(found.reason)


# ---------------------------------------------------------------- size

HUGE = {
    "letters": "a" * 10**6,
    "questions": "?" * 10**6,
    "han": "证明" * (10**6 // 2),
    "cyrillic": "докажи " * (10**6 // 7),
    "emoji": "😀" * 10**6,
    "newlines": "\n" * 10**6,
    "list": "\n       1" * (10**6 // 9),
    "backticks": "`" * 10**6,
    "words": "a b " * (10**6 // 4),
    "surrogates": "\ud800" * 10**6,
}


@pytest.mark.parametrize("name", sorted(HUGE))
@pytest.mark.parametrize("place", ["last", "earlier"])
def test_a_million_characters_take_less_than_50_ms_of_cpu(name, place):
    messages = [{"role": "user", "content": HUGE[name]}]
    if place == "earlier":
        messages.append({"role": "user", "content": "hi"})
    request = Request(messages=messages)
    fastest = float("inf")
    for _ in range(3):
        started = time.thread_time()
        found = ESTIMATOR.asyncrouter_estimate(request)
        fastest = min(fastest, time.thread_time() - started)
    assert fastest < 0.05
    assert found.input_tokens >= len(HUGE[name]) / 4


def test_a_long_text_is_searched_at_both_ends_and_measured_whole():
    filler = "lorem ipsum " * 10_000
    head, tail, middle = (
        estimate(text) for text in (f"Prove it. {filler}", f"{filler} Prove it.", f"{filler} Prove it. {filler}")
    )
    assert "instructions" in head.reason
    assert "instructions" in tail.reason
    assert "instructions" not in middle.reason
    assert middle.input_tokens > 1.9 * head.input_tokens
