"""What a prompt looks like: lengths, shares of kinds of characters, and counts of marks of tasks.

Of a long text the beginning and the end are read, :data:`SAMPLE` characters of each, so the time is bounded.  Lengths
and counts enter as ``log(1 + count)``: the step from one to two weighs more than that from ten to eleven.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncrouter.types.request import place_asked, text_of

Traits = npt.NDArray[np.float32]

SAMPLE = 8192
MARKS = (
    "prove", "python", "function", "def ", "assert", "integral", "which of the following", "return", "equation",
    "how many", "how much", "who", "when", "where", "what", "context", "\n", "$", "\\frac", "(a)", "a.", "a)",
    "choices",
    "answer", "question", "output", "input", "code", "final", "let", "%", "following", "=", "?", '"', "'",
)  # fmt: skip
"""Of mathematics, code, questions, and answers to choose from; counted in small letters."""
KINDS = (str.isdigit, str.isupper, str.isalnum, str.isspace)
ASCII_KINDS = tuple("".join(filter(kind, map(chr, range(128)))).encode() for kind in KINDS)
SHAPES = 9
COUNT = SHAPES + len(MARKS)


def prompt_of(messages: Sequence[Any]) -> str:
    """Return the text of the last message of the user, or of the last message when there is none."""
    return text_of(messages[place_asked(messages)]) if messages else ""


def sampled(prompt: str) -> str:
    """Return what is read of *prompt*."""
    return prompt if len(prompt) <= 2 * SAMPLE else f"{prompt[:SAMPLE]}\n{prompt[-SAMPLE:]}"


def traits(prompt: str) -> Traits:
    """Return the traits of *prompt*, shape (COUNT,)."""
    text = sampled(prompt)
    small, words = text.lower(), text.split()
    lengths = list(map(len, words)) or [0]
    characters, count = len(text) + 1, len(words)
    digits, capitals, letters, spaces = _kinds(text)
    values = [
        log1p(len(prompt)),
        log1p(count),
        digits / characters,
        capitals / characters,
        (len(text) - letters - spaces) / characters,
        50 * text.count("\n") / characters,
        sum(lengths) / len(lengths),
        max(lengths),
        len(set(small.split())) / max(count, 1),
    ]
    values += [log1p(small.count(mark)) for mark in MARKS]
    return np.array(values, dtype=np.float32)


def _kinds(text: str) -> list[int]:
    """Return how many characters of *text* are digits, capitals, letters or digits, and spaces."""
    if text.isascii():  # a call for each character takes twenty times as long
        plain = text.encode("ascii")
        return [len(plain) - len(plain.translate(None, kind)) for kind in ASCII_KINDS]
    return [sum(map(kind, text)) for kind in KINDS]
