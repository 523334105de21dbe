"""What the clauses throw at a plugin: odd requests, deployments, failures, traces and answers, fresh at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncrouter.types.deployments import Deployment, ModelGroup, Price
from asyncrouter.types.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    ContextWindowExceeded,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response, Usage
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, TraceBuilder

SENTINEL = "zanzibar-sentinel"
"""A word that stands in prompts and answers only: it must not turn up in a reason."""

PROVIDER_ERRORS: tuple[type[ProviderError], ...] = (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    ContextWindowExceeded,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
)

_TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
_SCRIPTS = "解释一下 объясни اشرح समझाओ อธิบาย εξήγησε 説明 설명 🧮👩‍👩‍👧 e\u0301 \u202eabc\u202c"


def request(content: Any = f"Explain {SENTINEL} step by step.", **fields: Any) -> Request:
    """Return a request with one user message."""
    return Request(messages=[{"role": "user", "content": content}], id="contract", **fields)


def odd_requests() -> list[tuple[str, Request]]:
    """Return named requests of every shape that callers and agent frameworks send."""
    contents: dict[str, Any] = {
        "a plain question": f"Explain {SENTINEL} step by step.",
        "one letter": "a",
        "content of null": None,
        "empty content": "",
        "white space": " \n\t ",
        "an empty list of parts": [],
        "text and image parts": [{"type": "text", "text": "What is this?"}, _IMAGE],
        "a part with null text": [{"type": "text", "text": None}, {"type": "text"}],
        "parts that are texts": ["one", "two"],
        "100 kB of words": "lorem ipsum " * 8_500,
        "100 kB without a space": "a" * 100_000,
        "100 kB of question marks": "?" * 100_000,
        "many scripts": _SCRIPTS,
        "a lone surrogate": "bad \ud800 half",
        "control characters": "nul \x00 escape \x1b[31m bell \x07",
    }
    requests = [(name, request(content)) for name, content in contents.items()]
    requests += [(name, Request(messages=messages, id="contract")) for name, messages in _conversations().items()]
    requests.append(
        ("tools and a schema", request(params={"tools": [_TOOL], "response_format": {"type": "json_object"}}))
    )
    requests.append(("a stream", request(stream=True, session="s", metadata={"team": "blue"}, agent="recon")))
    return requests


def _conversations() -> dict[str, Sequence[dict[str, Any]]]:
    return {
        "a message without content": [{"role": "user"}, {"role": "user", "content": "well?"}],
        "a tuple of messages": ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}),
        "only a system message": [{"role": "system", "content": "Be brief."}],
        "tool calls and their results": [
            {"role": "user", "content": "Look at it."},
            {"role": "assistant", "content": None, "tool_calls": [_TOOL_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "It is blue."},
        ],
        "unknown role and fields": [{"role": "developer", "name": "x", "content": "Hi", "extra": {"deep": [1, None]}}],
        "200 messages": [{"role": "user", "content": f"number {number}"} for number in range(200)],
    }


def deployments(count: int, *, bare: bool = False) -> tuple[Deployment, ...]:
    """Return *count* deployments, cheapest first; *bare* ones have no price and no known window."""
    return tuple(
        Deployment(
            name=f"d{index}",
            provider="fake",
            model=f"model-{index}",
            price=None if bare else Price(input=1.0 + index, output=2.0 + index),
            context_window=None if bare else 8_000 * (index + 1),
            weight=1.0 + index % 3,
            params={"temperature": 0},
        )
        for index in range(count)
    )


def group() -> ModelGroup:
    """Return a group of two deployments."""
    return ModelGroup(name="chat", deployments=deployments(2))


def failed_attempt(error: ProviderError | None, *, number: int = 1) -> Attempt:
    """Return an attempt that failed with *error*, or, with ``None``, one that was not made for want of a deployment."""
    return Attempt(
        number=number if error else 0,
        deployment="d0" if error else "",
        group="chat",
        kind=AttemptKind.FIRST,
        outcome=Outcome.FAILED if error else Outcome.SKIPPED,
        error=error,
        started_at=0.0,
        duration_s=0.5,
    )


def trace(*attempts: Attempt, waits: int = 0, groups: Sequence[str] = ("chat",)) -> TraceBuilder:
    """Return the trace of a request under way."""
    builder = TraceBuilder("contract", None, groups[0], 0.0)
    for name in groups[1:]:
        builder.entered(name)
    builder.attempts.extend(attempts)
    builder.waits = waits
    return builder


def odd_responses() -> list[tuple[str, Response]]:
    """Return named answers of every shape that upstreams send."""
    messages: dict[str, dict[str, Any]] = {
        "a plain answer": {"role": "assistant", "content": f"The answer is {SENTINEL}."},
        "an empty answer": {"role": "assistant", "content": ""},
        "an answer of null": {"role": "assistant", "content": None},
        "a tool call": {"role": "assistant", "content": None, "tool_calls": [_TOOL_CALL]},
        "broken tool arguments": {"tool_calls": [{"function": {"name": "look", "arguments": "{"}}]},
        "a refusal": {"role": "assistant", "content": None, "refusal": "I cannot help with that."},
        "many scripts": {"role": "assistant", "content": _SCRIPTS},
        "a lone surrogate": {"role": "assistant", "content": "\udfff"},
        "100 kB": {"role": "assistant", "content": "lorem ipsum " * 8_500},
    }
    raws = {name: {"choices": [{"message": message, "finish_reason": "stop"}]} for name, message in messages.items()}
    raws["no choices"] = {"choices": []}
    raws["cut at the limit"] = {"choices": [{"message": {"content": "The answer is"}, "finish_reason": "length"}]}
    usage = Usage(input_tokens=10, output_tokens=5)
    return [(name, Response(raw=raw, deployment="d0", model="model-0", usage=usage)) for name, raw in raws.items()]
