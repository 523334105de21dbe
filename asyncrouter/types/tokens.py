"""Token counts without a tokenizer: an estimate from characters, good enough to compare costs and windows.

A text of *n* characters and *b* UTF-8 bytes counts ``n / 4 + (b - n) * 5 / 24`` tokens.  The second term is the script:
the more bytes a character takes, the fewer characters a token holds in the byte-pair vocabularies of today.

====================  =========  =================
script                bytes      characters/token
====================  =========  =================
ASCII                 1          4
Cyrillic, Arabic      2          2.2
Devanagari, CJK       3          1.5
emoji                 4          1.1
====================  =========  =================

Mixed text falls in between, as its blanks and digits are ASCII.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from asyncrouter.types.request import Request

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_EXTRA_BYTE = 5 / 24
"""Chosen so that CJK, at three bytes a character, comes to 1.5 characters a token."""
MESSAGE_TOKENS = 4
"""Role and delimiters of one message in the chat formats of today."""
IMAGE_TOKENS = 765
"""A 1024 x 1024 picture in four tiles: 85 + 4 * 170 tokens."""
TOOL_TOKENS = 100
"""A tool's name, description and a few parameters, typically 60 to 200 tokens."""


def text_tokens(text: str) -> float:
    """Estimate the tokens of *text*; constant time for ASCII, else linear in its length."""
    length = len(text)
    if text.isascii():
        return length / CHARACTERS_PER_TOKEN
    extra_bytes = len(text.encode("utf-8", "surrogatepass")) - length
    return length / CHARACTERS_PER_TOKEN + extra_bytes * TOKENS_PER_EXTRA_BYTE


def estimate_tokens(messages: Iterable[Any]) -> int:
    """Estimate the tokens of *messages*: texts, tool calls, pictures, and the frame around each message.

    Never raises: what is no message, and parts of unknown kinds, count nothing.
    """
    total = 0.0
    for message in messages:
        if type(message) is not dict and not isinstance(message, Mapping):
            continue
        total += MESSAGE_TOKENS
        content = message.get("content")
        if isinstance(content, str):
            total += text_tokens(content)
        elif isinstance(content, (list, tuple)):
            total += sum(map(_part_tokens, content))
        calls = message.get("tool_calls")
        if calls is not None and isinstance(calls, (list, tuple)):
            total += sum(map(_call_tokens, calls))
    return math.ceil(total)


def message_tokens(request: Request) -> int:
    """Estimate the tokens of the messages of *request*; they are counted once, whoever asks."""
    tokens = request.message_tokens
    if tokens is None:
        tokens = estimate_tokens(request.messages)
        object.__setattr__(request, "message_tokens", tokens)
    return tokens


def input_tokens(request: Request) -> int:
    """Estimate the input tokens of *request*: its messages and the tools that it offers."""
    return message_tokens(request) + (TOOL_TOKENS * tool_count(request) if request.params else 0)


def tool_count(request: Request) -> int:
    """Return how many tools (or functions, in the older form) *request* offers."""
    if not request.params:
        return 0
    tools = request.params.get("tools") or request.params.get("functions")
    return len(tools) if isinstance(tools, (list, tuple)) else 0


def requested_output_tokens(request: Request) -> int | None:
    """Return the caller's own bound on the answer's tokens, ``None`` when there is none."""
    params = request.params
    if not params:
        return None
    for name in ("max_completion_tokens", "max_tokens"):
        value = params.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def has_image(content: object) -> bool:
    """Whether a message's content holds a picture."""
    return isinstance(content, (list, tuple)) and any(_is_image(part) for part in content)


def _part_tokens(part: object) -> float:
    text = part.get("text") if isinstance(part, Mapping) else part
    if isinstance(text, str):
        return text_tokens(text)
    return IMAGE_TOKENS if _is_image(part) else 0.0


def _call_tokens(call: object) -> float:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return 0.0
    fields = (function.get("name"), function.get("arguments"))
    return MESSAGE_TOKENS + sum(text_tokens(field) for field in fields if isinstance(field, str))


def _is_image(part: object) -> bool:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return isinstance(kind, str) and "image" in kind
