"""What a scripted HTTP server does after one request: the vocabulary of :mod:`asyncrouter.testing.server`.

A *script* is a :class:`Http`, :class:`Json`, :class:`Sse`, :class:`Raw`, :class:`Reset`, :class:`Hang`, or anything
else with ``steps()``.  A step is ``bytes`` (sent), a number (seconds waited), a :class:`Gate` (waited for) or an
:class:`End` (the last step).
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import attrs

NO_HEADERS: Mapping[str, str] = {}


class End(enum.Enum):
    """How a connection is left after a script."""

    KEEP = "keep"
    """Open: the next request may come over it."""
    CLOSE = "close"
    """Closed in order (FIN)."""
    RESET = "reset"
    """Torn down (RST)."""
    HANG = "hang"
    """Open and silent until the client goes."""


class Gate:
    """Holds a response until the test releases it, from whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._released = False
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def wait(self) -> None:
        """Wait for :meth:`release`; return at once after it."""
        event = asyncio.Event()
        with self._lock:
            if self._released:
                return
            self._held.append((asyncio.get_running_loop(), event))
        await event.wait()

    def release(self) -> None:
        """Let everything pass that waits now or comes later."""
        with self._lock:
            self._released = True
            held, self._held = self._held, []
        for loop, event in held:
            with contextlib.suppress(RuntimeError):  # the loop of a server that has gone is closed
                loop.call_soon_threadsafe(event.set)


Step = bytes | float | Gate | End


class Script(Protocol):
    """What the server does after one request."""

    def steps(self) -> Iterator[Step]:
        """Yield what to do, in order; without an :class:`End` the connection is kept."""
        ...


@attrs.frozen
class Http:
    """Answer with ``status``, ``headers`` and ``body``.

    ``delay_s`` and ``gate`` hold the whole answer back.  ``content_length`` is declared in place of the true one.
    ``chunked`` sends the body in that encoding; ``drip`` is (bytes at a time, seconds between).
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, kw_only=True)
    delay_s: float = attrs.field(default=0.0, kw_only=True)
    gate: Gate | None = attrs.field(default=None, kw_only=True)
    content_length: int | None = attrs.field(default=None, kw_only=True)
    chunked: bool = attrs.field(default=False, kw_only=True)
    drip: tuple[int, float] | None = attrs.field(default=None, kw_only=True)
    end: End = attrs.field(default=End.KEEP, kw_only=True)

    def steps(self) -> Iterator[Step]:
        """Yield the head, the body in its pieces, and the end."""
        if self.gate is not None:
            yield self.gate
        if self.delay_s:
            yield self.delay_s
        framing = {"transfer-encoding": "chunked"} if self.chunked else {"content-length": str(self._declared())}
        yield head(self.status, framing | dict(self.headers))
        size, pause_s = self.drip or (len(self.body) or 1, 0.0)
        for start in range(0, len(self.body), size):
            piece = self.body[start : start + size]
            yield framed(piece) if self.chunked else piece
            if pause_s:
                yield pause_s
        if self.chunked and self.end is End.KEEP:
            yield framed(b"")
        yield self.end

    def _declared(self) -> int:
        return len(self.body) if self.content_length is None else self.content_length


@attrs.frozen
class Json:
    """Answer with ``value`` as JSON; the other fields are those of :class:`Http`."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, kw_only=True)
    delay_s: float = attrs.field(default=0.0, kw_only=True)
    gate: Gate | None = attrs.field(default=None, kw_only=True)

    def steps(self) -> Iterator[Step]:
        """Yield the answer's steps."""
        headers = {"content-type": "application/json"} | dict(self.headers)
        body = json.dumps(self.value).encode()
        return Http(self.status, body, headers=headers, delay_s=self.delay_s, gate=self.gate).steps()


