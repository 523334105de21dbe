"""What a caller asks: the request as it travels from the door to the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.types.errors import InvalidRequest
from asyncrouter.types.making import maker

Message = Mapping[str, Any]
"""One chat-completions message, exactly as the caller wrote it."""

Prompt = str | Sequence[Message]
"""What callers may pass: a text, or a list of chat-completions messages."""

EMPTY: Mapping[str, Any] = {}


@attrs.frozen(kw_only=True)
class Request:
    """One routed call.  The shape inside is OpenAI's chat-completions shape.

    ``messages`` and ``params`` hold the caller's own mappings, untouched; they, ``metadata`` and ``session`` stay
    out of ``repr``.  ``deadline`` is absolute, in the seconds of the router's clock.  ``message_tokens`` is where
    :func:`asyncrouter.types.tokens.message_tokens` keeps what it has counted; other messages are counted anew.
    """

    messages: Sequence[Message] = attrs.field(repr=False)
    params: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False)
    model: str | None = None
    complexity: float | None = None
    deadline: float | None = None
    session: str | None = attrs.field(default=None, repr=False)
    metadata: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False)
    agent: str | None = None
    stream: bool = False
    id: str = ""
    message_tokens: int | None = attrs.field(default=None, init=False, repr=False, eq=False)


new_request = maker(Request)


def messages_of(prompt: object) -> Sequence[Message]:
    """Return *prompt* as a non-empty list of messages.

    Raises :class:`InvalidRequest` naming the place: an empty text, an empty list, or an element that is no message.
    """
    if isinstance(prompt, str):
        if not prompt or prompt.isspace():
            raise InvalidRequest("prompt: is empty; pass some text or a list of messages")
        return ({"role": "user", "content": prompt},)
    if type(prompt) is not list and (
        isinstance(prompt, (Mapping, bytes, bytearray)) or not isinstance(prompt, Sequence)
    ):
        raise InvalidRequest(
            f"prompt: expected a str or a list of messages, not {type(prompt).__name__}; "
            'pass "text" or [{"role": "user", "content": "text"}]'
        )
    if not prompt:
        raise InvalidRequest('prompt: the list of messages is empty; pass [{"role": "user", "content": "text"}]')
    has_content = False
    for index, message in enumerate(prompt):
        if type(message) is not dict and not isinstance(message, Mapping):  # the exact type first: a tenth of the cost
            raise InvalidRequest(f"messages[{index}]: expected a mapping with a role, not {type(message).__name__}")
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f'messages[{index}].role: missing or not a str; use "system", "user", "assistant", …')
        has_content = has_content or _has_content(message)
    if not has_content:
        raise InvalidRequest("messages: no message has any content; give at least one some content")
    return prompt


def _has_content(message: Message) -> bool:
    content = message.get("content")
    if isinstance(content, str):
        return bool(content) and not content.isspace()
    return bool(content) or bool(message.get("tool_calls")) or bool(message.get("function_call"))


def checked_complexity(complexity: object) -> float | None:
    """Return *complexity* when it is ``None`` or a number in [0, 1]; otherwise raise :class:`InvalidRequest`."""
    if complexity is None:
        return None
    if isinstance(complexity, bool) or not isinstance(complexity, (int, float)) or not 0.0 <= complexity <= 1.0:
        raise InvalidRequest(f"complexity: expected a number from 0 to 1, not {_shown(complexity)}")
    return float(complexity)


def checked_deadline(deadline_s: object) -> float | None:
    """Return *deadline_s* when it is ``None`` or a positive number of seconds; otherwise raise :class:`InvalidRequest`.

    ``math.inf`` means no deadline.
    """
    if deadline_s is None:
        return None
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, (int, float)) or not deadline_s > 0:
        raise InvalidRequest(f"deadline_s: expected a positive number of seconds, not {_shown(deadline_s)}")
    try:
        return float(deadline_s)
    except OverflowError:
        raise InvalidRequest("deadline_s: no float holds a number that large; pass math.inf for no deadline") from None


def check_naming(model: object, session: object, metadata: object) -> None:
    """Raise :class:`InvalidRequest` unless *model* and *session* are texts and *metadata* is a mapping, or ``None``."""
    for argument, value, kind, cure in (
        ("model", model, str, "pass a name, or leave it out for the default"),
        ("session", session, str, "pass any text that is the same for all calls of a conversation"),
        ("metadata", metadata, Mapping, "pass a dict"),
    ):
        if value is not None and not isinstance(value, kind):
            raise InvalidRequest(f"{argument}: expected a {kind.__name__.lower()}, not {type(value).__name__}; {cure}")


def _shown(value: object) -> str:
    """Return numbers as they are and anything else by its type only: it may hold a prompt."""
    if isinstance(value, (int, float)) and (isinstance(value, float) or abs(value) < 10**9):
        return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)
    return type(value).__name__


def text_of(message: Message) -> str:
    """Return the text of *message*: its content, or its text parts joined by newlines; "" when it has none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    parts = (part.get("text") if isinstance(part, Mapping) else part for part in content)
    return "\n".join(part for part in parts if isinstance(part, str))


def place_asked(messages: Sequence[Any]) -> int:
    """Return the place of the user's last message; of the last message where none is the user's, -1 without any."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, Mapping) and message.get("role") == "user":
            return place
    return len(messages) - 1
