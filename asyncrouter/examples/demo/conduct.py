"""Conducts the run: sends the prompts, stops one server midway, and starts it again.

Nothing is timed: the server stops and starts when so many calls have ended, and the last prompts wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio
import attrs

from asyncrouter.examples.demo.prompts import Task
from asyncrouter.examples.demo.record import BreakerChange, Call, Outage, Run
from asyncrouter.examples.demo.setting import STOPPED, Server, demo_config, stopped_provider
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.router import Router
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.events import AttemptFinished, BreakerChanged, Event
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Outcome

CONCURRENCY = 6
"""Calls under way at once: more than the two times two that the servers answer at once."""


@attrs.frozen
class Cues:
    """After how many ended calls the server is stopped, and told to start again."""

    stop_after: int
    start_after: int


@attrs.define
class Progress:
    """What is known while it runs."""

    total: int
    ended: int = 0
    failed_attempts: int = 0
    server: str = "starting"


Show = Callable[[Progress], None]


def cues_for(tasks: Sequence[Task]) -> Cues:
    """Return the cues: the server is down for the middle third of the prompts that are not kept back for later."""
    unreserved = sum(not task.reserved for task in tasks)
    return Cues(unreserved // 3, unreserved * 2 // 3)


async def conduct(tasks: Sequence[Task], servers: Mapping[str, Server], show: Show) -> Run:
    """Run all *tasks* over *servers*, telling *show* how far it is; nothing of the servers outlives it.

    Raises :class:`~asyncrouter.types.errors.ConnectionFailed` when a server does not start.
    """
    performance = Performance(tasks, servers[stopped_provider()], show)
    async with Router.from_config(demo_config(servers), plugins=[performance]) as router:
        for server in servers.values():
            await server.start()
        return await performance.run(router)


class Performance:
    """One run; it watches the router as a plugin."""

    def __init__(self, tasks: Sequence[Task], server: Server, show: Show) -> None:
        self._tasks = tuple(tasks)
        self._server = server
        self._show = show
        self._progress = Progress(len(self._tasks))
        self._calls: list[Call] = []
        self._breaker: list[BreakerChange] = []
        self._began_at = 0.0
        self._cues = cues_for(tasks)
        self._is_down = anyio.Event()
        self._runs_again = anyio.Event()
        self._stopped_s = 0.0
        self._outage: Outage | None = None
        self._start_error: AsyncRouterError | None = None
        show(self._progress)

    async def run(self, router: Router) -> Run:
        """Return what happened."""
        self._began_at = anyio.current_time()
        self._server_is("running")
        waiting = iter(self._tasks)
        async with anyio.create_task_group() as group:
            for _ in range(CONCURRENCY):
                group.start_soon(self._work, router, waiting)
        if self._start_error is not None:
            raise self._start_error
        assert self._outage is not None  # noqa: S101 (every call has ended, so every cue was reached)
        return Run(
            tasks=self._tasks,
            calls=tuple(sorted(self._calls, key=lambda call: call.task.number)),
            outage=self._outage,
            breaker=tuple(self._breaker),
            concurrency=CONCURRENCY,
            began_at=self._began_at,
            duration_s=self._now(),
        )

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Follow failed attempts and the breakers."""
        if isinstance(event, AttemptFinished) and event.attempt.outcome is Outcome.FAILED:
            self._progress.failed_attempts += 1
            self._show(self._progress)
        elif isinstance(event, BreakerChanged):
            self._breaker.append(BreakerChange(deployment=event.deployment, at_s=self._now(), state=event.after))

    async def _work(self, router: Router, waiting: Iterator[Task]) -> None:
        for task in waiting:  # shared by all workers
            if task.reserved:
                await self._runs_again.wait()
            self._calls.append(await self._call(router, task))
            self._progress.ended = ended = len(self._calls)
            self._show(self._progress)
            if ended == self._cues.stop_after:
                await self._stop()
            elif ended == self._cues.start_after:
                await self._start()

    async def _call(self, router: Router, task: Task) -> Call:
        begun_s = self._now()
        response, failure = None, None
        try:
            response = await ask(router, task)
        except AsyncRouterError as error:
            failure = error
        return Call(task=task, begun_s=begun_s, ended_s=self._now(), response=response, error=failure)

    async def _stop(self) -> None:
        self._stopped_s = self._now()
        await self._server.stop()
        self._server_is("stopped")
        self._is_down.set()

    async def _start(self) -> None:
        await self._is_down.wait()
        told_to_start_s = self._now()
        self._server_is("starting")
        try:
            await self._server.start()
        except AsyncRouterError as error:
            self._start_error = error
        self._outage = Outage(
            deployment=STOPPED, stopped_s=self._stopped_s, told_to_start_s=told_to_start_s, ready_s=self._now()
        )
        self._server_is("running")
        self._runs_again.set()

    def _server_is(self, state: str) -> None:
        self._progress.server = state
        self._show(self._progress)

    def _now(self) -> float:
        return anyio.current_time() - self._began_at


async def ask(router: Router, task: Task) -> Response:
    """Return the answer to *task*, streamed if it says so."""
    if not task.stream:
        return await router.generate(task.messages, **task.params)
    async with router.stream(task.messages, **task.params) as stream:
        async for _ in stream:
            pass
        return stream.response
