"""What tests of streamed calls share: an answer in words, a cut, and how what came is read."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

from asyncrouter import StreamInterrupted

WORDS = ["The ", "answer ", "is ", "42."]
CUT = StreamInterrupted("cut")


def texts(chunks: Any) -> list[str]:
    """Return the chunks' texts, without those that have none."""
    return [chunk.text for chunk in chunks if chunk.text]


async def collect(r: Any, into: MutableSequence[Any], **arguments: Any) -> Any:
    """Stream an answer to its end, each chunk noted as it comes; return the response."""
    async with r.stream(**arguments) as stream:
        async for chunk in stream:
            into.append(chunk)
    return stream.response
