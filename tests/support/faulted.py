"""A router that misbehaving upstreams are let loose on, in memory or over sockets, and held to ten invariants.

:func:`faults` runs in virtual time over a scripted provider in memory, :func:`wall` in real time over a scripted server
on a loopback socket.  Both yield a :class:`Faulted`; on leaving, every invariant of :mod:`invariants` is checked.
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
import pytest
from openai_wire import script_of
from routed import KEY, PROMPT, Routed, check_secrecy, routed
from watched import Call, Sent, Surroundings, Watch, whole

from asyncrouter.assembler import builtin_registry
from asyncrouter.router import Router
from asyncrouter.testing import FakeProvider, Recorder, Reply, ScriptedServer
from asyncrouter.testing.http_script import Hang, Http, Reset, Sse
from asyncrouter.testing.script import Script
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.response import Chunk, Response

LATE_S = 0.05
"""How late the word may be given back over sockets; in virtual time it may not be late at all."""
BEAT_S = 0.01
GUARD_S = 60.0
"""Real seconds after which a call over sockets is given up as hung."""


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
                call.end("left")
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
        states = [self.state(name) for name in self.router.fleet._states if name not in self.dead]
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


class ShiftedClock:
    """The event loop's time, which a test may put forward."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def now(self) -> float:
        """Return the present moment."""
        return asyncio.get_running_loop().time() + self.shift_s


class Walled(Faulted):
    """A router over one server; its models are the deployments."""

    server: ScriptedServer
    clock: ShiftedClock
    lag_s = 0.0

    def play(self, **scripts: Any) -> None:
        """Go on with these scripts, one a deployment, from their beginning."""
        self.scripts = scripts
        self.served: dict[str, list[Any]] = {name: [] for name in scripts}

    def answer(self, request: Any) -> Any:
        """Return what the server does with *request*."""
        model = request.json["model"]
        served = self.served[model]
        script = self.scripts[model]
        steps = script if isinstance(script, list) else [script]
        step = steps[min(len(served), len(steps) - 1)]
        step = step(request) if callable(step) and not hasattr(step, "steps") else step
        served.append(step if hasattr(step, "steps") else script_of(step)(request))
        return served[-1]

    @property
    def asked(self) -> list[str]:
        """The deployments whose requests have arrived at the server, in order."""
        return [request.json["model"] for request in self.server.requests]

    @property
    def called(self) -> list[str]:
        """The deployments called, in order, whether the call has reached the server or not."""
        return [one.deployment for one in self.sent]

    @property
    def timeline(self) -> list[tuple[str, float]]:
        """The deployments called, each with the moment at which the call began."""
        return [(one.deployment, one.started_at) for one in self.sent]

    def heal(self) -> None:
        """Let every upstream answer "alive" from now on."""
        self.play(**dict.fromkeys(self.scripts, Reply("alive")))

    async def pass_time(self, seconds: float) -> None:
        """Put the router's clock forward."""
        self.clock.shift_s += seconds

    def slack_s(self, call: Call) -> float:
        """How late the word may be given back: what the event loop itself was late is no fault of the router."""
        return LATE_S + self.late_s + self.lag_s

    def check_whole(self, winner: Sent) -> None:
        """Fail when no script that was served can have given the whole of this answer."""
        super().check_whole(winner)
        whole = [whole_text(one) for one in self.served.get(winner.deployment, ())]
        assert not whole or None in whole or winner.text in whole, f"I6: {winner.deployment} was cut: {winner.text!r}"


CUT = object()


def whole_text(script: Any) -> Any:
    """Return the text that *script* answers, :data:`CUT` when it cuts it, ``None`` when that cannot be told."""
    if isinstance(script, (Reset, Hang)):
        return CUT
    if isinstance(script, Http):
        return CUT if script.content_length not in {None, len(script.body)} else None
    if not isinstance(script, Sse) or not all(isinstance(one, (Mapping, int, float)) for one in script.events):
        return None
    chunks = [Chunk(one) for one in script.events if isinstance(one, Mapping)]
    if script.cut_after is not None or not (script.done or any(chunk.finish_reason for chunk in chunks)):
        return CUT
    return whole(chunks)


