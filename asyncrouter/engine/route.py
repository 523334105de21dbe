"""A route: one group with its compiled hooks and its composed calls, read once when a request enters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs

from asyncrouter.hooks.pipeline import Pipeline
from asyncrouter.hooks.specs import AttemptCall
from asyncrouter.providers.base import Provider
from asyncrouter.state.budgets import RetryBudget
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response

StreamCall = Callable[[Request, Deployment], AsyncIterator[Chunk]]


@attrs.frozen(kw_only=True, eq=False)
class Hedge:
    """When a second attempt starts beside the first, and how many may.

    ``after_s`` is a fixed delay in seconds; where it is ``None``, the delay is the ``quantile`` (0 to 1) of the first
    deployment's latencies.  ``budget`` bounds the extra attempts of the group.
    """

    budget: RetryBudget
    after_s: float | None = None
    quantile: float = 0.95


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """See the module.  ``defaults``: for each deployment that has any, the parameters laid under the caller's."""

    group: ModelGroup
    pipeline: Pipeline
    complete: AttemptCall
    stream: StreamCall
    defaults: Mapping[str, Mapping[str, Any]]
    hedge: Hedge | None = None

    def prepared(self, request: Request, deployment: Deployment) -> Request:
        """Return *request* with the defaults for *deployment* laid under its parameters."""
        defaults = self.defaults.get(deployment.name)
        return request if defaults is None else attrs.evolve(request, params={**defaults, **request.params})


FindRoute = Callable[[str], Route]
"""Finds the route of a group by name in the snapshot that the request entered with."""


def make_route(
    group: ModelGroup, pipeline: Pipeline, providers: Mapping[str, Provider], hedge: Hedge | None = None
) -> Route:
    """Compose the calls of *group*: its hooks around the providers of its deployments."""
    timeouts = group.timeouts

    async def complete(request: Request, deployment: Deployment) -> Response:
        return await providers[deployment.provider].complete(request, deployment, timeouts)

    def stream(request: Request, deployment: Deployment) -> AsyncIterator[Chunk]:
        chunks: AsyncIterator[Chunk] = providers[deployment.provider].stream(request, deployment, timeouts)
        if pipeline.around_attempt_stream is not None:
            chunks = pipeline.around_attempt_stream(chunks, request, deployment)
        return chunks

    defaults = {one.name: {**group.params, **one.params} for one in group.deployments if group.params or one.params}
    return Route(
        group=group,
        pipeline=pipeline,
        complete=pipeline.around_attempt(complete),
        stream=stream,
        defaults=defaults,
        hedge=hedge,
    )
