"""The built-in estimator: what the text itself shows, without a model.

Each feature *i* is a count *x* that earns points, saturating: ``weight * x / (x + half)`` (*half* is the count that
earns half of the weight).  The points of all features add up, and ``complexity = 1 - exp(-points)``: no points is 0,
0.36 points are 0.3, 0.7 points 0.5, 1.2 points 0.7, 2.3 points 0.9.  More of any feature never lowers it.

============  ======  ====  ===============================================================================
feature       weight  half  what is counted, and why so
============  ======  ====  ===============================================================================
instructions  2.20    2.50  strengths of the task words found ("prove" 3, "step by step" 1.5, "explain" 0.7):
                            what is asked for says most, so it can reach 0.7 alone
code          0.80    3.00  words of programming, 1.5 a code fence, 0.1 a symbol: code is harder than prose,
                            yet much of it is routine
mathematics   0.90    2.50  words and symbols of mathematics, 0.3 an ASCII symbol, 1 a backslash command
constraints   0.90    3.00  "must", "at most", "exactly", "without", and 0.5 a list item: each one is one more
                            way to fail
length        0.90    900   estimated tokens of the last user message's text, and a quarter of all others
questions     0.40    3.00  question marks beyond the first
depth         0.25    12.0  other messages: long conversations carry more to keep in mind
tools         0.30    5.00  tools offered: choosing among them is work, though they are often just there
format        0.25    1.00  2 for a JSON schema, 1 for another ``response_format``
history       0.60    1.00  the points that all other messages earn by themselves (instructions to questions)
============  ======  ====  ===============================================================================

The last user message is searched whole up to 16,384 characters, and in its first and last 8,192 beyond that; of the
other messages together, the first and last 2,048 characters: the task stands at the beginning, its present state at
the end.  Lengths are always those of the whole.  So the time is bounded, whatever is sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.estimators import vocabulary as words
from asyncrouter.types import tokens
from asyncrouter.types.decisions import Contribution, Estimate, new_estimate
from asyncrouter.types.request import Request, place_asked, text_of

LAST_SAMPLE = 8192
"""Characters searched at each end of the last user message."""
HISTORY_SAMPLE = 2048
"""Characters searched at each end of all other messages."""


@attrs.frozen
class Feature:
    """What one feature may earn; see the table above."""

    name: str
    weight: float
    half: float

    def points(self, count: float) -> float:
        """Return the points that *count* earns."""
        return self.weight * count / (count + self.half)


TEXT_FEATURES = (
    Feature("instructions", 2.2, 2.5),
    Feature("code", 0.8, 3.0),
    Feature("mathematics", 0.9, 2.5),
    Feature("constraints", 0.9, 3.0),
    Feature("questions", 0.4, 3.0),
)
"""Counted by :func:`counts_in`, in its order."""
LENGTH = Feature("length", 0.9, 900.0)
DEPTH = Feature("depth", 0.25, 12.0)
TOOLS = Feature("tools", 0.3, 5.0)
FORMAT = Feature("format", 0.25, 1.0)
HISTORY = Feature("history", 0.6, 1.0)

PER_FENCE = 1.5
PER_CODE_SYMBOL = 0.1
PER_BACKSLASH = 1.0
PER_MATHEMATICAL_SYMBOL = 0.3
PER_LIST_ITEM = 0.5
OTHERS_LENGTH = 0.25
"""What a token outside the last user message counts for length."""


@attrs.frozen(kw_only=True, eq=False)
class HeuristicEstimator:
    """Complexity from the text itself: length, task words, code, mathematics, constraints, questions; no model."""

    @hookimpl(trylast=True)
    def asyncrouter_estimate(self, request: Request) -> Estimate:
        """Return the complexity with the features that made it, in points and largest first, and the token forecast."""
        last, others = _parted(request.messages)
        found = _text_contributions(_sampled(last, LAST_SAMPLE))
        total_tokens = tokens.message_tokens(request)
        last_tokens = tokens.text_tokens(last)
        length = last_tokens
        other_tokens = total_tokens - last_tokens - tokens.MESSAGE_TOKENS
        if other_tokens > 0.0:
            length += OTHERS_LENGTH * other_tokens
        found.append((LENGTH.points(length), "length"))
        if others:
            history = _sampled("\n".join(others), HISTORY_SAMPLE)
            found.append((HISTORY.points(sum(points for points, _ in _text_contributions(history))), "history"))
            found.append((DEPTH.points(len(others)), "depth"))
        output_tokens = None
        if request.params:
            output_tokens = tokens.requested_output_tokens(request)
            tool_count = tokens.tool_count(request)
            total_tokens += tokens.TOOL_TOKENS * tool_count
            if tool_count:
                found.append((TOOLS.points(tool_count), "tools"))
            if "response_format" in request.params:
                found.append((FORMAT.points(_format_count(request.params["response_format"])), "format"))
        points = 0.0
        for more, _ in found:
            points += more
        return new_estimate(
            complexity=1.0 - math.exp(-points),
            input_tokens=total_tokens,
            output_tokens=output_tokens,
            contributions=tuple(found),
            source="heuristic",
        )


def counts_in(text: str) -> list[float]:
    """Return how much of each of :data:`TEXT_FEATURES` there is in *text*; linear in its length."""
    counts = [0.0, 0.0, 0.0, 0.0]
    raw = text.encode("latin-1", "replace")
    plain = b" %b " % raw.translate(words.PLAIN)
    for word in words.LATIN_KEYS.intersection(plain.split()):
        feature, strength, phrases = words.LATIN_WORDS[word]
        counts[feature] += strength
        for phrase, feature, strength in phrases:
            if plain.find(phrase) >= 0:  # half the time of "in", which first takes it for a number
                counts[feature] += strength
    signs = raw.translate(None, words.NOT_SIGNS)
    questions, lines = signs.count(b"?"), signs.count(b"\n")
    if len(signs) > questions + lines:
        _count_symbols(signs, raw, counts)
    if lines:
        counts[words.CONSTRAINTS] += PER_LIST_ITEM * len(words.LIST_ITEM.findall(raw))
    if questions and not text.isascii():
        beyond_latin, questions = questions, text.count("?")
        if beyond_latin > questions:  # each character beyond Latin-1 has become one
            questions += sum(map(text.count, words.QUESTION_MARKS))
            _count_beyond_latin(text, counts)
    counts.append(questions - 1.0 if questions else 0.0)
    return counts


def _count_beyond_latin(text: str, counts: list[float]) -> None:
    stems = {word[: words.STEM] for word in text.split() if word >= words.FIRST_SPACED}
    for stem in words.STEM_KEYS & stems:
        feature, strength = words.STEMS[stem]
        counts[feature] += strength
    for sign in set(words.SIGN_PATTERN.findall(text)):
        feature, strength = words.SIGNS[sign]
        counts[feature] += strength


def _count_symbols(signs: bytes, raw: bytes, counts: list[float]) -> None:
    backslashes = signs.count(b"\\")
    mathematical = len(signs.translate(None, words.NOT_MATHEMATICAL)) - backslashes
    counts[words.CODE] += PER_CODE_SYMBOL * len(signs.translate(None, words.NOT_CODE))
    counts[words.CODE] += PER_FENCE * raw.count(b"```")
    counts[words.MATHEMATICS] += PER_BACKSLASH * backslashes + PER_MATHEMATICAL_SYMBOL * mathematical


def _text_contributions(text: str) -> list[Contribution]:
    return [
        (feature.points(count), feature.name)
        for feature, count in zip(TEXT_FEATURES, counts_in(text))  # noqa: B905 - to be strict takes longer than the rest
        if count
    ]


def _parted(messages: Sequence[Any]) -> tuple[str, list[str]]:
    """Return the text of the last user message (of the last message when there is none) and those of all others."""
    if len(messages) == 1:
        return _text(messages[0]), []
    texts = [_text(message) for message in messages]
    return (texts.pop(place_asked(messages)) if texts else ""), texts


def _text(message: Any) -> str:
    return text_of(message) if type(message) is dict or isinstance(message, Mapping) else ""


def _sampled(text: str, size: int) -> str:
    return text if len(text) <= 2 * size else f"{text[:size]} {text[-size:]}"


def _format_count(response_format: object) -> float:
    if not isinstance(response_format, Mapping):
        return 0.0
    return 2.0 if response_format.get("type") == "json_schema" else 1.0
