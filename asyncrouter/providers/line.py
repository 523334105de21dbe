"""A connection that aiohttp has made, and the exchanges on it, one after another; imported with the transport alone.

aiohttp resolves, connects, encrypts and tunnels, and its parser reads the answers.  Between its connection and its
parser this protocol stands in place of aiohttp's own: that takes connections from a pool for all uses, with limits and
lines of waiters that nobody has here, counts the chunks of HTTP, which nobody asks for, and has the parser look for
more after every read.  It was 400 of a streamed read's 1,900 opcodes and 500 of a plain call's 2,000 on the wire
(``benchmarks/counted.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, HttpResponseParser, RawResponseMessage
from aiohttp.http_parser import HttpResponseParserPy

from asyncrouter.providers.waiting import done

if TYPE_CHECKING:
    from asyncrouter.providers.pool import Place

READ_BYTES = 64 * 2**10
"""The most of a plain connection that is read at once, where asyncio reads 256 KiB: the C library maps pages for each
buffer above 128 KiB and gives them back, three system calls and 12 µs a read, whatever has come."""
HELD_BYTES = 64 * 2**10
"""An upstream is held up while twice as much of its answer is there and not taken; aiohttp's own default."""
IN_A_ROW = 250
"""Answers whose heads are parsed as they come, all that one turn of the loop brings, where no more are under way."""
_IN_PYTHON = HttpResponseParser is HttpResponseParserPy
"""Whether aiohttp parses in Python, as on PyPy: that parser is silent about bytes which are no whole line of a head."""
_SWITCHING_PROTOCOLS = 101
_BEFORE_THE_ANSWER = frozenset(range(100, 200)) - {_SWITCHING_PROTOCOLS}


class Body(aiohttp.StreamReader):
    """What follows the head of an answer, in pieces as the parser has fed them.

    The parser makes aiohttp's reader, which becomes one of these (:meth:`Line.data_received`).
    """

    __slots__ = ()

    def begin_http_chunk_receiving(self) -> None:
        """Take no note of HTTP's chunks."""

    def end_http_chunk_receiving(self) -> None:
        """Take no note of HTTP's chunks."""

    def feed_data(self, data: bytes, size: int = 0) -> bool:  # noqa: ARG002 - the parser tells it
        """Keep *data*, and hold up the upstream when nobody takes it."""
        if data:
            self._buffer.append(data)
            self._size += len(data)
            if self._size > self._high_water:
                self._protocol.pause_reading()
        return False

    def take(self) -> bytes | None:
        """Return what has come since the last time, ``b""`` at the end; ``None``: nothing has, wait for more.

        Raises what has ended it early.
        """
        if self._exception is not None:
            raise self._exception
        pieces = self._buffer
        if not pieces:
            return b"" if self._eof else None
        data = pieces.popleft() if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        size, self._size = self._size, 0
        if size > self._high_water:
            self._protocol.resume_reading()
        return data

    @property
    def is_whole(self) -> bool:
        """Whether everything has come, taken or not."""
        return self._eof and self._exception is None


