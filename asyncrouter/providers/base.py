"""What every provider offers: one wire API behind three methods."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response


@runtime_checkable
class Provider(Protocol):
    """An object that speaks one wire API; it keeps no routing state and never retries.

    The engine merges the parameters, bounds the attempt and records its outcome.  A provider sends one request,
    translates the answer to chat-completions shape, and translates every failure to a
    :class:`~asyncrouter.types.errors.ProviderError`.  Cancellation passes through and closes what was open.

    A provider that never calls another router may say so with ``calls_routers = False``: the retry budgets of routers
    that are inside of one another need not be joined for it.  One whose chunks come several at a time may offer
    ``reads`` besides (:data:`Reads`), which is asked in place of ``stream`` where nobody stands between.
    """

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Send *request* to *deployment* and return the whole answer.

        ``request.params`` already holds the deployment's defaults.  Of *timeouts* only ``connect_s`` is the provider's
        care.  ``Response.usage`` is filled where the upstream sent it; trace and cost are added by the router.
        """
        ...

    def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Send *request* and yield the answer's chunks as they come; write it as an async generator.

        A chunk with usage comes last where the upstream sends one.  Ending without an upstream's own mark of the end
        is no end: raise :class:`~asyncrouter.types.errors.StreamInterrupted`.  Closing the generator closes the
        connection.
        """
        ...

    async def aclose(self) -> None:
        """Close what is open; called once, with the router."""
        ...


Reads = Callable[[Request, Deployment, Timeouts], AsyncGenerator[Sequence[Chunk], None]]
"""The chunks of ``stream`` as they came: all that one network read has brought, together, and never none."""


def reads_of(provider: Provider) -> Reads | None:
    """Return the ``reads`` of *provider*, ``None`` where it has none or where its ``stream`` is another's."""
    if not _belong_together(type(provider)) or "stream" in getattr(provider, "__dict__", ()):
        return None
    reads: Reads = provider.reads  # type: ignore[attr-defined]
    return reads


@functools.lru_cache(maxsize=256)
def _belong_together(kind: type[Any]) -> bool:
    """Whether the class that *kind* has its ``stream`` from defines ``reads`` too; a subclass may change one alone."""
    defining = next((one for one in kind.__mro__ if not {"reads", "stream"}.isdisjoint(vars(one))), kind)
    return {"reads", "stream"} <= vars(defining).keys()
