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
SHAPES = 9
COUNT = SHAPES + len(MARKS)


def prompt_of(messages: Sequence[Any]) -> str:
    """Return the text of the last message of the user, or of the last message when there is none."""
    return text_of(messages[place_asked(messages)]) if messages else ""


def traits(prompt: str) -> Traits:
    """Return the traits of *prompt*, shape (COUNT,)."""
    text = prompt if len(prompt) <= 2 * SAMPLE else f"{prompt[:SAMPLE]}\n{prompt[-SAMPLE:]}"
    small, words = text.lower(), text.split()
    lengths = list(map(len, words)) or [0]
    characters, count = len(text) + 1, len(words)
    written = sum(map(str.isalnum, text)) + sum(map(str.isspace, text))
    values = [
        log1p(len(prompt)),
        log1p(count),
        sum(map(str.isdigit, text)) / characters,
        sum(map(str.isupper, text)) / characters,
        (len(text) - written) / characters,
        50 * text.count("\n") / characters,
        sum(lengths) / len(lengths),
        max(lengths),
        len(set(small.split())) / max(count, 1),
    ]
    values += [log1p(small.count(mark)) for mark in MARKS]
    return np.array(values, dtype=np.float32)
