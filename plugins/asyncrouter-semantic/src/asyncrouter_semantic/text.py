"""What a prompt is made of: its words, the question in it, and the answers it offers to choose from.

Of a long text the beginning and the end are read, :data:`SAMPLE` characters of each: the task stands at the beginning,
its present state at the end.  So the time is bounded whatever is sent; lengths are always those of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.types.request import place_asked, text_of

SAMPLE = 8192
"""Characters read at each end of the text."""
HISTORY_SAMPLE = 2048
"""Characters read at each end of all messages before the last one of the user."""
LEAST_OPTIONS = 2

WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_+")
OPTION = re.compile(r"\n\(?([A-Z])[.):] ?")
SENTENCE_END = re.compile(r"[.!?:]\s+(?=\S)")


@attrs.frozen
class Text:
    """A prompt taken apart.  ``whole`` is what is read of it, ``length`` its true length in characters.

    ``words`` are the lower-case words, numbers and signs of ``whole``; ``asked`` is the place in ``words`` where the
    question ends and the options begin, ``last`` the place of the question's last sentence.
    """

    whole: str = attrs.field(repr=False)
    length: int
    words: list[str] = attrs.field(repr=False)
    asked: int
    last: int
    question: str = attrs.field(repr=False)
    options: list[str] = attrs.field(repr=False)


def parse(whole: str, length: int | None = None) -> Text:
    """Take *whole* apart; *length* is that of the text it was sampled from."""
    question, options = _parted(whole)
    end = 0
    for match in SENTENCE_END.finditer(question.rstrip()):
        end = match.end()
    words = WORD.findall(question[:end].lower())
    last = len(words)
    words += WORD.findall(question[end:].lower())
    asked = len(words)
    if options:
        words += WORD.findall(whole[len(question) :].lower())
    return Text(whole, len(whole) if length is None else length, words, asked, last, question, options)


def sampled(text: str, size: int = SAMPLE) -> str:
    """Return *text*, or its beginning and end when it is longer than twice *size*."""
    return text if len(text) <= 2 * size else f"{text[:size]}\n{text[-size:]}"


def conversation(messages: Sequence[Any]) -> tuple[Text, Text | None]:
    """Return the last user message taken apart (the last message when there is none), and the whole conversation.

    The latter is ``None`` where no other message has any text.
    """
    texts = [text_of(message) if isinstance(message, Mapping) else "" for message in messages]
    if not texts:
        return parse(""), None
    last = texts.pop(place_asked(messages))
    others = "\n".join(text for text in texts if text)
    shown = sampled(last)
    if not others:
        return parse(shown, len(last)), None
    whole = f"{sampled(others, HISTORY_SAMPLE)}\n{shown}"
    return parse(shown, len(last)), parse(whole, len(others) + len(last))


def _parted(whole: str) -> tuple[str, list[str]]:
    """Return the question and the options, which begin their lines with A, B, C and so on."""
    marks: list[re.Match[str]] = []
    for match in OPTION.finditer(whole):
        if ord(match[1]) - ord("A") == len(marks):
            marks.append(match)
    if len(marks) < LEAST_OPTIONS:
        return whole, []
    ends = [mark.start() for mark in marks[1:]]
    last = whole.find("\n", marks[-1].end())
    ends.append(len(whole) if last < 0 else last)
    options = [whole[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    return whole[: marks[0].start()], options
