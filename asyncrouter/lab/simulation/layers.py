"""Routers before one another: each is the upstream of the one before it, as gateways behind gateways are."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from asyncrouter.router import Router
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    DeadlineExceeded,
    NoDeploymentAvailable,
    Overloaded,
    ProviderError,
    RoutingError,
    ServerError,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response


class NextRouter:
    """The provider of an outer router's deployments: it asks the router behind it."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:  # noqa: ARG002
        """Ask the next router for a whole answer."""
        try:
            return await self._router.generate(
                request.messages, complexity=request.complexity, metadata=request.metadata, **request.params
            )
        except RoutingError as error:
            raise as_upstream(error) from error

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        """Ask the next router for a stream."""
        call = self._router.stream(
            request.messages, complexity=request.complexity, metadata=request.metadata, **request.params
        )
        try:
            async with call as chunks:
                async for chunk in chunks:
                    yield chunk
        except RoutingError as error:
            raise as_upstream(error) from error

    async def aclose(self) -> None:
        """Nothing is open: who made the router closes it."""


def as_upstream(error: RoutingError) -> ProviderError:
    """Return what a gateway's callers are told of its router's *error*: a status, and how long to stay away."""
    if isinstance(error, NoDeploymentAvailable):
        return Overloaded("no deployment behind it", status=503, retry_after_s=error.retry_after_s)
    if isinstance(error, DeadlineExceeded):
        return ServerError("its deadline passed", status=504)
    return ServerError("every attempt behind it failed", status=502)
