"""Traits: what can be counted in a prompt, by hand-chosen rules; each belongs to a group that explains it.

Counts enter as ``log(1 + count)``, so that the step from one to two weighs more than that from ten to eleven.
"""

from __future__ import annotations

from collections import Counter
from math import log1p

import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.text import Text

Vector = npt.NDArray[np.float32]

SIGNS = "$%\\=(\"',?^+*/-<{;\n"
KEYWORDS = (
    "if", "each", "percent", "total", "more", "than", "twice", "half", "per", "every", "after", "left", "times",
    "then", "average", "probability", "function", "according", "best", "most", "following", "which", "why", "how",
    "many", "much", "who", "what", "when", "where", "not", "except", "least", "never", "false", "incorrect", "true",
    "likely", "statement", "because", "find", "write", "calculate", "determine", "explain", "prove", "he", "she",
    "you", "i", "def", "assert", "cost", "day", "first", "both", "only", "answer", "none", "above",
)  # fmt: skip
LONG = 8
"""Letters beyond which a word is long."""
NUMERIC = frozenset("0123456789.-$+")

GROUPS = {
    "length": ("characters", "question characters", "words"),
    "vocabulary": ("letters a word", "long words", "distinct words", "capitals", "other scripts"),
    "numbers": ("numbers", "share of numbers", "longest number", "digits"),
    "answer options": (
        "options", "option length", "longest option", "spread of options", "numeric options", "options like question",
        "shared option words",
    ),
    "form": (
        "sentences", "words a sentence", "last sentence", "ends with question", "ends with stop", "ends open", "code",
    ),
    "signs": tuple(f"sign {sign!r}" for sign in SIGNS),
    "keywords": tuple(f"word {word!r}" for word in KEYWORDS),
}  # fmt: skip
NAMES = tuple(name for names in GROUPS.values() for name in names)
GROUP_NAMES = tuple(GROUPS)
GROUP_OF = np.array([place for place, names in enumerate(GROUPS.values()) for _ in names])


def traits(text: Text) -> Vector:
    """Return the traits of *text*, shape (len(NAMES),)."""
    words, whole, question = text.words, text.whole, text.question
    counts = Counter(words)
    numbers = [word for word in words if word[0].isdecimal()]
    letters = [len(word) for word in words if word[0].isalpha()]
    spelled, total = len(letters) or 1, len(words) or 1
    sentences = counts["."] + counts["!"] + counts["?"]
    tail = question.rstrip()[-1:]
    values = [
        log1p(text.length),
        log1p(len(question)),
        log1p(len(words)),
        sum(letters) / spelled,
        sum([length > LONG for length in letters]) / spelled,
        len(counts) / total,
        sum(map(str.isupper, whole)) / (len(whole) or 1),
        0.0 if whole.isascii() else len(whole.encode("utf-8", "surrogatepass")) / len(whole) - 1.0,
        log1p(len(numbers)),
        len(numbers) / total,
        min(max(map(len, numbers), default=0), 12),
        log1p(sum(map(len, numbers))),
        *_option_traits(text),
        log1p(sentences),
        log1p(text.asked / (sentences + 1)),
        log1p(text.asked - text.last),
        tail == "?",
        tail == ".",
        tail in {":", ",", "_"},
        "```" in whole or "def " in whole or "[PYTHON]" in whole,
    ]
    values += [log1p(whole.count(sign)) for sign in SIGNS]
    values += [log1p(counts[word]) for word in KEYWORDS]
    return np.array(values, dtype=np.float32)


def _option_traits(text: Text) -> tuple[float, ...]:
    options = text.options
    if not options:
        return (0.0,) * 7
    lengths = [len(option) for option in options]
    mean = sum(lengths) / len(lengths)
    spread = (sum([(length - mean) ** 2 for length in lengths]) / len(lengths)) ** 0.5
    asked = set(text.words[: text.asked])
    offered = [option.lower().split() for option in options]
    said = sum(map(len, offered)) or 1
    return (
        float(len(options)),
        log1p(mean),
        log1p(max(lengths)),
        log1p(spread),
        sum([option[:1] in NUMERIC for option in options]) / len(options),
        sum([word in asked for option in offered for word in option]) / said,
        1.0 - len({word for option in offered for word in option}) / said,
    )
