"""What a watched router knows of its calls: each one that a test began, and each attempt as its provider saw it.

The router's own records are held against these, never against themselves.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.engine.timers import Timers
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, usage_of


@attrs.define(eq=False)
class Call:
    """One routed call that a test began.  ``late_s``: how long after its deadline it gave the test back the word."""

    began_at: float
    deadline: float
    policy: str
    outcome: str = "running"  # "answer", "error", "cancelled", "left" (a stream closed by its reader), "left late"
    outcomes: int = 0
    late_s: float = -math.inf
    response: Response | None = None
    error: BaseException | None = None
    chunks: list[Chunk] = attrs.field(factory=list)

    def end(self, outcome: str, *, response: Response | None = None, error: BaseException | None = None) -> None:
        """Note one end."""
        self.outcomes += 1
        self.outcome, self.response, self.error = outcome, response, error

    def gave_back(self, asked_at: float, now: float) -> None:
        """Note that the router was asked for something at one moment, and gave the word back at another."""
        self.late_s = max(self.late_s, now - max(self.deadline, asked_at))


@attrs.define(eq=False)
class Sent:
    """One call of a provider, as it looks from between the engine and the provider."""

    request: str
    deployment: str
    streamed: bool
    started_at: float
    ended_at: float | None = None
    outcome: str = "running"  # "ok", "failed", "cancelled", "closed"
    response: Response | None = None
    chunks: list[Chunk] = attrs.field(factory=list)
    error: BaseException | None = None

    @property
    def text(self) -> str:
        """The text that has come of it."""
        return self.response.text if self.response else whole(self.chunks)

    @property
    def finish_reason(self) -> str | None:
        """Why it was over, if its upstream said so."""
        if self.response is not None:
            return self.response.finish_reason
        return next((chunk.finish_reason for chunk in self.chunks if chunk.finish_reason), None)

    @property
    def usage(self) -> Any:
        """The usage that the upstream told, ``None`` when it told none."""
        if self.response is not None:
            return self.response.usage if self.response.usage.total_tokens else None
        told = [usage_of(chunk.raw) for chunk in self.chunks if chunk.raw.get("usage")]
        return told[-1] if told else None


class Watch:
    """A provider that notes what passes through it, and is otherwise the provider it is given."""

    def __init__(self, provider: Any, log: list[Sent]) -> None:
        self.provider = provider
        self.log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.provider, name)

    def _begin(self, request: Request, deployment: Deployment, *, streamed: bool) -> Sent:
        sent = Sent(request.id, deployment.name, streamed, _now())
        self.log.append(sent)
        return sent

    @staticmethod
    def _end(sent: Sent, error: BaseException | None) -> None:
        sent.ended_at, sent.error = _now(), error
        sent.outcome = _OUTCOMES.get(type(error), "failed")
        if sent.outcome == "cancelled" and sent.finish_reason:  # cut off within what follows a whole answer
            sent.outcome = "closed"

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Make the plain call."""
        sent = self._begin(request, deployment, streamed=False)
        try:
            response = await self.provider.complete(request, deployment, timeouts)
        except BaseException as error:
            self._end(sent, error)
            raise
        self._end(sent, None)
        if isinstance(response, Response):
            sent.response = response
        return response

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Any:
        """Make the streamed call."""
        sent = self._begin(request, deployment, streamed=True)
        chunks = self.provider.stream(request, deployment, timeouts)
        try:
            async for chunk in chunks:
                if isinstance(chunk, Chunk):
                    sent.chunks.append(chunk)
                yield chunk
        except BaseException as error:
            try:
                await chunks.aclose()
            finally:
                self._end(sent, error)
            raise
        self._end(sent, None)


_OUTCOMES: dict[type, str] = {
    type(None): "ok",
    GeneratorExit: "closed",
    asyncio.CancelledError: "cancelled",
}


def _now() -> float:
    return asyncio.get_running_loop().time()


class Surroundings:
    """The tasks, timers, sockets and complaints of the running event loop; compared before and after."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks = asyncio.all_tasks()
        self.timers = set(map(id, _live_timers(self.loop)))
        self.sockets = open_sockets()
        self.complaints: list[dict[str, Any]] = []
        self._before = self.loop.get_exception_handler()
        self.loop.set_exception_handler(lambda _loop, context: self.complaints.append(context))

    def restore(self) -> None:
        """Let the loop complain as it did before."""
        self.loop.set_exception_handler(self._before)

    def left(self) -> list[str]:
        """Return what is there now and was not there before."""
        tasks = asyncio.all_tasks() - self.tasks - {asyncio.current_task()}
        found = [f"task {task!r}" for task in tasks if "TestRunner" not in task.get_coro().__qualname__]
        found += [f"timer {one!r}" for one in _live_timers(self.loop) if id(one) not in self.timers]
        found += [f"socket {one}" for one in open_sockets() - self.sockets]
        return found + [f"complaint {one!r}" for one in self.complaints]


def _live_timers(loop: Any) -> list[Any]:
    """Return what the loop has set; the router's own timers of a second count where a bound is kept for it."""
    live = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    return [handle for handle in live if not _is_idle(getattr(handle._callback, "__self__", None))]


def _is_idle(owner: object) -> bool:
    return isinstance(owner, Timers) and not len(owner)


def open_sockets() -> set[str]:
    """Return the sockets that this process holds; an empty set where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return set()
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def whole(chunks: Iterable[Chunk]) -> str:
    """Return the text that a reader of *chunks* holds at their end; a restart makes what came before void."""
    text = ""
    for chunk in chunks:
        if chunk.kind == "restart":
            text = ""
        elif not any(choice.get("index") for choice in chunk.raw.get("choices") or ()):  # of several, the first choice
            text += chunk.text
    return text
