"""Scripted answers in the shape in which they travel: chat completions and their chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from asyncrouter.testing.script import Reply, Stream
from asyncrouter.types.response import Response, Usage, usage_of


def streamed(reply: Reply) -> Stream:
    """Return *reply* as a stream of one word a piece."""
    if reply.raw is None:
        text, calls, reason, usage = reply.text, reply.tool_calls, reply.finish_reason, reply.usage
    else:
        whole = Response(raw=reply.raw, deployment="", model="")
        text, calls, reason, usage = whole.text, whole.tool_calls, whole.finish_reason or "stop", usage_of(reply.raw)
    return Stream(re.findall(r"\s*\S+|\s+$", text), usage=usage, tool_calls=calls, finish_reason=reason)


def completion(reply: Reply, model: str) -> Mapping[str, Any]:
    """Return *reply* as a chat completion of *model*."""
    if reply.raw is not None:
        return reply.raw
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        message.update(content=reply.text or None, tool_calls=list(reply.tool_calls))
    raw: dict[str, Any] = {
        "id": "fake",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
    }
    if reply.usage is not None:
        raw["usage"] = usage_fields(reply.usage)
    return raw


def chunk_fields(model: str, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """Return a chat-completions chunk with one choice."""
    return {
        "id": "fake",
        "object": "chat.completion.chunk",
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def closing_chunks(stream: Stream, model: str) -> Iterator[dict[str, Any]]:
    """Yield what follows the pieces: the tool calls, the finish reason and, in a chunk of its own, the usage."""
    calls = [{"index": index, **call} for index, call in enumerate(stream.tool_calls)]
    if calls:
        yield chunk_fields(model, {"tool_calls": calls})
    yield chunk_fields(model, {}, stream.finish_reason)
    if stream.usage is not None:
        yield {**chunk_fields(model, {}), "choices": [], "usage": usage_fields(stream.usage)}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return *usage* as chat completions write it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
