"""A route: one group with its compiled hooks and its composed calls, read once when a request enters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs

from asyncrouter.engine.inflight import InFlight
from asyncrouter.engine.nesting import seen_from_outside
from asyncrouter.engine.savings import Baselines, baselines_of
from asyncrouter.hooks.cancelled import STRANGERS_FAULTS, is_own_fault
from asyncrouter.hooks.pipeline import Pipeline
from asyncrouter.hooks.specs import AttemptCall
from asyncrouter.providers.base import Provider, reads_of
from asyncrouter.state.hedges import SHORTEST_DELAY_S, HedgeBudget, Paces
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.errors import AsyncRouterError, MalformedResponse
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response

StreamCall = Callable[[Request, Deployment], AsyncIterator[Chunk]]
ReadsCall = Callable[[Request, Deployment], AsyncIterator[Sequence[Chunk]] | None]


@attrs.frozen(kw_only=True, eq=False)
class Hedge:
    """When a second attempt starts beside the first, and how many may.

    ``after_s`` is a fixed delay in seconds; where it is ``None``, ``paces`` tells the delay by the first deployment's
    recent latencies.  ``budget`` bounds the extra attempts of the group.
    """

    budget: HedgeBudget
    after_s: float | None = None
    paces: Paces | None = None

    def delay_s(self, deployment: str, now: float, *, streamed: bool) -> float | None:
        """Return after how many seconds to hedge a call of *deployment*; ``None`` while that is not known."""
        if self.paces is None:
            return self.after_s
        delay_s = self.paces.delay_s(deployment, now, streamed=streamed)
        return None if delay_s is None else max(delay_s, SHORTEST_DELAY_S)


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """See the module.

    ``defaults``: for each deployment that has any, the parameters laid under the caller's.  ``in_flight``: the calls
    under way in the same version of the configuration, of all its routes.  ``reads``: ``stream`` by network reads, or
    ``None`` where the provider or the hooks go by chunks.  ``baselines``: what costs are compared with.
    """

    group: ModelGroup
    pipeline: Pipeline
    complete: AttemptCall
    stream: StreamCall
    reads: ReadsCall
    defaults: Mapping[str, Mapping[str, Any]]
    in_flight: InFlight
    hedge: Hedge | None = None
    baselines: Baselines | None = None

    def prepared(self, request: Request, deployment: Deployment) -> Request:
        """Return *request* with the defaults for *deployment* laid under its parameters."""
        defaults = self.defaults.get(deployment.name)
        return request if defaults is None else attrs.evolve(request, params={**defaults, **request.params})


FindRoute = Callable[[str], Route]
"""Finds the route of a group by name in the snapshot that the request entered with."""


def make_route(
    group: ModelGroup,
    pipeline: Pipeline,
    providers: Mapping[str, Provider],
    in_flight: InFlight,
    hedge: Hedge | None = None,
) -> Route:
    """Compose the calls of *group*: its hooks around the providers of its deployments."""
    timeouts = group.timeouts

    async def complete(request: Request, deployment: Deployment) -> Response:
        try:
            response = await providers[deployment.provider].complete(request, deployment, timeouts)
        except STRANGERS_FAULTS as error:
            raise_as_provider(error, deployment)
        if not isinstance(response, Response):
            raise provider_fault(deployment, response)
        return response

    def stream(request: Request, deployment: Deployment) -> AsyncIterator[Chunk]:
        chunks: AsyncIterator[Chunk] = providers[deployment.provider].stream(request, deployment, timeouts)
        if pipeline.around_attempt_stream is not None:
            chunks = pipeline.around_attempt_stream(_checked(chunks, deployment), request, deployment)
        return chunks

    def reads(request: Request, deployment: Deployment) -> AsyncIterator[Sequence[Chunk]] | None:
        if pipeline.around_attempt_stream is not None or timeouts.min_chunks_per_s:  # each chunk is looked at
            return None
        by_reads = reads_of(providers[deployment.provider])
        return None if by_reads is None else by_reads(request, deployment, timeouts)

    defaults = {one.name: {**group.params, **one.params} for one in group.deployments if group.params or one.params}
    return Route(
        group=group,
        pipeline=pipeline,
        complete=pipeline.around_attempt(complete),
        stream=stream,
        reads=reads,
        defaults=defaults,
        in_flight=in_flight,
        hedge=hedge,
        baselines=baselines_of(group.deployments),
    )


def raise_as_provider(error: BaseException, deployment: Deployment) -> NoReturn:
    """Raise the :class:`~asyncrouter.types.errors.ProviderError` that *error*, raised by a provider, amounts to."""
    if not isinstance(error, AsyncRouterError):
        raise provider_fault(deployment, error) from error
    seen = seen_from_outside(error, deployment)
    if seen is error:
        raise error
    raise seen from error


def provider_fault(deployment: Deployment, fault: object) -> MalformedResponse:
    """Return the error for a provider that raised or returned what no provider may: a failed attempt like others.

    Only the class is told: a stranger's message may hold anything.  Raises *fault* when it cancels the call.
    """
    if isinstance(fault, BaseException) and not is_own_fault(fault):
        raise fault
    what = "raised" if isinstance(fault, BaseException) else "returned"
    return MalformedResponse(
        f"the provider {deployment.provider!r} {what} {type(fault).__name__}", deployment=deployment.name
    )


async def _checked(chunks: AsyncIterator[Chunk], deployment: Deployment) -> AsyncIterator[Chunk]:
    """Yield *chunks*, so that the hooks around them see no fault but a provider's error."""
    try:
        async for chunk in chunks:
            if not isinstance(chunk, Chunk):
                raise provider_fault(deployment, chunk)
            yield chunk
    except STRANGERS_FAULTS as error:
        raise_as_provider(error, deployment)
    finally:
        aclose: Any = getattr(chunks, "aclose", None)
        if aclose is not None:
            await aclose()