@contextlib.asynccontextmanager
async def wall(
    scripts: Mapping[str, Any],
    *,
    down: Mapping[str, str] | None = None,
    providers: Mapping[str, Mapping[str, Any]] | None = None,
    deployments: Mapping[str, Mapping[str, Any]] | None = None,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: Iterable[object] = (),
    alive: bool = True,
    rewritten: bool = False,
    late_s: float = 0.0,
    sinks: Callable[[], Mapping[str, str]] = no_sinks,
    log: object = None,
    tls: Any = None,
    **chat: Any,
) -> AsyncIterator[Any]:
    """Enter a router over real sockets.

    *scripts*: by deployment, one step or a list of them, the last repeated; a step is one of the test kit's (Reply,
    Fail, Stream, …), one of :mod:`asyncrouter.testing.http_script`, or a callable of the request.  *down*: addresses of
    deployments that have no scripted server; they come first in the group.  *providers*: further options of the
    provider of a deployment.  *deployments*: further settings of a deployment; *groups*: by name, the first is the
    default; without any, one group "chat" of *chat*'s settings.  The others as in :func:`faults`.
    """
    pytest.importorskip("aiohttp")  # its import takes longer than some of these timeouts
    plugins = tuple(plugins)
    surroundings, sent, recorder, clock = Surroundings(), [], Recorder(), ShiftedClock()
    names = [*(down or {}), *scripts]
    server = ScriptedServer(lambda request: f.answer(request), tls=tls)  # noqa: PLW0108 - f comes later
    registry = builtin_registry()
    make = registry.make

    def made(kind: Any, *args: Any, **given: Any) -> Any:
        one = make(kind, *args, **given)
        return Watch(one, sent) if kind == "provider" else one

    registry.make = made  # type: ignore[method-assign]
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(GUARD_S))
            beat = await stack.enter_async_context(beating())
            await stack.enter_async_context(server)
            config = {
                "router": {"default": next(iter(groups or {"chat": 0})), **(settings or {})},
                "providers": {
                    name: {"kind": "openai", "base_url": f"{(down or {}).get(name, server.url)}/v1", "api_key": _key,
                           **(providers or {}).get(name, {})}
                    for name in names
                },
                "deployments": {
                    name: {"provider": name, "model": name, **(deployments or {}).get(name, {})} for name in names
                },
                "groups": groups or {"chat": {"deployments": names, **chat}},
            }  # fmt: skip
            observers = [recorder, *([log] if log else [])]
            router = Router.from_config(config, plugins=[*plugins, *observers], registry=registry, clock=clock, seed=0)
            f = Walled(router, None, recorder)
            f.server, f.clock, f.surroundings, f.sent, f.sinks = server, clock, surroundings, sent, sinks
            f.rewritten, f.late_s, f.exact, f.dead = rewritten, late_s, not plugins, set(down or {})
            f.play(**scripts)
            async with router:
                yield f
                f.lag_s = beat.lag_s
                f.check_quiet()
                f.check()
                if alive:
                    await f.check_alive()
                    f.lag_s = beat.lag_s
                    f.check_quiet()
                    f.check()
            await server.idle()  # the router's connections are closed, every one
        for _ in range(5):
            await asyncio.sleep(0)
        f.check_loop()
    finally:
        surroundings.restore()


def _key() -> str:
    return KEY


class _Beat:
    lag_s = 0.0


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[_Beat]:
    """Measure by how much the event loop is late, all in all."""
    loop, beat = asyncio.get_running_loop(), _Beat()
    handle = None

    def tick(due: float) -> None:
        nonlocal handle
        beat.lag_s += max(0.0, loop.time() - due)
        due = loop.time() + BEAT_S
        handle = loop.call_at(due, tick, due)

    tick(loop.time())
    try:
        yield beat
    finally:
        handle.cancel()
