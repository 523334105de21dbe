"""What an upstream complains of: text, codes and status, read from an error body of whatever shape.

Shapes met in the wild: ``{"error": {"message", "type", "code", "param"}}`` (OpenAI, Groq, Together, DeepSeek,
llama.cpp; Azure adds ``innererror``, OpenRouter ``metadata``), the same in a list (Gemini), ``{"error": "text"}``
(Ollama, xAI with a ``code`` beside it), ``{"object": "error", "message", "code"}`` (vLLM, Mistral), ``{"detail": …}``
(FastAPI), ``{"statusCode", "message"}`` (Azure's gateway), plain text, and the HTML page of some proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from asyncrouter.providers.codec import NotJson, decode

MAX_TEXT = 500
"""Characters of an upstream's message that are kept."""
DEEPEST_TEXT = 3
"""Levels of objects in which a message is looked for (Mistral: ``message.detail``)."""
_TITLE = re.compile(r"<title[^>]{0,100}>([^<]{1,200})", re.IGNORECASE)
_HTML = re.compile(r"\s*<(?:!doctype|html|head|body)", re.IGNORECASE)
_CODE_FIELDS = ("code", "type", "status", "reason")
_STATUS_FIELDS = ("code", "status", "statusCode", "status_code")
_LOWEST_ERROR, _HIGHEST_ERROR = 400, 599


@attrs.frozen
class Complaint:
    """An error body understood.

    ``text``: the upstream's own words, "" when there are none; ``codes``: every code and type named, lower-case;
    ``status``: an HTTP status named inside the body; ``flagged``: the body names reasons of a moderation.
    """

    text: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None
    flagged: bool = False


def complaint_of(body: object) -> Complaint:
    """Return what *body* complains of: undecoded bytes, or a value decoded from JSON."""
    if isinstance(body, (bytes, bytearray)):
        try:
            value = decode(bytes(body))
        except NotJson:
            return Complaint(_readable(bytes(body).decode("utf-8", "replace")))
        body = value
    fields = _error_fields(body)
    if not isinstance(fields, Mapping):
        return Complaint(_text_in(fields))
    parts = (fields, *(part for part in (fields.get("innererror"), _beside(body)) if isinstance(part, Mapping)))
    metadata = fields.get("metadata")
    reasons = metadata.get("reasons") if isinstance(metadata, Mapping) else None
    return Complaint(
        text=_text_in(fields),
        codes=frozenset(code for part in parts for code in _codes_in(part)),
        status=next((status for part in parts for status in _statuses_in(part)), None),
        flagged=bool(reasons),
    )


def _error_fields(body: object) -> object:
    """Return the part of *body* that describes the error."""
    if isinstance(body, list) and body and isinstance(body[0], Mapping) and "error" in body[0]:
        body = body[0]
    if isinstance(body, Mapping):
        error = body.get("error")
        if isinstance(error, Mapping):
            return error
        if isinstance(error, str) and error:
            return {**body, "message": error}
    return body


def _beside(body: object) -> object:
    """Return what stands beside a nested error: some put the code there."""
    return body if isinstance(body, Mapping) and "error" in body and "choices" not in body else None


def _codes_in(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in _CODE_FIELDS:
        code = fields.get(name)
        if isinstance(code, str) and code:
            yield code.lower()


def _statuses_in(fields: Mapping[str, Any]) -> Iterator[int]:
    for name in _STATUS_FIELDS:
        status = fields.get(name)
        if isinstance(status, str) and status.isascii() and status.isdigit() and len(status) == len("404"):
            status = int(status)
        if isinstance(status, int) and _LOWEST_ERROR <= status <= _HIGHEST_ERROR:
            yield status


def _text_in(fields: object, depth: int = 0) -> str:
    if isinstance(fields, str):
        return _readable(fields)
    if isinstance(fields, list):  # FastAPI's list of faults; its "input" may be the prompt and is left out
        return "; ".join(text for text in map(_fault_text, fields[:10]) if text)
    if not isinstance(fields, Mapping) or depth > DEEPEST_TEXT:
        return ""
    inner = (_text_in(fields.get(name), depth + 1) for name in ("message", "detail", "msg"))
    text = next(filter(None, inner), "")
    metadata = fields.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    return f"{text} ({raw})" if isinstance(raw, str) and raw else text


def _fault_text(fault: object) -> str:
    if not isinstance(fault, Mapping):
        return fault if isinstance(fault, str) else ""
    place = fault.get("loc")
    where = ".".join(str(step) for step in place if isinstance(step, (str, int))) if isinstance(place, list) else ""
    what = fault.get("msg")
    return ": ".join(part for part in (where, what) if isinstance(part, str) and part)


def _readable(text: str) -> str:
    """Return *text*, or the title of the HTML page that it is."""
    if not _HTML.match(text[:1000]):
        return text.strip()
    title = _TITLE.search(text[:10_000])
    return f'an HTML page, "{title[1].strip()}"' if title else "an HTML page"
