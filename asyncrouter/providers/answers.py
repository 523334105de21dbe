"""Is it an answer?  Checks of what came with a 200, and the two shapes of one answer: whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NO_ANSWER_FIELDS = frozenset({"role", "name", "annotations", "reasoning", "reasoning_content", "reasoning_details"})
"""Fields of a message that answer nothing by themselves."""
FORMS: Mapping[str, tuple[type, ...]] = {"content": (str, list), "refusal": (str,), "tool_calls": (list,)}
"""The forms of fields that answer: in another form nobody can read them."""
FILTERED = "content_filter"
NO_REASONS = (FILTERED, "error")
"""Finish reasons of what is no answer; the second is OpenRouter's, when the model behind it broke down."""
OUT_OF_TOKENS = "length"
"""With this finish reason an empty text is an answer: reasoning may have used up every token that was granted."""


class NoAnswer(ValueError):
    """The body holds no answer.  ``filtered``: a content policy stopped it; ``error``: the body of an error inside."""

    def __init__(self, message: str, *, filtered: bool = False, error: object = None) -> None:
        self.filtered = filtered
        self.error = error
        super().__init__(message)


def checked_completion(body: Any) -> Mapping[str, Any]:
    """Return *body* when it is a chat completion with an answer; otherwise raise :class:`NoAnswer`.

    One answer among several choices is enough, but where a content policy stopped any choice there is none.
    """
    if _is_text(body):
        answer: Mapping[str, Any] = body
        return answer
    error = error_in(body)
    if error is not None:
        raise NoAnswer("holds an error", error=error)
    if not isinstance(body, dict):
        raise NoAnswer("the answer is no JSON object")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise NoAnswer("the answer has no choices")
    answers = [choice for choice in choices if _answers(choice)]  # looks at all of them: any may be filtered
    if not answers:
        raise NoAnswer("the answer is empty")
    return body


def _is_text(body: Any) -> bool:
    """Whether *body*, from JSON, is one choice with a text, as nearly all are: a fifth of a full look."""
    try:
        (choice,) = body["choices"]
        text = choice["message"]["content"]
        is_text: bool = type(text) is str and text != "" and choice.get("finish_reason") not in NO_REASONS
        return is_text and "error" not in body and "error" not in choice
    except (TypeError, LookupError, ValueError):
        return False


def error_in(body: object) -> object:
    """Return the error body that *body* is, ``None`` when it is none."""
    if isinstance(body, list):  # Gemini puts its errors into a list
        body = body[0] if body else None
    if not isinstance(body, dict):
        return None
    if body.get("error") or (body.get("object") == "error" and "choices" not in body):
        return body
    return None


def finish_reason_of(choice: Mapping[str, Any]) -> str | None:
    """Return the choice's finish reason; raise :class:`NoAnswer` when it tells of a filter or an error."""
    reason = choice.get("finish_reason")
    if reason == FILTERED:
        raise NoAnswer("the upstream's content policy stopped the answer", filtered=True)
    if reason in NO_REASONS or choice.get("error"):
        raise NoAnswer("holds an error", error=choice)
    return reason if isinstance(reason, str) else None


def _answers(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    reason = finish_reason_of(choice)
    message = choice.get("message")
    if not isinstance(message, dict):
        return False
    return reason == OUT_OF_TOKENS or any(
        value and isinstance(value, FORMS.get(key, object))
        for key, value in message.items()
        if key not in NO_ANSWER_FIELDS
    )


def as_chunks(completion: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a whole completion as a stream would have sent it: one chunk with everything, then the usage."""
    shared = {key: value for key, value in completion.items() if key not in {"choices", "usage", "object"}}
    shared["object"] = "chat.completion.chunk"
    yield {**shared, "choices": [_as_delta(choice) for choice in completion["choices"] if isinstance(choice, dict)]}
    if completion.get("usage"):
        yield {**shared, "choices": [], "usage": completion["usage"]}


def _as_delta(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    delta = dict(message) if isinstance(message, dict) else {}
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)]
    return {**{key: value for key, value in choice.items() if key != "message"}, "delta": delta}
