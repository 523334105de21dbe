"""Chunks assembled to the answer that a plain call would have given."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from asyncrouter.types.request import Request
from asyncrouter.types.response import MAPPINGS, Chunk, Usage, text_in, usage_of

CONCATENATED = frozenset({"content", "refusal", "reasoning", "reasoning_content", "arguments"})
"""Fields whose pieces are joined; every other text field is sent whole and the last one stands."""
PLAIN = frozenset({"index", "delta", "finish_reason", "logprobs"})
"""The fields of a choice that may stand in a chunk which adds a text and nothing else; the last two are null then."""
TOP_LEVEL = ("id", "created", "model", "system_fingerprint", "service_tier")


class Assembler:
    """Collects the chunks of one stream.  All choices are assembled, tool calls by their index.

    Nearly every chunk is like the one before it but for the text of the first choice: such texts are joined when they
    are asked for, which takes a quarter of the opcodes and copies no text twice (``benchmarks/counted.py``).
    """

    __slots__ = ("_choices", "_fields", "_texts", "_top", "_untold", "usage")

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._fields: frozenset[str] = frozenset()  # those of the last chunk that was looked at in full
        self._untold: tuple[str, ...] = ()  # those of them that must be null for a chunk to be like it
        self._texts: list[str] = []  # of the first choice, not yet in its message
        self.usage: Usage | None = None

    def add(self, chunk: Chunk) -> None:
        """Take in one chunk."""
        raw = chunk.raw
        if raw.keys() != self._fields or any(map(raw.get, self._untold)):
            self._note(raw)
        else:
            text = _plain_text(raw)
            if text is not None:
                self._texts.append(text)
                return
        self._join()
        for piece in raw.get("choices") or ():
            if isinstance(piece, MAPPINGS):
                self._add_choice(piece)

    def _note(self, raw: Mapping[str, Any]) -> None:
        """Take note of what *raw* tells besides its choices, and of what one like it has to leave out."""
        top = self._top
        untold = (raw.keys() & TOP_LEVEL) - top.keys()
        if untold:
            top |= {key: raw[key] for key in TOP_LEVEL if key in untold and raw[key] is not None}
            untold -= top.keys()
        usage = usage_of(raw)
        if usage is not None:
            self.usage = usage
            top["usage"] = raw["usage"]
        self._fields = frozenset(raw)
        self._untold = (*untold, "usage")

    def _join(self) -> None:
        """Put the texts that have come into the first choice's message."""
        if self._texts:
            text = "".join(self._texts)
            self._texts.clear()
            merge(self._choice(0)["message"], {"content": text})

    @property
    def text(self) -> str:
        """The first choice's text so far, parts of it joined."""
        self._join()
        return text_in(self._choices.get(0, {}).get("message", {}))

    @property
    def in_tool_call(self) -> bool:
        """Whether any choice holds a tool call: such an answer cannot be continued by another model."""
        self._join()
        return any(choice["message"].get("tool_calls") for choice in self._choices.values())

    @property
    def is_cut_in_tool_call(self) -> bool:
        """Whether a choice without a finish reason holds a tool call whose arguments are no whole JSON text."""
        return self.in_tool_call and any(
            choice["finish_reason"] is None and not all(map(_is_whole_call, _calls_of(choice)))
            for choice in self._choices.values()
        )

    @property
    def is_continuable(self) -> bool:
        """Whether another model can go on from here: with the text of a single choice, never inside a tool call."""
        return not self.in_tool_call and self._choices.keys() <= {0}

    def is_complete(self, request: Request) -> bool:
        """Whether every choice that *request* asks for has come and given its finish reason."""
        wanted = request.params.get("n")
        return self.finished and len(self._choices) >= (wanted if isinstance(wanted, int) else 1)

    @property
    def finished(self) -> bool:
        """Whether every choice seen so far has given its finish reason."""
        self._join()
        return bool(self._choices) and all(choice.get("finish_reason") for choice in self._choices.values())

    def raw(self) -> dict[str, Any]:
        """Return the assembled chat completion."""
        self._join()
        choices = [_whole(self._choices[index]) for index in sorted(self._choices)]
        return {**self._top, "object": "chat.completion", "choices": choices}

    def _add_choice(self, piece: Mapping[str, Any]) -> None:
        index = piece.get("index")
        choice = self._choice(index if isinstance(index, int) else 0)
        for key, value in piece.items():
            if key == "delta" and isinstance(value, Mapping):
                merge(choice["message"], value)
            elif key == "logprobs" and isinstance(value, Mapping):
                merge(choice.setdefault("logprobs", {}), value)
            elif key not in {"delta", "index"} and value is not None:
                choice[key] = value

    def _choice(self, index: int) -> dict[str, Any]:
        """Return the choice with that index, begun where it is new."""
        choice = self._choices.get(index)
        if choice is None:
            message = {"role": "assistant", "content": None}
            choice = self._choices[index] = {"index": index, "message": message, "finish_reason": None}
        return choice


