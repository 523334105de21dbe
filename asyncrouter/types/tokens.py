"""Tokens estimated from characters, for when nobody has counted them."""

from __future__ import annotations

from collections.abc import Iterable

from asyncrouter.types.request import Message, text_of

BYTES_PER_TOKEN = 4.0
"""UTF-8 bytes: the usual rule of four characters for English; scripts of three bytes a character come to 1.3."""
TOKENS_PER_MESSAGE = 4
"""Role and separators of one message in OpenAI's chat format."""


def estimate_text_tokens(text: str) -> int:
    """Return about how many tokens *text* is."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return round(size / BYTES_PER_TOKEN)


def estimate_tokens(messages: Iterable[Message]) -> int:
    """Return about how many tokens *messages* are, each with its own overhead."""
    return sum(TOKENS_PER_MESSAGE + estimate_text_tokens(text_of(message)) for message in messages)
