"""A streamed answer, read chunk by chunk, and the rules of its end.

A stream has ended properly when ``[DONE]`` came, or when every choice that began has given its finish reason: then the
usage and ``[DONE]`` are waited for a little longer, and may be missing.  Anything else is an interruption.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from asyncrouter.providers.answers import OUT_OF_TOKENS, NoAnswer, as_chunks, checked_completion, error_in
from asyncrouter.providers.answers import finish_reason_of as reason_of
from asyncrouter.providers.codec import NotJson, decode
from asyncrouter.providers.sse import EventTooLarge, SseParser
from asyncrouter.types.errors import MalformedResponse, ProviderError, StreamInterrupted
from asyncrouter.types.response import Chunk, new_chunk

if TYPE_CHECKING:
    from asyncrouter.providers.exchange import Exchange

DONE = b"[DONE]"
STREAM_FACTOR = 16
"""A stream may be so many times longer than a whole answer: every token comes in an envelope of its own."""
DRAIN_S = 0.1
"""How long the end of the HTTP body is waited for after ``[DONE]``, so that the connection can serve again."""
_BLANK = b"\xef\xbb\xbf \t\r\n"

Refuse = Callable[[NoAnswer], ProviderError]
Malformed = Callable[[str], MalformedResponse]


class ChunkReader:
    """Turns one exchange into chunks.

    *refuse* and *malformed* make the errors; *choices* is how many were asked for; *grace_s* bounds the wait after the
    last finish reason; *max_bytes* a whole answer that is sent in place of a stream, which may be
    :data:`STREAM_FACTOR` times as long.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        refuse: Refuse,
        malformed: Malformed,
        choices: int,
        grace_s: float,
        max_bytes: int,
    ) -> None:
        self._exchange = exchange
        self._choices = choices
        self._grace_s = grace_s
        self._max_bytes = max_bytes
        self._refuse = refuse
        self._malformed = malformed
        self._parser = SseParser()
        self._size = 0
        self._is_events = False
        self._done = False
        self._at_end = False
        self._begun: set[object] = set()
        self._finished: set[object] = set()
        self._has_output = False
        self._grace_until: float | None = None
        self._failure: ProviderError | None = None

    async def read(self) -> Sequence[Chunk] | None:
        """Return the chunks of the next network read, perhaps none of them; ``None`` at the proper end.

        Raises what the stream turned into, once everything before it has been returned.
        """
        if self._done or self._at_end:
            await self._end()
            return None
        try:
            data = await (self._last_data() if self._finished else self._exchange.read())
        except ProviderError as error:
            raise _interrupted(error) from None
        if not data:
            self._at_end = True
            return self._rest()
        self._size += len(data)
        if self._size > self._max_bytes * STREAM_FACTOR:
            raise self._malformed(f"the stream is longer than {self._max_bytes * STREAM_FACTOR} bytes")
        if not self._is_events:
            start = data.lstrip(_BLANK)[:1]
            if start in (b"{", b"["):
                return await self._whole_answer(data)
            if start == b"<":
                raise self._malformed("the answer is no stream of events but HTML")
            self._is_events = bool(start)
        return self._chunks_of(data)

    async def _last_data(self) -> bytes:
        """Return the next network read after a finish reason, ``b""`` when there is no more to wait for."""
        if not self._expects_no_more:
            self._grace_until = None
            return await self._exchange.read()
        if self._grace_until is None:
            self._grace_until = asyncio.get_running_loop().time() + self._grace_s
        try:
            async with asyncio.timeout_at(self._grace_until):
                return await self._exchange.read()
        except (TimeoutError, ProviderError):
            return b""

    @property
    def _is_finished(self) -> bool:
        """Whether every choice that has begun has given its finish reason."""
        return bool(self._finished) and self._finished >= self._begun

    @property
    def _expects_no_more(self) -> bool:
        """Whether every choice asked for has ended; an upstream that sends fewer must end the stream itself."""
        return len(self._finished) >= self._choices and self._is_finished

    def _chunks_of(self, data: bytes) -> list[Chunk]:
        try:
            events: Iterable[bytes] = self._parser.feed(data)
        except EventTooLarge as error:
            raise self._malformed(str(error)) from None
        chunks: list[Chunk] = []
        for event in events:
            if event == DONE:
                self._done = True
                break
            if event:
                try:
                    chunks.append(self._chunk(event))
                except ProviderError as error:
                    self._failure = error
                    self._at_end = True
                    break
        return chunks

    def _chunk(self, event: bytes) -> Chunk:
        """Return the chunk that *event* holds, and note how far its choices have come."""
        try:
            raw = decode(event)
        except NotJson:
            raise self._malformed("a chunk is no JSON") from None
        if self._has_output and self._adds_only(raw):
            return new_chunk(raw)
        if type(raw) is not dict or "choices" not in raw or raw.get("error"):
            error = error_in(raw)
            if error is not None:
                raise self._refuse(NoAnswer("holds an error", error=error))
            if not isinstance(raw, dict):
                raise self._malformed("a chunk is no JSON object")
        try:
            self._note(raw.get("choices"))
        except NoAnswer as refusal:
            raise self._refuse(refusal) from None
        chunk = new_chunk(raw)
        self._has_output = self._has_output or chunk.is_output
        return chunk

    def _adds_only(self, raw: Any) -> bool:
        """Whether *raw* is a further piece of a choice that has begun, as nearly all are: it has nothing to note."""
        try:
            (choice,) = raw["choices"]
            if choice["index"] not in self._begun or "error" in choice or "error" in raw:
                return False
            return not choice.get("finish_reason")
        except (TypeError, LookupError, ValueError):
            return False

    def _note(self, choices: Any) -> None:
        if not isinstance(choices, list):
            return
        for choice in choices:
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                self._begun.add(index)
                reason = reason_of(choice)
                if reason:
                    self._finished.add(index)
                    # An answer that ran out of tokens may be empty, and is one all the same.
                    self._has_output = self._has_output or reason == OUT_OF_TOKENS

    def _rest(self) -> Sequence[Chunk]:
        """Return what the end of the stream has cut off, where it is whole; half a chunk is none."""
        try:
            event = self._parser.end()
            if event == DONE:
                self._done = True
            elif event:
                decode(event)
                return [self._chunk(event)]
        except (EventTooLarge, NotJson):
            pass
        return ()

    async def _end(self) -> None:
        """Check that this is the end, and leave the connection ready for another call where that is quickly done."""
        if self._failure is not None:
            raise self._failure
        ended = self._is_finished or (self._done and not self._finished)
        if not ended:
            text = "some choices have not ended" if self._finished else "there was no finish reason and no [DONE]"
            raise _interrupted(self._malformed(f"the stream broke off: {text}"))
        if not self._has_output:
            raise self._malformed("the stream held no answer")
        if self._done and not self._exchange.at_end:
            with contextlib.suppress(TimeoutError, ProviderError):
                async with asyncio.timeout(DRAIN_S):
                    await self._exchange.read()

    async def _whole_answer(self, data: bytes) -> Sequence[Chunk]:
        """Return a whole completion, sent in place of a stream, as chunks."""
        pieces = [data]
        while data := await self._exchange.read():
            pieces.append(data)
            self._size += len(data)
            if self._size > self._max_bytes:
                raise self._malformed(f"the answer is longer than {self._max_bytes} bytes")
        try:
            completion = checked_completion(decode(b"".join(pieces)))
        except NotJson:
            raise self._malformed("the answer is neither a stream of events nor JSON") from None
        except NoAnswer as refusal:
            raise self._refuse(refusal) from None
        self._done = self._has_output = True
        return [Chunk(raw) for raw in as_chunks(completion)]


def _interrupted(error: ProviderError) -> StreamInterrupted:
    return StreamInterrupted(str(error), deployment=error.deployment, status=error.status, request_id=error.request_id)
