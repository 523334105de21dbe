"""Extra attempts: what a request makes beyond its first one, and whether the shared budget allows it.

Retries, hedges, and fallbacks to a deployment of which nobody knows whether it is well (:mod:`.unproven`) draw on the
budget.  A router that a provider of another router calls is inside of that one: an extra attempt inside counts in the
outer router too, so that one share bounds all layers together; each has a floor of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from asyncrouter.providers.base import Provider
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course

OUTER: ContextVar[tuple[Fleet, ...]] = ContextVar("asyncrouter_outer", default=())
"""The fleets of the routers that a call is inside of, the nearest first."""
EXHAUSTED = "retry budget exhausted"


def left(course: Course) -> float:
    """Return how many more extra attempts the budget would allow now; less than 1: none."""
    fleet = course.fleet
    return max(_share_left(fleet), fleet.budget.floor_left(fleet.now(), fleet.answered_at, _alone(course)))


def wait_s(course: Course) -> float:
    """Return after how many seconds one more may be allowed though nobody answers; infinite: not by time alone."""
    if left(course) >= 1.0:
        return 0.0
    fleet = course.fleet
    return fleet.budget.wait_s(fleet.now(), fleet.answered_at, _alone(course))


def _alone(course: Course) -> int:
    """Return how many extra attempts the request may make if it is alone under way; 0 when it is not."""
    return course.group.max_attempts - 1 if len(course.first_route.in_flight) <= 1 else 0


def may_draw(course: Course) -> bool:
    """Whether the budget allows one more extra attempt now; noted when it does not."""
    if left(course) >= 1.0:
        return True
    note(course, EXHAUSTED)
    return False


def may_draw_in_time(course: Course) -> bool:
    """Whether the budget may allow one more before the request's deadline, though nobody answers."""
    return may_draw(course) or course.fleet.now() + wait_s(course) < course.deadline


def note(course: Course, why: str) -> None:
    """Note *why* an attempt was refused, once in a row."""
    if course.trace.notes[-1:] != [why]:
        course.trace.notes.append(why)


def draw(fleet: Fleet) -> None:
    """Count an extra attempt of *fleet*; it must be handed back to its budget when it ends."""
    fleet.budget.draw(fleet.now(), fleet.answered_at, shared=_share_left(fleet) >= 1.0)
    for outer in OUTER.get():
        outer.budget.count(outer.now())


def _share_left(fleet: Fleet) -> float:
    return min(one.budget.share_left(one.now()) for one in (fleet, *OUTER.get()))


class Inside:
    """A provider whose calls are inside of the router that *fleet* belongs to."""

    def __init__(self, provider: Provider, fleet: Fleet) -> None:
        self._provider = provider
        self._fleet = fleet

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Return the provider's answer."""
        token = OUTER.set((self._fleet, *OUTER.get()))
        try:
            return await self._provider.complete(request, deployment, timeouts)
        finally:
            OUTER.reset(token)

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Yield the provider's chunks; only while one is awaited is the call inside: this may run in several tasks."""
        chunks: Any = self._provider.stream(request, deployment, timeouts)
        try:
            while True:
                token = OUTER.set((self._fleet, *OUTER.get()))
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                finally:
                    OUTER.reset(token)
                yield chunk
        finally:
            aclose = getattr(chunks, "aclose", None)
            if aclose is not None:
                await aclose()

    async def aclose(self) -> None:
        """Close the provider."""
        await self._provider.aclose()


class Layer(dict[str, Provider]):
    """The *providers* of a router as it calls them: directly where they say ``calls_routers = False``."""

    def __init__(self, providers: Mapping[str, Provider], fleet: Fleet) -> None:
        super().__init__()
        self._providers = providers
        self._fleet = fleet

    def __missing__(self, name: str) -> Provider:
        """Return the provider called *name*, asked for the first time."""
        called = self._providers[name]
        if getattr(called, "calls_routers", True):
            called = Inside(called, self._fleet)
        self[name] = called
        return called