@attrs.frozen
class Sse:
    """Answer with server-sent events.

    ``events``: a mapping is sent as ``data: {…}``, ``str`` and ``bytes`` as they are, a number or a :class:`Gate` is
    waited for.  ``done`` sends ``data: [DONE]`` after them; ``pause_s`` is waited after each event.  ``cut_after``
    events, the connection is left as ``end`` says (a reset unless given) and the rest is not sent.
    """

    events: Sequence[Mapping[str, Any] | str | bytes | float | Gate]
    done: bool = attrs.field(default=True, kw_only=True)
    cut_after: int | None = attrs.field(default=None, kw_only=True)
    pause_s: float = attrs.field(default=0.0, kw_only=True)
    status: int = attrs.field(default=200, kw_only=True)
    headers: Mapping[str, str] = attrs.field(default=NO_HEADERS, kw_only=True)
    end: End | None = attrs.field(default=None, kw_only=True)

    def steps(self) -> Iterator[Step]:
        """Yield the head and one step an event."""
        fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        yield head(self.status, fields | dict(self.headers))
        sent = 0
        for event in self.events:
            if sent == self.cut_after:
                break
            if isinstance(event, (int, float, Gate)):
                yield event
                continue
            yield framed(sse_event(event))
            sent += 1
            if self.pause_s:
                yield self.pause_s
        if self.cut_after is not None:
            yield self.end or End.RESET
            return
        if self.done:
            yield framed(b"data: [DONE]\n\n")
        end = self.end or End.KEEP
        if end is End.KEEP:
            yield framed(b"")
        yield end


@attrs.frozen
class Raw:
    """Send ``data`` as it is: garbage, informational responses, a wrong framing."""

    data: bytes
    end: End = End.CLOSE

    def steps(self) -> Iterator[Step]:
        """Yield the bytes and the end."""
        yield self.data
        yield self.end


@attrs.frozen
class Reset:
    """Tear the connection down: "before_headers", "after_headers" (a head that promises a body), or "mid_body"."""

    when: str = attrs.field(
        default="before_headers", validator=attrs.validators.in_(("before_headers", "after_headers", "mid_body"))
    )

    def steps(self) -> Iterator[Step]:
        """Yield what is sent before, and the reset."""
        if self.when != "before_headers":
            yield head(200, {"content-type": "application/json", "content-length": "1000"})
        if self.when == "mid_body":
            yield b'{"choices": ['
        yield End.RESET


@attrs.frozen
class Hang:
    """Never answer, or stop for ever after the head when ``after_headers``."""

    after_headers: bool = False

    def steps(self) -> Iterator[Step]:
        """Yield the head if wanted, and the silence."""
        if self.after_headers:
            yield head(200, {"content-type": "application/json", "content-length": "1000"})
        yield End.HANG


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a response's status line and headers."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def framed(data: bytes) -> bytes:
    """Return *data* as one chunk of the chunked encoding; empty data is the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def sse_event(event: Mapping[str, Any] | str | bytes) -> bytes:
    """Return *event* as it is sent."""
    if isinstance(event, Mapping):
        return b"data: " + json.dumps(event).encode() + b"\n\n"
    return event.encode() if isinstance(event, str) else event


def usage_fields(input_tokens: int, output_tokens: int) -> dict[str, int]:
    """Return a chat completion's ``usage``."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def completion(
    text: str | None = "Hello", *, finish_reason: str = "stop", usage: tuple[int, int] | None = (10, 5), **message: Any
) -> Json:
    """Return a chat completion; *usage* is (input, output) tokens, *message* holds further fields of the message."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
    }
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "model": "scripted", "choices": [choice]}
    if usage is not None:
        body["usage"] = usage_fields(*usage)
    return Json(body)


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None, *, index: int = 0) -> dict[str, Any]:
    """Return one chat-completions chunk."""
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}


def chunks(
    text: str = "Hello", *, finish_reason: str | None = "stop", usage: tuple[int, int] | None = (10, 5)
) -> list[dict[str, Any]]:
    """Return *text* as chunks: the role, a word each, the finish reason and, in a chunk of its own, the usage."""
    words = [word + " " for word in text.split()]
    pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in words[:-1])]
    pieces += [chunk({"content": word.rstrip()}) for word in words[-1:]]
    if finish_reason is not None:
        pieces.append(chunk({}, finish_reason))
    if usage is not None:
        pieces.append({**chunk({}), "choices": [], "usage": usage_fields(*usage)})
    return pieces


def sse_completion(text: str = "Hello", *, usage: tuple[int, int] | None = (10, 5), done: bool = True) -> Sse:
    """Return *text* as a whole and proper stream."""
    return Sse(chunks(text, usage=usage), done=done)
