"""What comes back: the response, the chunks of a stream, and usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from asyncrouter.types.allowances import Allowances
from asyncrouter.types.deployments import Price
from asyncrouter.types.making import maker
from asyncrouter.types.request import EMPTY
from asyncrouter.types.trace import RouteTrace

MAPPINGS, SEQUENCES = (dict, Mapping), (list, Sequence)
"""What JSON came as, asked for first: of a ``dict``, "is it a Mapping?" takes three times as long."""


@attrs.frozen
class Usage:
    """Tokens of one answer.

    ``cached_input_tokens`` is part of ``input_tokens``, ``reasoning_tokens`` part of ``output_tokens``;
    ``estimated`` tells that the upstream sent no usage and the router counted characters instead.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def cost_usd(self, price: Price) -> float:
        """Return what the tokens cost at *price*, in US dollars."""
        return price.cost_usd(self.input_tokens, self.output_tokens, self.cached_input_tokens, self.reasoning_tokens)


new_usage = maker(Usage)
NO_USAGE = Usage()


def usage_of(raw: Mapping[str, Any]) -> Usage | None:
    """Return the usage written in *raw* (a chat completion or a chunk), or ``None`` when there is none."""
    usage = raw.get("usage")
    if type(usage) is not dict and not isinstance(usage, Mapping):  # the exact type first: a tenth of the cost
        return None
    of_input, of_output = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = _detail(of_input, "cached_tokens") if of_input else 0
    return new_usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cached_input_tokens=cached or _count(usage.get("prompt_cache_hit_tokens")),  # DeepSeek's word
        reasoning_tokens=_detail(of_output, "reasoning_tokens") if of_output else 0,
    )


def _detail(details: object, key: str) -> int:
    return _count(details.get(key)) if isinstance(details, MAPPINGS) else 0


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _first_choice(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = raw.get("choices")
    if isinstance(choices, SEQUENCES) and choices and isinstance(choices[0], MAPPINGS):
        return choices[0]
    return EMPTY


@attrs.frozen(kw_only=True)
class Response:
    """One answer.

    ``raw`` is what the upstream sent, in chat-completions shape and unknown fields included; the accessors read it
    lazily and show the first choice.  ``deployment`` and ``model`` name who answered; ``cost_usd`` is ``None`` when no
    price is known; ``trace`` tells how the answer came about (set by the router, ``None`` from a bare provider).
    ``allowances``: what the upstream says is left of its rate limits, ``None`` where it says nothing, and on a stream,
    whose first chunk has them.
    """

    raw: Mapping[str, Any] = attrs.field(repr=False)
    deployment: str
    model: str
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    trace: RouteTrace = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(default=EMPTY, repr=False)
    allowances: Allowances | None = attrs.field(default=None, repr=False)

    def finished(self, usage: Usage, cost_usd: float | None, trace: RouteTrace | None) -> Response:
        """Return the same answer with what the router adds."""
        return new_response(
            raw=self.raw,
            deployment=self.deployment,
            model=self.model,
            usage=usage,
            cost_usd=cost_usd,
            trace=trace,  # type: ignore[arg-type]
            headers=self.headers,
            allowances=self.allowances,
        )

    def attach(self, trace: RouteTrace) -> None:
        """Give an answer that nobody but the router has yet its trace; another copy would be 1 % of a routed call."""
        object.__setattr__(self, "trace", trace)

    @property
    def message(self) -> Mapping[str, Any]:
        """The answer's message as the upstream sent it; an empty mapping when there is none."""
        message = _first_choice(self.raw).get("message")
        return message if isinstance(message, MAPPINGS) else EMPTY

    @property
    def text(self) -> str:
        """The answer's text, parts of it joined; "" when it holds none (a tool call, say)."""
        return text_in(self.message)

    @property
    def tool_calls(self) -> Sequence[Mapping[str, Any]]:
        """The tool calls that the model asks for; empty when there are none."""
        calls = self.message.get("tool_calls")
        return calls if isinstance(calls, Sequence) and not isinstance(calls, str) else ()

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped: "stop", "length", "tool_calls" and such."""
        reason = _first_choice(self.raw).get("finish_reason")
        return reason if isinstance(reason, str) else None


new_response = maker(Response)


@attrs.frozen
class Chunk:
    """One piece of a stream.

    ``kind`` is "delta", or "restart": then what came before is void (only with ``on_interrupt="restart"``).
    ``raw`` is the chunk as the upstream sent it, in chat-completions shape.  ``allowances``, on an upstream's first
    chunk: what it says is left of its rate limits.
    """

    raw: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False)
    kind: Literal["delta", "restart"] = "delta"
    allowances: Allowances | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def delta(self) -> Mapping[str, Any]:
        """The first choice's delta; an empty mapping when the chunk has none."""
        delta = _first_choice(self.raw).get("delta")
        return delta if isinstance(delta, MAPPINGS) else EMPTY

    @property
    def text(self) -> str:
        """The text this chunk adds to the answer; "" when it adds none."""
        try:
            text = self.raw["choices"][0]["delta"]["content"]
        except (TypeError, LookupError):
            return text_in(self.delta)
        return text if type(text) is str else text_in(self.delta)

    @property
    def finish_reason(self) -> str | None:
        """The first choice's finish reason, on its last chunk."""
        reason = _first_choice(self.raw).get("finish_reason")
        return reason if isinstance(reason, str) else None

    @property
    def is_output(self) -> bool:
        """Whether the chunk carries a part of the answer: a role alone or an empty delta is none."""
        if self.text:  # of nearly all, and at a fifth of the cost
            return True
        choices = self.raw.get("choices")
        if not isinstance(choices, (list, tuple)):
            return False
        return any(_carries_output(choice.get("delta")) for choice in choices if isinstance(choice, Mapping))


new_chunk = maker(Chunk)


def text_in(message: Mapping[str, Any]) -> str:
    """Return the text of a message or a delta, parts of it joined; "" when it holds none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _carries_output(delta: object) -> bool:
    if not isinstance(delta, MAPPINGS):
        return False
    return any(value for key, value in delta.items() if key != "role")
