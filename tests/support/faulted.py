"""A router that misbehaving upstreams are let loose on, in memory, and held to ten invariants.

:func:`faults` runs in virtual time over a scripted provider in memory; :func:`walled.wall` does the like over sockets.
Both yield a :class:`Faulted`; on leaving, every invariant of :mod:`invariants` is checked.
``tests/faults/conftest.py`` tells how to write a test with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import invariants
from routed import PROMPT, Routed, check_secrecy, routed
from watched import Call, Sent, Surroundings, Watch

from asyncrouter.router import Router
from asyncrouter.testing import FakeProvider, Recorder, Reply
from asyncrouter.testing.script import Script
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.response import Chunk, Response


def no_sinks() -> dict[str, str]:
    """Nothing was captured."""
    return {}


class Faulted(Routed):
    """The router under test.  Make every call through it: what is called behind its back is not accounted for."""

    sinks: Callable[[], Mapping[str, str]] = staticmethod(no_sinks)
    rewritten = False
    exact = True
    late_s = 0.0

    def __init__(self, router: Router, provider: Any, recorder: Recorder) -> None:
        super().__init__(router, provider, recorder)
        self.calls: list[Call] = []
        self.sent: list[Sent] = []
        self.surroundings: Surroundings | None = None
        self._told: dict[int, object] = {}  # kept: an id is its own only while it lives

    # ------------------------------------------------------------------ calls

    async def ask(self, prompt: Any = PROMPT, **arguments: Any) -> Response:
        """Make one plain call."""
        call = self._begun(arguments)
        with self._ends(call):
            response = await self.router.generate(prompt, **arguments)
            call.end("answer", response=response)
        return response

    @contextlib.asynccontextmanager
    async def stream(self, prompt: Any = PROMPT, **arguments: Any) -> AsyncIterator[Any]:
        """Make one streamed call: iterate over what this yields, then read its ``response``."""
        call = self._begun(arguments)
        with self._ends(call, leaving=True):
            async with self.router.stream(prompt, **arguments) as stream:
                call.gave_back(call.began_at, self.now())
                yield Reader(stream, call, self.now)

    async def many(self, count: int, prompt: Any = PROMPT, *, streamed: bool = False, **arguments: Any) -> list[Any]:
        """Make *count* calls at once; return the answers, and the errors of those that failed."""

        async def one() -> Response:
            if streamed:
                return (await self.read(prompt=prompt, **arguments))[1]
            return await self.ask(prompt, **arguments)

        return await asyncio.gather(*(self.caught(one()) for _ in range(count)))

    @staticmethod
    async def caught(waiting: Any) -> Any:
        """Return what *waiting* returns or the router's error that it raises."""
        try:
            return await waiting
        except AsyncRouterError as error:
            return error

    def begin(self, prompt: Any = PROMPT, **arguments: Any) -> asyncio.Task[Response]:
        """Start a plain call in a task of its own, to be cancelled, say; await the task before the scenario ends."""
        return asyncio.create_task(self.ask(prompt, **arguments))

    def now(self) -> float:
        """Return the router's time."""
        return self.router.fleet.now()

    def _begun(self, arguments: Mapping[str, Any]) -> Call:
        try:
            group = self.router._assembler.plan(arguments.get("model")).group
            deadline_s, policy = group.deadline_s, group.on_interrupt
        except AsyncRouterError:
            deadline_s, policy = math.inf, "raise"
        call = Call(self.now(), self.now() + arguments.get("deadline_s", deadline_s), policy)
        self.calls.append(call)
        self.began += 1
        return call

    @contextlib.contextmanager
    def _ends(self, call: Call, *, leaving: bool = False) -> Any:
        asked_at = self.now()
        try:
            yield
            if leaving and not call.outcomes:  # the reader left, with or without having seen the whole answer
                call.end("left" if self.now() < call.deadline else "left late")
        except AsyncRouterError as error:
            if error.trace is None:  # refused at the door: no routed call
                self.calls.remove(call)
                self.began -= 1
            elif not call.outcomes:
                call.end("error", error=error)
            raise
        except BaseException as error:
            if not call.outcomes:
                call.end("cancelled", error=error)
            raise
        finally:
            if not leaving:
                call.gave_back(asked_at, self.now())

    # ------------------------------------------------------------------ invariants

    @property
    def max_attempts(self) -> int:
        """The most attempts that any group or agent allows a request."""
        catalogue = self.router._assembler.catalogue
        agents = [one.max_attempts or 0 for one in catalogue.agents.values()]
        return max([plan.group.max_attempts for plan in catalogue.groups.values()] + agents)

    def slack_s(self, call: Call) -> float:
        """How late the word may be given back."""
        return self.late_s

    def check_whole(self, winner: Sent) -> None:
        """Fail when the upstream is known to have cut the answer of *winner*."""
        assert winner.outcome in {"ok", "closed"}, f"I6: the answer of an attempt that {winner.outcome}"

    async def check_alive(self) -> None:
        """I10: a call made right afterwards succeeds; so does one of every deployment when it may be called again."""
        try:
            await self.check_healthy()
            await super().check_alive()
        except (AssertionError, AsyncRouterError) as failure:
            raise AssertionError(f"I10: no healthy call: {failure!r}") from failure

    async def check_healthy(self) -> None:
        """Make one healthy call as soon as a deployment is ready."""
        self.heal()
        states = [self.state(name) for name in self.router.fleet.states if name not in self.dead]
        await self.pass_time(max(0.0, min(state.ready_at for state in states) - self.now()))
        assert (await self.ask("still there?", complexity=0.0)).text == "alive", "another answer"

    def check_quiet(self) -> None:
        """I5: nothing is in flight, no slot, permit or probe is held."""
        running = [one for one in self.sent if one.ended_at is None]
        assert not running, f"I5: still running: {running}"
        with naming("I5"):
            super().check_quiet()

    def check_secrets(self) -> None:
        """I7: neither prompt nor key is in anything that was told, caught or recorded since the last time."""
        things = [self.router, self.router.metrics(), *self.recorder.events]
        for end in self.recorder.finished:
            things += [end.trace, end.response, *with_causes(end.error)]
            for attempt in end.trace.attempts:
                things += [attempt, *with_causes(attempt.error)]
        for call in self.calls:
            things += [call.response, *with_causes(call.error)]
        new = {id(thing): thing for thing in things if id(thing) not in self._told}
        self._told |= new
        with naming("I7"):
            check_secrecy(*new.values())

    def check_accounts(self) -> None:
        """I8: what deployments, agents and observers tell is the same story."""
        with naming("I8"):
            super().check_accounts()

    def check(self) -> None:
        """Check what the calls so far must keep, but for what only the end of the router can tell."""
        for check in invariants.CHECKS:
            check(self)

    async def check_settled(self) -> None:
        """I5: nothing is left in the event loop, in the fleet and in the provider."""
        for _ in range(5):  # what was cancelled or closed just now takes a turn or two to end
            await asyncio.sleep(0)
        self.check_quiet()
        self.check_loop()

    def check_loop(self) -> None:
        """I5: no task, timer or socket is left, and the event loop has nothing to complain of."""
        gc.collect(1)
        assert self.surroundings is not None
        left = self.surroundings.left()
        assert not left, f"I5: left behind: {left}"