def _plain_text(raw: Mapping[str, Any]) -> str | None:
    """Return the text that *raw* adds to the first choice, ``None`` when it tells anything else besides."""
    try:
        (piece,) = raw["choices"]
        delta = piece["delta"]
        text = delta["content"]
        if len(delta) != 1 or not piece.keys() <= PLAIN or any(map(piece.get, ("finish_reason", "logprobs"))):
            return None
        return text if type(text) is str and piece.get("index", 0) == 0 else None
    except (TypeError, LookupError, ValueError, AttributeError):
        return None


def _whole(choice: dict[str, Any]) -> dict[str, Any]:
    """Return *choice* with its tool calls in their order and, as in a plain answer, without the index that told it."""
    message = choice["message"]
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return choice
    ordered = sorted((call for call in calls if isinstance(call, dict)), key=_index_of)
    without = [{key: value for key, value in call.items() if key != "index"} for call in ordered]
    return {**choice, "message": {**message, "tool_calls": without}}


def _calls_of(choice: dict[str, Any]) -> list[Any]:
    calls = choice["message"].get("tool_calls")
    return calls if isinstance(calls, list) else []


def _is_whole_call(call: Any) -> bool:
    """Whether the arguments of the tool *call* are a whole JSON text."""
    try:
        json.loads(call["function"]["arguments"])
    except (TypeError, LookupError, ValueError, RecursionError):
        return False
    return True


def _index_of(call: dict[str, Any]) -> float:
    index = call.get("index")
    return index if isinstance(index, int) else math.inf


def merge(whole: dict[str, Any], piece: Mapping[str, Any]) -> None:
    """Add one delta to *whole*: texts are joined, lists with an ``index`` merged by it, other values replaced."""
    for key, value in piece.items():
        if value is None:
            whole.setdefault(key, None)
        elif isinstance(value, str) and key in CONCATENATED:
            _merge_text(whole, key, value)
        elif isinstance(value, Mapping):
            inner = whole.get(key)
            if not isinstance(inner, dict):
                inner = whole[key] = {}
            merge(inner, value)
        elif isinstance(value, list):
            _merge_list(whole, key, value)
        else:
            whole[key] = value


def _merge_text(whole: dict[str, Any], key: str, text: str) -> None:
    before = whole.get(key)
    if isinstance(before, str):
        whole[key] = before + text
    elif key == "content" and isinstance(before, list):  # some upstreams send thoughts as parts, the answer as text
        _add_part(before, {"type": "text", "text": text})
    else:
        whole[key] = text


def _add_part(parts: list[Any], part: Mapping[str, Any]) -> None:
    """Add one part of a content: a text is joined to the text before it."""
    last, text = parts[-1] if parts else None, part.get("text")
    if not (isinstance(text, str) and part.get("type") == "text"):
        parts.append(part)
    elif isinstance(last, dict) and last.get("type") == "text" and isinstance(last.get("text"), str):
        last["text"] += text
    elif text:
        parts.append(dict(part))


def _merge_list(whole: dict[str, Any], key: str, pieces: list[Any]) -> None:
    items = whole.get(key)
    if not isinstance(items, list):
        before = items if key == "content" and isinstance(items, str) else ""
        items = whole[key] = [{"type": "text", "text": before}] if before else []
    for piece in pieces:
        index = piece.get("index") if isinstance(piece, Mapping) else None
        if not isinstance(index, int):
            if key == "content" and isinstance(piece, Mapping):
                _add_part(items, piece)
            else:
                items.append(piece)
            continue
        same = next((item for item in items if isinstance(item, dict) and item.get("index") == index), None)
        if same is None:
            same = {}
            items.append(same)
        merge(same, piece)
