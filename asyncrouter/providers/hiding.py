"""What no message may show, struck out of the texts of upstreams: the keys, and whatever they quote of the prompt.

A quotation is a run of :data:`RUN` characters and more that stands in any text of the request's messages, as it is or
as JSON writes it; a shorter prompt counts as a whole, between word boundaries.  All else is passed on verbatim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.types.request import Message
from asyncrouter.types.secrets import SHORTEST_REDACTED, redact

QUOTED = "[prompt]"
RUN = 16
"""Characters: shorter runs are words that any prompt and any message may have in common."""
_BLOCK = RUN // 2
_SEARCHES = 200
"""More than any message needs, in which most is either no quotation or one long one."""
_NAMES = frozenset({"role", "type", "id", "tool_call_id", "name"})
"""Fields of a message that hold names and no text; upstreams name them for good reason."""
_TEXTS = frozenset({"content", "text"})


@attrs.frozen
class Hidden:
    """The *keys* that an upstream may echo, and the *messages* that it was sent."""

    keys: tuple[str, ...] = attrs.field(default=(), repr=False)
    messages: Sequence[Message] = attrs.field(default=(), repr=False)

    def struck_out_of(self, text: str, limit: int) -> str:
        """Return *text* without them; what goes beyond *limit* characters may be left off."""
        text = redact(text, *self.keys)
        if not text or not self.messages:
            return text
        texts = list(_texts_in(self.messages))
        short = {one.strip() for key, one in texts if key in _TEXTS and len(one) < RUN}
        return _without(_without_runs(text, [one for _, one in texts], limit), short)


NOTHING = Hidden()


def _texts_in(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Yield every text in *messages* with the name of its field, but for those that hold names."""
    waiting: list[tuple[str, Any]] = [("content", messages)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, Mapping):
            waiting += [(name, item) for name, item in value.items() if name not in _NAMES]
        elif isinstance(value, (list, tuple)):
            waiting += [(key, item) for item in value]


def _without_runs(text: str, texts: Sequence[str], limit: int) -> str:
    """Return *text* with every run that stands in one of *texts* replaced.

    Any run covers a whole block of *text*, so most of it is passed over by looking for its blocks: with a prompt of a
    megabyte that takes 30 ms, and only after a failure.  What :data:`_SEARCHES` leave unexamined is not shown.
    """
    haystack = "\0".join(texts)
    if "\\" in text:
        haystack = "\0".join((haystack, json.dumps(haystack)[1:-1], json.dumps(haystack, ensure_ascii=False)[1:-1]))
    pieces: list[str] = []
    shown = start = at = 0  # characters shown so far; the end of what is shown; where the next run may begin
    searches, known = 0, -1
    while at + RUN <= len(text) and shown + at - start < limit and searches < _SEARCHES:
        block = -(-at // _BLOCK) * _BLOCK
        searches += 1
        if block != known and text[block : block + _BLOCK] not in haystack:
            at = block + 1
            continue
        known = block
        found = haystack.find(text[at : at + RUN])
        if found < 0:
            at += 1
            continue
        if not pieces or at > start:
            pieces += [text[start:at], QUOTED]
            shown += at - start + len(QUOTED)
        start = _end_of_run(text, at, haystack, found)
        at = start - RUN + 1  # a run in another text may begin within this one
    everything = at + RUN > len(text)
    return "".join([*pieces, text[start:] if everything else text[start:at] + "…"])


def _end_of_run(text: str, at: int, haystack: str, found: int) -> int:
    """Return where the run ends that begins at *at* in *text* and at *found* in *haystack*."""
    end, other = at + RUN, found + RUN
    while end < len(text) and other < len(haystack) and text[end] == haystack[other]:
        end += 1
        other += 1
    return end


def _without(text: str, short: set[str]) -> str:
    """Return *text* without the *short* texts, where they stand as words of their own."""
    words = sorted((one for one in short if len(one) >= SHORTEST_REDACTED), key=len, reverse=True)
    if not words:
        return text
    return re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", QUOTED, text)
