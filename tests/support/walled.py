"""A router over sockets that misbehaving upstreams are let loose on: :mod:`faulted` in real time.

:func:`wall` yields a :class:`Walled`, a router over a scripted server on a loopback socket, whose clock a test may put
forward; on leaving, every invariant of :mod:`invariants` is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import pytest
from faulted import Faulted, no_sinks
from openai_wire import script_of
from routed import KEY
from watched import Call, Sent, Surroundings, Watch, whole

from asyncrouter.assembler import builtin_registry
from asyncrouter.router import Router
from asyncrouter.testing import Recorder, Reply, ScriptedServer
from asyncrouter.testing.http_script import Hang, Http, Reset, Sse
from asyncrouter.types.response import Chunk

LATE_S = 0.05
"""How late the word may be given back over sockets; in virtual time it may not be late at all."""
BEAT_S = 0.01
GUARD_S = 60.0
"""Real seconds after which a call over sockets is given up as hung."""


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
