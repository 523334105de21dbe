"""The shape of a prompt: which form it has, and cheap numbers, that tell kinds of prompts apart without a model."""

from __future__ import annotations

import math
import re

from asyncrouter.types.request import Request, text_of

FORMS = ("code", "programming", "notation", "options", "keywords", "reckoning", "long", "sentences", "names",
         "question", "statement")  # fmt: skip
"""What a prompt may be, the first that fits: it shows code, asks for a program, holds formulas, gives options to choose
from, is a bare line of search words, a tale with several numbers, a long text, several sentences, a question with a
name in it, another question, anything else.  Few and coarse ones: with finer ones less was learned on each of four
files of outcomes, with a mark for options beside the form of the question less on two and no more on the others."""
SAMPLE = 300
"""Characters that are looked at: a megabyte costs no more than a page."""
TAIL = 600
"""Characters at the end in which options are looked for; a tale that is longer is a long text."""
_SHOWN = ("```", "def ", "\n    ", "\n\t", ";\n", "{\n", "=>", "</")
_ASKED = frozenset(("write", "implement", "create", "develop", "given", "complete", "fix", "how"))
_ENDED_FORMULA = re.compile(r"\S\$(?!\d)")
"""A dollar sign that ends a formula: that of a price has a space before it."""
_OPTIONS = ("\nB.", "\nB)", "\n(B)")
_NUMBERS = re.compile(r"\d+")
_CODE = frozenset(
    ("def", "function", "class", "return", "assert", "import", "list", "string", "array", "tuple", "dictionary", "code",
     "python", "java", "sql", "program")
)  # fmt: skip
_MATHEMATICS = frozenset(
    ("sum", "integer", "integers", "polynomial", "equation", "triangle", "probability", "area", "prove", "solve",
     "compute", "value", "number", "real")
)  # fmt: skip
_DIGITS, _CAPITALS, _SIGNS = b"0123456789", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", rb"\$^=+<>"
_INITIALS = bytes.maketrans(_CAPITALS + b"?!", b"A" * len(_CAPITALS) + b"..")
"""Makes every capital an A and every end of a sentence a stop."""
_EDGE = re.compile(r"\W")
NUMBERS = 13
"""How many numbers :func:`shape_of` returns."""


def last_text(request: Request) -> str:
    """Return the text of the last message that has one and is not the system's; "" without any."""
    for message in reversed(request.messages):
        if message.get("role") != "system" and (text := text_of(message)):
            return text
    return ""


def shape_of(text: str) -> tuple[int, list[float]]:
    """Return the place of its form in :data:`FORMS`, and :data:`NUMBERS` numbers, each of the order of 1.

    The numbers: length, characters, words of code and mathematics.  Their scales make every one about as wide as the
    others over questions, programming tasks and mathematics.
    """
    sample = text[:SAMPLE].strip()
    words = sample.lower().split()
    length, count = max(len(sample), 1), max(len(words), 1)
    letters = sample.encode("ascii", "ignore")
    different = set(words)
    code, names = len(_CODE & different), _names(letters)
    first = _EDGE.sub("", words[0]) if words else ""
    form = _form_by_signs(text, sample, first, code) or _form_by_sentences(text, sample, names)
    return FORMS.index(form), [
        math.log1p(len(text)) / 3,
        min(sample.count("\n"), 20) / 5,
        _share(letters, _DIGITS) * 15,
        _share(letters, _CAPITALS) * 10,
        (sample.count(",") + sample.count(";")) / count * 10,
        code / count * 15,
        (len(_MATHEMATICS & different) / count + _share(letters, _SIGNS)) * 8,
        length / count / 3,
        sample.count(". ") / count * 40,
        len(different) / count * 3,
        names / count * 6,
        (sample.count("(") + sample.count("[")) / count * 10,
        float(not sample.isascii()),
    ]


def _form_by_signs(text: str, sample: str, first: str, code: int) -> str | None:
    """Return the form that single signs tell, of a text with that *first* word and so many words of *code*."""
    if any(sign in sample for sign in _SHOWN):
        return "code"
    if code and first in _ASKED:
        return "programming"
    if "\\" in sample or "^" in sample or ("$" in sample and _ENDED_FORMULA.search(sample)):
        return "notation"
    tail = text[-TAIL:]
    if any(sign in tail for sign in _OPTIONS):
        return "options"
    return "keywords" if sample[:1].islower() and not _ended(text) else None


def _form_by_sentences(text: str, sample: str, names: int) -> str:
    """Return the form of a text that no sign tells."""
    several = sample.count(". ") + sample.count("? ") + sample.count("! ") + _ended(text) > 1
    if several and len(text) < TAIL and len(_NUMBERS.findall(sample)) > 1:
        return "reckoning"
    if len(text) > SAMPLE:
        return "long"
    if several:
        return "sentences"
    if not sample.endswith("?"):
        return "statement"
    return "names" if names else "question"


def _ended(text: str) -> bool:
    """Whether *text* ends as a sentence does."""
    return text[-SAMPLE:].rstrip().endswith((".", "?", "!"))


def _share(letters: bytes, wanted: bytes) -> float:
    """Return the share of *letters* that are among *wanted*."""
    return (len(letters) - len(letters.translate(None, wanted))) / len(letters) if letters else 0.0


def _names(letters: bytes) -> int:
    """Return how many words within sentences begin with a capital."""
    alike = letters.translate(_INITIALS)
    return alike.count(b" A") - alike.count(b". A")
