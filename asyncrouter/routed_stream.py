"""What ``router.stream()`` returns: an async context manager over the chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from asyncrouter.engine.streaming import StreamCall
from asyncrouter.types.response import Chunk, Response


class RoutedStream:
    """One streamed answer.

    Entering waits for the first output, so that what fails before it raises there; leaving closes the upstream, also in
    the middle.  After the last chunk :attr:`response` is the assembled answer.
    """

    def __init__(self, call: StreamCall) -> None:
        self._call = call
        self._chunks: AsyncIterator[Chunk] | None = None
        self._first: Chunk | None = None

    async def __aenter__(self) -> Self:
        """Wait for the first output."""
        if self._chunks is not None:
            raise RuntimeError("this stream was entered before; ask for a new one with router.stream(...)")
        self._chunks = self._call.chunks()
        self._first = await anext(self._chunks, None)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close the stream, its hooks and its upstream."""
        close: Any = getattr(self._chunks, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            await self._call.aclose()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Chunk:
        """Return the next chunk; raise the typed error when the stream is interrupted."""
        if self._chunks is None:
            raise RuntimeError("enter the stream first: async with router.stream(...) as stream")
        if self._first is not None:
            chunk, self._first = self._first, None
            return chunk
        return await anext(self._chunks)

    @property
    def response(self) -> Response:
        """The assembled answer with usage, cost and trace; raises ``RuntimeError`` before the last chunk came."""
        if self._call.response is None:
            raise RuntimeError("the answer is not complete: read the stream to its end first")
        return self._call.response
