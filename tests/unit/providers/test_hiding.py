"""What an upstream quotes of the prompt is struck out of its errors; all else stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.providers.errors import one_line
from asyncrouter.providers.hiding import NOTHING, QUOTED, RUN, Hidden

LONG = "The quick brown fox jumps over the lazy dog, and nobody must know of it."


def struck(text, *contents, limit=500, **message):
    messages = [{"role": "user", "content": content, **message} for content in contents]
    return Hidden(messages=messages).struck_out_of(text, limit)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (LONG, QUOTED),
        (f"cannot read '{LONG}'", f"cannot read '{QUOTED}'"),
        (f"{LONG} and {LONG}", f"{QUOTED} and {QUOTED}"),
        (f"{LONG}{LONG}", QUOTED),
        ("begins with The quick brown fox", f"begins with {QUOTED}"),
        ("of 15: e quick brown f", "of 15: e quick brown f"),
        ("of 16: he quick brown f", f"of 16: {QUOTED}"),
        ("quick brown cat", "quick brown cat"),
        ("nothing of it here, fox or dog", "nothing of it here, fox or dog"),
        (LONG.upper(), LONG.upper()),
    ],
)
def test_runs_of_16_characters_are_struck_out(text, shown):
    assert struck(text, LONG) == shown


def test_runs_of_two_messages_that_meet_are_one():
    assert (
        struck("x The quick brown foxes are 5 and more y", "The quick brown fox", "foxes are 5 and more")
        == f"x {QUOTED} y"
    )


@pytest.mark.parametrize(
    ("prompt", "text", "shown"),
    [
        ("xxxxxxxxxxxxxxxxABCDEFGHIJKLMNOPyyyy", "ABCDEFGHIJKLMNOPxxxx", f"{QUOTED}xxxx"),
        ("ABCDEFGHIJKLMNOP1a2b3c", "ABCDEFGHIJKLMNOP123", f"{QUOTED}23"),
        ("ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOPQ", "ABCDEFGHIJKLMNOPQ!", f"{QUOTED}!"),
    ],
)
def test_a_run_ends_where_the_prompt_goes_on_otherwise(prompt, text, shown):
    assert struck(text, prompt) == shown


def test_what_follows_a_quotation_is_shown_up_to_the_limit():
    rest = " is wrong: " + "z" * 480
    assert struck(LONG + rest, LONG) == QUOTED + rest
    assert struck("z" * 9 + LONG[:RUN], LONG, limit=9) == "z" * 9 + "…", "what was not examined is not shown"


def test_an_image_and_tool_arguments_are_part_of_the_prompt():
    image = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg"
    parts = [{"type": "text", "text": LONG}, {"type": "image_url", "image_url": {"url": image}}]
    call = {
        "id": "call_0123456789abcdef",
        "function": {"name": "a_function_of_that_name", "arguments": '{"iban": "DE0012345678"}'},
    }
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    hidden = Hidden(messages=messages)
    assert hidden.struck_out_of(f"bad image {image}", 500) == f"bad image {QUOTED}"
    assert hidden.struck_out_of('bad {"iban": "DE0012345678"}!', 500) == f"bad {QUOTED}!"
    named = "call_0123456789abcdef of a_function_of_that_name has no answer"
    assert hidden.struck_out_of(named, 500) == named, "names are no prompt, and upstreams name them for good reason"


def test_a_prompt_that_an_upstream_has_written_as_json_is_found():
    prompt = 'first "line" of it\nsecond line, über alles\tand more of it'
    for text in (json.dumps({"input": prompt}), json.dumps({"input": prompt}, ensure_ascii=False)):
        assert struck(text, prompt) == '{"input": "[prompt]"}'


@pytest.mark.parametrize(
    ("prompt", "text", "shown"),
    [
        ("hello", "cannot read hello, nor othello", f"cannot read {QUOTED}, nor othello"),
        ("hello", "hello", QUOTED),
        (" 4711 ", "PIN 4711 is wrong", f"PIN {QUOTED} is wrong"),
        ("Hi", "Hi is too short to be told from any other text", "Hi is too short to be told from any other text"),
        ("a.c*", "abcc a.c* a", f"abcc {QUOTED} a"),
    ],
)
def test_a_short_prompt_counts_as_a_whole(prompt, text, shown):
    assert struck(text, prompt) == shown
    assert struck(text, [{"type": "text", "text": prompt}]) == shown


def test_keys_are_struck_out_of_quotations_too():
    hidden = Hidden(("sk-0123456789",), [{"role": "user", "content": "my key is sk-0123456789, keep it"}])
    assert "sk-0123" not in hidden.struck_out_of("you said: my key is sk-0123456789, keep it", 500)


def test_without_messages_nothing_is_struck_out():
    assert NOTHING.struck_out_of(LONG, 10) == LONG


def test_nothing_of_it_is_shown():
    assert repr(Hidden(("key",), [{"content": LONG}])) == "Hidden()"


@pytest.mark.parametrize("before", [0, 470, 480, 490, 499, 500, 600])
def test_a_quotation_at_the_end_of_what_is_shown_is_not_left_in_half(before):
    line = one_line("x" * before + LONG, Hidden(messages=[{"role": "user", "content": LONG}]))
    assert len(line) <= 500
    assert not any(LONG[i : i + 4] in line for i in range(len(LONG) - 4))
    assert line.startswith("x" * min(before, 499))


def test_what_a_long_quotation_hides_makes_room_for_nothing_unexamined():
    prompt = "".join(f"{number} is a number, " for number in range(5000))
    line = one_line(prompt[:3000] + "the end", Hidden(messages=[{"role": "user", "content": prompt}]))
    assert line in {QUOTED + "…", f"{QUOTED}the end"}


LETTERS = st.text("ab ", max_size=60)


@given(prompts=st.lists(LETTERS, min_size=1, max_size=3), pieces=st.lists(LETTERS, max_size=4), data=st.data())
def test_exactly_what_stands_in_a_prompt_is_struck_out(prompts, pieces, data):
    """Held against the definition: whatever any window of 16 characters that a prompt holds covers, and no more."""
    quoted = []
    for _ in range(data.draw(st.integers(0, 3))):
        prompt = data.draw(st.sampled_from(prompts))
        start = data.draw(st.integers(0, len(prompt)))
        quoted.append(prompt[start : data.draw(st.integers(start, len(prompt)))])
    text = "".join(data.draw(st.permutations([*pieces, *quoted])))
    covered = [False] * len(text)
    for at in range(len(text) - RUN + 1):
        if any(text[at : at + RUN] in prompt for prompt in prompts):
            covered[at : at + RUN] = [True] * RUN
    expected = ""
    for at, sign in enumerate(text):
        if not covered[at]:
            expected += sign
        elif at == 0 or not covered[at - 1]:
            expected += QUOTED
    hidden = Hidden(messages=[{"role": "user", "input": prompt} for prompt in prompts])
    assert hidden.struck_out_of(text, 10_000) == expected


@given(prompt=st.text(min_size=RUN, max_size=80), around=st.text(max_size=600), at=st.integers(0, 600))
def test_no_prompt_is_shown_whatever_stands_around_it_and_wherever_it_is_cut(prompt, around, at):
    line = one_line(around[:at] + prompt + around[at:], Hidden(messages=[{"content": prompt}]))
    assert len(line) <= 500
    for start in range(len(prompt) - RUN + 1):
        if prompt[start : start + RUN].isprintable() and prompt[start : start + RUN] not in around:
            assert prompt[start : start + RUN] not in line or "[prompt]" in prompt


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("word " * 200_000, "an error of another kind " * 2000),
        ("word " * 200_000, "word " * 13_000),
        ("a" * 1_000_000, "a" * 7 + "b" + "a" * 60_000),
        ("a" * 1_000_000, ("a" * 15 + "b") * 4000),
        ("".join(map(chr, range(0x4E00, 0x9000))) * 60, "".join(map(chr, range(0x9000, 0x4E00, -1)))),
    ],
)
def test_a_prompt_of_a_megabyte_is_looked_through_a_bounded_number_of_times(prompt, text):
    """Every position held against every position would take minutes."""
    line = one_line(text, Hidden(messages=[{"role": "user", "content": prompt}]))
    assert not any(line[at : at + RUN] in prompt for at in range(len(line) - RUN + 1))


def test_what_was_not_looked_for_is_not_shown():
    text = ("a" * 15 + "b") * 15
    assert struck(text, "a" * 1000) == text
    assert len(struck(text, "a" * 1000, limit=10_000)) == len(text)
    longer = ("a" * 15 + "b") * 80
    shown = struck(longer, "a" * 1000, limit=10_000)
    assert shown.endswith("…")
    assert len(shown) < len(longer)
    assert longer.startswith(shown[:-1])
