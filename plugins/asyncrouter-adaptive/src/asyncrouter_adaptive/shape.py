"""The shape of a prompt: cheap numbers from its beginning that tell kinds of prompts apart, without a model."""

from __future__ import annotations

import math
import re

from asyncrouter.types.request import Request, text_of

SAMPLE = 400
"""Characters that are looked at: a megabyte costs no more than a page."""
OPENERS = ("what", "which", "who", "how", "when", "where", "why", "if", "write", "a", "the", "is", "find", "let", "in",
           "given")  # fmt: skip
_CODE = re.compile(
    r"\b(?:def|function|class|return|assert|import|list|string|array|tuple|dictionary|code|python|java|sql)\b"
)
_MATHEMATICS = re.compile(
    r"[\\$^=+<>]|\b(?:sum|integer|polynomial|equation|triangle|probability|area|prove|solve|compute|value|number|real)\b"
)
_DIGIT = re.compile(r"\d")
_CAPITAL = re.compile(r"[A-Z]")
_NAME = re.compile(r"(?<=[^\s.?!] )[A-Z]")
_EDGE = re.compile(r"\W")
SIZE = 17 + len(OPENERS)
"""How many numbers :func:`shape_of` returns."""


def last_text(request: Request) -> str:
    """Return the text of the last message that has one and is not the system's; "" without any."""
    for message in reversed(request.messages):
        if message.get("role") != "system" and (text := text_of(message)):
            return text
    return ""


def shape_of(text: str) -> list[float]:
    """Return :data:`SIZE` numbers, each of the order of 1: length, characters, words of code and mathematics, opening.

    The scales make every feature about as wide as the others over questions, programming tasks and mathematics.
    """
    sample = text[:SAMPLE]
    low = sample.lower()
    words = low.split()
    length, count = max(len(sample), 1), max(len(words), 1)
    end = sample.rstrip()[-1:]
    first = _EDGE.sub("", words[0]) if words else ""
    return [
        math.log1p(len(text)) / 3,
        min(sample.count("\n"), 20) / 5,
        len(_DIGIT.findall(sample)) / length * 15,
        len(_CAPITAL.findall(sample)) / length * 10,
        (sample.count(",") + sample.count(";")) / count * 10,
        float(end == "?"),
        float(end == "."),
        float(sample[:1].islower()),
        len(_CODE.findall(low)) / count * 15,
        len(_MATHEMATICS.findall(low)) / count * 8,
        length / count / 3,
        sample.count("$") / count * 20,
        sample.count(". ") / count * 40,
        len(set(words)) / count * 3,
        len(_NAME.findall(sample)) / count * 6,
        (sample.count("(") + sample.count("[")) / count * 10,
        float(not sample.isascii()),
        *(1.5 if first == opener else 0.0 for opener in OPENERS),
    ]
