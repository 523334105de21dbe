"""What ``router.stream()`` returns: an async context manager over the chunks."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Self

from asyncrouter.engine.streaming import StreamCall
from asyncrouter.types.response import Chunk, Response


class RoutedStream:
    """One streamed answer.

    Entering waits for the first output, so that what fails before it raises there; leaving closes the upstream, also in
    the middle.  After the last chunk :attr:`response` is the assembled answer.
    """

    def __init__(self, call: StreamCall) -> None:
        self._call = call
        self._entered = False

    def __del__(self) -> None:
        """Have the upstream closed, should nobody have left the stream: it cannot be read any more."""
        if not self._call.is_over:
            self._call.dropped()

    async def __aenter__(self) -> Self:
        """Wait for the first output."""
        if self._entered:
            raise RuntimeError("this stream was entered before; ask for a new one with router.stream(...)")
        self._entered = True
        await self._call.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close the stream, its hooks and its upstream."""
        await self._call.aclose()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    def __anext__(self) -> Awaitable[Chunk]:
        """Return the next chunk; raise the typed error when the stream is interrupted."""
        if not self._entered:
            raise RuntimeError("enter the stream first: async with router.stream(...) as stream")
        return self._call.__anext__()

    @property
    def response(self) -> Response:
        """The assembled answer with usage, cost and trace; raises ``RuntimeError`` before the last chunk came."""
        if self._call.response is None:
            raise RuntimeError("the answer is not complete: read the stream to its end first")
        return self._call.response