def with_causes(error: BaseException | None) -> list[BaseException]:
    """Return *error* and all that hangs on it."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


@contextlib.contextmanager
def naming(invariant: str) -> Any:
    """Name *invariant* in the assertion that fails."""
    try:
        yield
    except AssertionError as failure:
        raise AssertionError(f"{invariant}: {failure}") from failure


class Reader:
    """Reads a stream for a :class:`Call`, and notes how it ends."""

    def __init__(self, stream: Any, call: Call, now: Callable[[], float]) -> None:
        self._stream = stream
        self._call = call
        self._now = now

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Chunk:
        asked_at = self._now()
        try:
            chunk = await anext(self._stream)
        except StopAsyncIteration:
            if not self._call.outcomes:
                self._call.end("answer", response=self._stream.response)
            raise
        except AsyncRouterError as error:
            self._call.end("error", error=error)
            raise
        finally:
            self._call.gave_back(asked_at, self._now())
        self._call.chunks.append(chunk)
        return chunk

    @property
    def response(self) -> Response:
        """The assembled answer."""
        return self._stream.response


@contextlib.asynccontextmanager
async def faults(
    script: Script | FakeProvider = Reply(),  # noqa: B008 - it is frozen
    *,
    plugins: Iterable[object] = (),
    alive: bool = True,
    rewritten: bool = False,
    late_s: float = 0.0,
    sinks: Callable[[], Mapping[str, str]] = no_sinks,
    log: object = None,
    kind: type[Faulted] = Faulted,
    **settings: Any,
) -> AsyncIterator[Any]:
    """Enter a router in memory; the arguments are those of :func:`routed.routed`, and:

    *rewritten*: hooks change what the upstream said.  *late_s*: how late the word may be given back, where the upstream
    does not let go at once.  *sinks* tells what was printed and logged, *log* is an observer that writes to them.  Of
    attempts with *plugins* around them the accounts are less exact.
    """
    surroundings, sent = Surroundings(), []
    plugins = tuple(plugins)
    try:
        async with routed(
            script,
            plugins=[*plugins, *([log] if log else [])],
            alive=False,
            kind=kind,
            through=lambda one: Watch(one, sent),
            **settings,
        ) as f:
            f.surroundings, f.sent, f.sinks = surroundings, sent, sinks
            f.rewritten, f.late_s, f.exact = rewritten, late_s, not plugins
            yield f
            await f.check_settled()
            f.check()
            if alive:
                await f.check_alive()
                await f.check_settled()
                f.check()
        f.check_loop()
    finally:
        surroundings.restore()
