"""The wish to ask several at once, laid over whatever selects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from asyncrouter.types.decisions import Parallel, Selection
from asyncrouter.types.deployments import Deployment

Select = Callable[..., Any]


def in_parallel(select: Select, parallel: Parallel) -> Select:
    """Return *select* with the wish to ask the first of its order at once; a selection's own wish stands."""

    def selected(request: Any, estimate: Any, candidates: tuple[Deployment, ...], state: Any) -> Any:
        answer = select(request, estimate, candidates, state)
        if hasattr(answer, "__await__"):
            return _awaited(answer, candidates, parallel)
        return _widened(answer, candidates, parallel)

    return selected


async def _awaited(
    answer: Awaitable[Selection | None], candidates: tuple[Deployment, ...], parallel: Parallel
) -> Selection:
    return _widened(await answer, candidates, parallel)


def _widened(selection: Selection | None, candidates: tuple[Deployment, ...], parallel: Parallel) -> Selection:
    if selection is None:
        selection = Selection(deployments=candidates, reason="configured order")
    if selection.parallel > 1:
        return selection
    return attrs.evolve(selection, parallel=parallel.k, take=parallel.take)
