"""A server that answers chat completions with bytes made beforehand, so that what is measured is its client.

The path's first part says how a stream is sent: ``/one`` an event a write, two milliseconds apart, so that the client
reads them one by one; ``/eight`` and ``/all`` eight or all events a write, as a fast upstream does, or one behind a
proxy that buffers; ``/first`` one event, and then all others;
``/short`` four events in one write; ``/steps`` one event a write, the next one whenever somebody has it
:meth:`~CannedServer.step`, and ``/few`` four of them.  ``/hold`` answers once ``/release`` has been asked for, and
``/held`` tells how many wait for that.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 110, "completion_tokens": 60, "total_tokens": 170},
}
BODY = json.dumps(ANSWER).encode()


def plain(body: bytes, more: bytes = b"") -> bytes:
    """Return an answer that holds the JSON *body*."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (more, len(body)) + body


REPLY, LAST_REPLY = plain(BODY), plain(BODY, b"Connection: close\r\n")
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"
EVENTS = 64
"""Events of a stream that carry a word each; the finish reason, the usage and ``[DONE]`` come with the last."""
APART_S = 0.002
"""Between two writes of a stream, on one beat for all streams.  Its client is woken once a beat: as often by one that
opens its streams one after another as by one that opens them together.  Being woken costs 100 µs on a virtual machine,
whatever is done then."""
READ_BYTES = 4096
"""Of a request; asyncio's buffer of 256 KiB would be the peak of what is counted, where the server is a thread."""
WANTS_STREAM = (b'"stream":true', b'"stream": true')


def events(words: int = EVENTS) -> list[bytes]:
    """Return the events of a streamed answer of so many words."""

    def event(choices: list[object], **more: object) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
        return b"data: " + json.dumps({**chunk, **more}).encode() + b"\n\n"

    def delta(fields: dict[str, str], reason: str | None = None) -> bytes:
        return event([{"index": 0, "delta": fields, "finish_reason": reason}])

    first = {"role": "assistant", "content": "word "}
    made = [delta(first if number == 0 else {"content": "word "}) for number in range(words)]
    made[-1] += delta({}, "stop") + event([], usage=ANSWER["usage"]) + b"data: [DONE]\n\n"
    return made


def framed(bodies: list[bytes]) -> list[bytes]:
    """Return what a server writes of a stream: *bodies* framed as chunks of HTTP, the head before the first."""
    pieces = [b"%x\r\n%b\r\n" % (len(body), body) for body in bodies]
    pieces[0] = STREAM_HEAD + pieces[0]
    pieces[-1] += STREAM_END
    return pieces


def in_writes(made: list[bytes], together: int) -> list[bytes]:
    """Return the events *made*, so many a write."""
    return [b"".join(made[start : start + together]) for start in range(0, len(made), together)]


STREAMS = {
    "one": framed(events()),
    "eight": framed(in_writes(events(), 8)),
    "all": framed(in_writes(events(), EVENTS)),
    "short": framed([b"".join(events(4))]),
    "first": framed([events()[0], b"".join(events()[1:])]),
    "steps": framed(events()),
    "few": framed(events(4)),
}
STEPPED = frozenset({"steps", "few"})


class CannedServer(asyncio.Protocol):
    """Knows just enough HTTP to find where a request ends.

    *held*: who waits for ``/release``; *stepping*: who goes on when told.
    """

    def __init__(self, held: set[CannedServer], stepping: set[CannedServer]) -> None:
        self._held = held
        self._stepping = stepping
        self._pieces: Iterator[bytes] = iter(())
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(
                head.split(b"/", 2)[1].split(b" ")[0].decode(), is_stream=any(mark in body for mark in WANTS_STREAM)
            )

    def _answer(self, way: str, *, is_stream: bool) -> None:
        if way == "hold":
            self._held.add(self)
        elif is_stream:
            self._pieces = iter(STREAMS[way if way in STREAMS else "all"])
            if way in STEPPED:
                self._stepping.add(self)
                self.step()
            else:
                self._write_on()
        elif way == "held":
            self._transport.write(plain(b"%d" % len(self._held)))
        else:
            if way == "release":
                self._release()
            self._transport.write(REPLY)

    def _release(self) -> None:
        for one in self._held:
            one._transport.write(LAST_REPLY)  # noqa: SLF001 - its own kind
        self._held.clear()

    def _write_on(self) -> None:
        if self.step():
            loop = asyncio.get_running_loop()
            loop.call_at((loop.time() // APART_S + 1) * APART_S, self._write_on)

    def step(self) -> bool:
        """Write the stream's next piece; ``False`` after the last."""
        piece = next(self._pieces, None)
        if piece is None or self._transport.is_closing():
            self._stepping.discard(self)
            return False
        self._transport.write(piece)
        return True


async def serve(tell_port: Callable[[int], object], steps: int | None = None) -> None:
    """Serve on the loopback until cancelled; *tell_port* is called with the port.

    For each byte that comes from the file descriptor *steps*, all stepped streams write their next piece.
    """
    held: set[CannedServer] = set()
    stepping: set[CannedServer] = set()
    loop = asyncio.get_running_loop()

    def step(readable: int) -> None:
        os.read(readable, 1)
        for one in tuple(stepping):
            one.step()

    if steps is not None:
        loop.add_reader(steps, step, steps)
    listening = await loop.create_server(lambda: CannedServer(held, stepping), "127.0.0.1", 0, backlog=20_000)
    tell_port(listening.sockets[0].getsockname()[1])
    await listening.serve_forever()