class Line(asyncio.Protocol):
    """One connection.  ``body``: of the answer under way, once :meth:`ask` has returned its head.

    It takes *connection* over, and aiohttp forgets it.  Raises aiohttp's error when it has been lost already.

    With more than :data:`IN_A_ROW` under way the head of an answer is parsed by the task that waits for it, so that of
    ten thousand that come at once one is parsed at a time.  The parser keeps 250 heads that nobody uses any more, and
    multidict 64 mappings: taken from all over a burst each may hold a mebibyte of free memory
    (:func:`~asyncrouter.providers.waiting.done`).
    """

    __slots__ = ("_failure", "_head", "_is_held", "_is_spoilt", "_loop", "_parser", "_place", "_transport",
                 "_unparsed", "_waiter", "body")  # fmt: skip

    def __init__(self, connection: Connection, place: Place, loop: asyncio.AbstractEventLoop) -> None:
        handler, transport = connection.protocol, connection.transport
        if handler is None or transport is None:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        self.body: Body | None = None
        self._transport = transport
        self._place = place
        self._loop = loop
        self._unparsed = b""
        self._head: RawResponseMessage | None = None
        self._failure: Exception | None = None
        self._parser: HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_held = self._is_spoilt = False
        if getattr(transport, "max_size", 0) > READ_BYTES:
            transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        transport.set_protocol(self)
        if handler.should_close:  # an upstream that has answered already, to refuse, say
            self._parser = self._new_parser()
            handler.set_parser(self, None)
        handler.transport = None  # so that it closes nothing when aiohttp has it forget the connection
        connection.close()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take over *data*, what aiohttp's protocol has received before."""
        self.data_received(data)
        return False, b""

    def _new_parser(self) -> HttpResponseParser:
        """Return the parser of one answer: what follows an answer that is over is no part of the next."""
        return HttpResponseParser(
            self,  # type: ignore[arg-type]  # all that it does with it is to have it hold up the upstream
            self._loop,
            HELD_BYTES,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
        )

    async def ask(self, sent: bytes) -> RawResponseMessage:
        """Send the bytes *sent* and return the head of the answer; close on a failure, which is raised."""
        try:
            if self._parser is None:
                self._parser = self._new_parser()
            self._place.send(self._transport, sent)
            while (head := self._head) is None:
                if self._failure is not None:
                    raise self._failure
                await self.news()
                if self._unparsed:
                    self._parse(b"")
            self._head = None
            return head
        except BaseException:
            self.close()
            raise

    def news(self) -> Awaitable[None]:
        """Return what to await until something has come, or the connection is lost; one task at a time may."""
        waiter = self._waiter = self._loop.create_future()
        return done(waiter)

    def end(self) -> None:
        """End the exchange: serve again when the answer is whole and both sides keep the connection."""
        if self._is_spoilt or self.body is None or not self.body.is_whole or (_IN_PYTHON and self._has_rest()):
            self.close()
            return
        self._parser = self.body = self._waiter = None
        self._place.keep(self)

    def close(self) -> None:
        """Close it; at once, too, where an upstream has not read the request to its end."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()
        self._place.leaves(self)
        self._parser = None
        self._unparsed = b""
        self._broken(aiohttp.ClientConnectionError("Connection closed"))

    def hurry(self) -> None:
        """Do not wait for the other side's farewell, which TLS has; it has been closed."""
        self._transport.abort()

    @property
    def is_closing(self) -> bool:
        """Whether it cannot serve any more."""
        return self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Have *data* parsed, in a crowd by whoever waits for it, and tell whoever waits."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._parse(data)
            return
        if self.body is None and len(self._place.busy) > IN_A_ROW:
            self._unparsed = data
        else:
            self._parse(data)
            if waiter.done():  # it has been told of a failure
                return
        waiter.set_result(None)

    def _parse(self, data: bytes) -> None:
        """Have the parser read *data*, after what it has not read yet."""
        parser = self._parser
        if parser is None:  # it answers nothing
            self.close()
            return
        if self._unparsed:
            data, self._unparsed = self._unparsed + data, b""
        try:
            messages, _, _ = parser.feed_data(data)
        except Exception as error:
            self._transport.close()
            self._broken(error if isinstance(error, HttpProcessingError) else HttpProcessingError())
            return
        if messages:
            self._begun(messages)

    def _begun(self, messages: Sequence[tuple[RawResponseMessage, aiohttp.StreamReader]]) -> None:
        """Take note of the answer that has begun; a second one spoils the connection."""
        for head, body in messages:
            if head.code in _BEFORE_THE_ANSWER:
                continue
            self._is_spoilt = head.should_close or self.body is not None or head.code == _SWITCHING_PROTOCOLS
            if self.body is None:
                self._head, self.body = head, self._as_body(body)

    def _as_body(self, reader: aiohttp.StreamReader) -> Body:
        """Return *reader*, made by the parser, as a body.

        In place of the one that all answers without a body share, in aiohttp's parser in Python more than in that in C,
        it is a new one.
        """
        if type(reader) is not aiohttp.StreamReader:
            reader = aiohttp.StreamReader(self, HELD_BYTES, loop=self._loop)  # type: ignore[arg-type]
            reader.feed_eof()
        reader.__class__ = Body
        return reader  # type: ignore[return-value]

    def _broken(self, error: Exception) -> None:
        """Tell whoever waits that *error* has ended the answer, if it has not ended yet."""
        body, waiter = self.body, self._waiter
        if body is None:
            self._failure = self._failure or error
        elif not body.is_eof() and body.exception() is None:
            body.set_exception(error)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _has_rest(self) -> bool:
        """Whether the parser in Python holds bytes that belong to no answer it has told of."""
        return bool(getattr(self._parser, "_tail", b"") or getattr(self._parser, "_lines", ()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and the pool."""
        self._place.lost(self)
        if self._unparsed:
            self._parse(b"")
        self._is_spoilt = True
        error: Exception | None = exc
        begun: Any = None
        if exc is None and self._parser is not None:
            try:
                has_rest = _IN_PYTHON and self._has_rest()
                begun = self._parser.feed_eof() or has_rest or None  # an answer of no told length is whole now
            except Exception as unfinished:
                error = unfinished
        if self.body is None:
            lost = aiohttp.ClientOSError(*exc.args) if isinstance(exc, OSError) else exc
            self._broken(lost or aiohttp.ServerDisconnectedError(begun))
        else:
            failure = aiohttp.ClientPayloadError("the answer is not complete")
            failure.__cause__ = error
            self._broken(failure)

    def pause_reading(self) -> None:
        """Hold up the upstream: the parser has fed what is too much."""
        parser = self._parser
        if parser is not None:
            self._is_held = True
            parser.pause_reading()
            self._transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Let the upstream go on, and the parser first, when they are held up."""
        if not self._is_held:
            return
        self._is_held = False
        if resume_parser and self._parser is not None:
            self.data_received(b"")
        if not self._is_held:
            self._transport.resume_reading()
