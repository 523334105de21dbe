"""A conversation's beginnings, as digests: what two requests have in common, without keeping a word of either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from asyncrouter.types.request import Message, Request
from asyncrouter.types.tokens import estimate_tokens

DIGEST_BYTES = 16
KEPT_AT_EACH_END = 8
"""Beginnings remembered of a request, the shortest and the longest ones: a system prompt that many share is among the
first, the whole request, which the next one of the conversation begins with, among the last."""
OPAQUE_KEYS = frozenset({"encrypted_content", "thought_signature"})
"""Fields that only who wrote them can read: encrypted reasoning (OpenAI), signatures of thoughts (Gemini)."""
OPAQUE_IN = {"thinking": "signature", "redacted_thinking": "data", "reasoning.encrypted": "data",
             "reasoning.text": "signature"}  # fmt: skip
"""The same by the type of their part: thinking blocks (Anthropic), reasoning details (OpenRouter)."""
DEEPEST = 8
"""Levels of lists and tables in which such parts are looked for."""


@attrs.frozen
class Prefix:
    """The beginning of a request up to one of its messages: its digest, and the tokens in it."""

    digest: bytes
    tokens: float


def prefixes_of(request: Request) -> tuple[Prefix, ...]:
    """Return the beginnings of *request*, one a message, shortest first.  Linear in its length.

    The names of the tools stand before the messages: providers cache them as a part of the prompt.
    """
    running = hashlib.blake2b(_tools(request).encode("utf-8", "replace"), digest_size=DIGEST_BYTES)
    tokens, found = 0.0, []
    for message in request.messages:
        text = _canonical(message).encode("utf-8", "replace")
        running.update(len(text).to_bytes(8) + text)
        tokens += estimate_tokens((message,))
        found.append(Prefix(running.copy().digest(), tokens))
    return tuple(found)


def kept(prefixes: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    """Return those of *prefixes* that are worth remembering."""
    if len(prefixes) <= 2 * KEPT_AT_EACH_END:
        return prefixes
    return prefixes[:KEPT_AT_EACH_END] + prefixes[-KEPT_AT_EACH_END:]


def digest_of(text: str) -> bytes:
    """Return the digest of *text*."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=DIGEST_BYTES).digest()


def opaque_parts(message: Any, depth: int = 0) -> Iterator[bytes]:
    """Yield the digest of each part of *message* that only who wrote it can read, in order."""
    if depth > DEEPEST:
        return
    if isinstance(message, Mapping):
        kind = message.get("type")
        named = OPAQUE_IN.get(kind) if isinstance(kind, str) else None
        for key, value in message.items():
            if isinstance(value, str):
                if value and (key in OPAQUE_KEYS or key == named):
                    yield digest_of(value)
            else:
                yield from opaque_parts(value, depth + 1)
    elif isinstance(message, (list, tuple)):
        for one in message:
            yield from opaque_parts(one, depth + 1)


def _canonical(message: Message) -> str:
    content = message.get("content")
    if len(message) == 2 and isinstance(content, str):  # noqa: PLR2004 - a role and a text, as most are
        return f"{message.get('role')}\0{content}"
    try:
        return json.dumps(message, sort_keys=True, default=_type_name)
    except (TypeError, ValueError):  # keys of several types, say: what cannot be written down is like nothing else
        return f"{id(message)}"


def _type_name(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else type(value).__name__


def _tools(request: Request) -> str:
    tools = request.params.get("tools") or ()
    functions = [one.get("function") for one in tools if isinstance(one, Mapping)] if isinstance(tools, list) else []
    return "\0".join(str(one.get("name")) for one in functions if isinstance(one, Mapping))
