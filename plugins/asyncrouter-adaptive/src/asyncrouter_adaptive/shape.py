"""The shape of a prompt: cheap numbers from its beginning that tell kinds of prompts apart, without a model."""

from __future__ import annotations

import math
import re

from asyncrouter.types.request import Request, text_of

SAMPLE = 250
"""Characters that are looked at: a megabyte costs no more than a page."""
OPENERS = (("what",), ("which",), ("who", "when", "where"), ("how",), ("write",), ("if", "let", "given", "find"),
           ("a", "the", "in", "is", "why"))  # fmt: skip
"""Words that prompts begin with, alike ones together."""
_CODE = frozenset(
    ("def", "function", "class", "return", "assert", "import", "list", "string", "array", "tuple", "dictionary", "code",
     "python", "java", "sql")
)  # fmt: skip
_MATHEMATICS = frozenset(
    ("sum", "integer", "integers", "polynomial", "equation", "triangle", "probability", "area", "prove", "solve",
     "compute", "value", "number", "real")
)  # fmt: skip
_DIGITS, _CAPITALS, _SIGNS = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", rb"\$^=+<>"
_INITIALS = bytes.maketrans(_CAPITALS + b"?!", b"A" * len(_CAPITALS) + b"..")
"""Makes every capital an A and every end of a sentence a stop."""
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
    letters = sample.encode("ascii", "ignore")
    different = set(words)
    end = sample.rstrip()[-1:]
    first = _EDGE.sub("", words[0]) if words else ""
    return [
        math.log1p(len(text)) / 3,
        min(sample.count("\n"), 20) / 5,
        _share(letters, _DIGITS) * 15,
        _share(letters, _CAPITALS) * 10,
        (sample.count(",") + sample.count(";")) / count * 10,
        float(end == "?"),
        float(end == "."),
        float(sample[:1].islower()),
        len(_CODE & different) / count * 15,
        (len(_MATHEMATICS & different) / count + _share(letters, _SIGNS)) * 8,
        length / count / 3,
        sample.count("$") / count * 20,
        sample.count(". ") / count * 40,
        len(different) / count * 3,
        _names(letters) / count * 6,
        (sample.count("(") + sample.count("[")) / count * 10,
        float(not sample.isascii()),
        *(1.5 if first in openers else 0.0 for openers in OPENERS),
    ]


def _share(letters: bytes, wanted: bytes) -> float:
    """Return the share of *letters* that are among *wanted*."""
    return (len(letters) - len(letters.translate(None, wanted))) / len(letters) if letters else 0.0


def _names(letters: bytes) -> int:
    """Return how many words within sentences begin with a capital."""
    alike = letters.translate(_INITIALS)
    return alike.count(b" A") - alike.count(b". A")
