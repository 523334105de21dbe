"""Routers before one another: each is the upstream of the one before it, and the engine takes its errors as such."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from asyncrouter.router import Router
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response


class NextRouter:
    """The provider of an outer router's deployments: it asks the router behind it."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:  # noqa: ARG002
        """Ask the next router for a whole answer."""
        return await self._router.generate(
            request.messages, complexity=request.complexity, metadata=request.metadata, **request.params
        )

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        """Ask the next router for a stream."""
        call = self._router.stream(
            request.messages, complexity=request.complexity, metadata=request.metadata, **request.params
        )
        async with call as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Nothing is open: who made the router closes it."""
