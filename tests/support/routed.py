"""A router in memory with several groups, watched: after every scenario the same invariants are checked.

Nothing is left in flight or held, every call has ended once, the accounts add up, neither the prompt nor a key is to be
seen anywhere, and a healthy call made right afterwards succeeds.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import anyio
import pytest

from asyncrouter.router import Router
from asyncrouter.testing import FakeProvider, Recorder, Reply
from asyncrouter.testing.script import Script
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.response import Chunk, Response

PROMPT = "PROMPT-SENTINEL tell nobody"
KEY = "sk-KEY-SENTINEL-0123456789"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
SENTINELS = ("PROMPT-SENTINEL", "KEY-SENTINEL")
EXACT = {"use": "exponential", "jitter": False}
"""Backoffs of exactly 1, 2, 4, ... seconds."""
ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}
"""One deployment, and nothing to fall back to."""
THREE = {"chat": {"deployments": ["a", "b", "c"], "retry": "none"}}

R = TypeVar("R", bound="Routed")


class Routed:
    """A router under test with its provider and all that it told its observers."""

    def __init__(self, router: Router, provider: FakeProvider, recorder: Recorder) -> None:
        self.router = router
        self.provider = provider
        self.recorder = recorder
        self.began = 0
        self.dead: set[str] = set()
        """Deployments that nothing heals."""

    async def ask(self, prompt: Any = PROMPT, **arguments: Any) -> Response:
        """Make one plain call."""
        self.began += 1
        return await self.router.generate(prompt, **arguments)

    async def fails(self, kind: type[Exception], prompt: Any = PROMPT, **arguments: Any) -> Any:
        """Make one plain call that must end in exactly this class of error, and return the error."""
        with pytest.raises(kind) as caught:
            await self.ask(prompt, **arguments)
        assert type(caught.value) is kind
        check_secrecy(caught.value)
        return caught.value

    @contextlib.asynccontextmanager
    async def stream(self, prompt: Any = PROMPT, **arguments: Any) -> AsyncIterator[Any]:
        """Make one streamed call."""
        call = self.router.stream(prompt, **arguments)
        self.began += 1
        async with call as stream:
            yield stream

    async def read(self, **arguments: Any) -> tuple[list[Any], Response]:
        """Stream an answer to its end; return the chunks and the response."""
        async with self.stream(**arguments) as stream:
            chunks = [chunk async for chunk in stream]
        return chunks, stream.response

    @property
    def called(self) -> list[str]:
        """The deployments called, in order."""
        return [call.deployment.name for call in self.provider.calls]

    @property
    def timeline(self) -> list[tuple[str, float]]:
        """The deployments called, each with the moment at which the call began."""
        return [(call.deployment.name, round(call.started_at, 6)) for call in self.provider.calls]

    def state(self, deployment: str) -> Any:
        """Return the fleet's state of one deployment."""
        return self.router.fleet[deployment]

    def check_quiet(self) -> None:
        """Nothing is in flight, no slot, permit or probe is held."""
        fleet = self.router.fleet
        assert self.provider is None or self.provider.in_flight == 0
        assert fleet.budget._extra_in_flight == 0
        for name, state in fleet.states.items():
            assert state.in_flight == 0, name
            assert state.breaker._probe is None, name
            slots = state.slots
            assert slots is None or (slots.in_use, slots.waiting) == (0, 0), name
            assert state.waiting == 0, name

    def check_accounts(self) -> None:
        """Every call has ended once, and what deployments, agents and observers tell is the same story."""
        metrics = self.router.metrics()
        deployments = metrics.deployments.values()
        attempts = self.recorder.attempts
        assert len(self.recorder.finished) == metrics.total.calls == self.began
        assert sum(one.calls for one in deployments) == len(attempts)
        ends = [attempt.outcome for attempt in attempts]
        assert sum(one.failures for one in deployments) == ends.count("failed")
        assert sum(one.cancelled for one in deployments) == ends.count("cancelled")
        assert sum(len(end.trace.attempts) for end in self.recorder.finished) == len(attempts)
        answered = len(self.recorder.responses)
        assert metrics.total.calls == answered + metrics.total.failures + metrics.total.cancelled
        for counter in ("retries", "fallbacks", "cascades", "hedges", "input_tokens", "output_tokens"):
            whole = getattr(metrics.total, counter)
            assert sum(getattr(one, counter) for one in deployments) == whole, counter
            assert sum(getattr(one, counter) for one in metrics.agents.values()) <= whole, counter
        assert math.isclose(sum(one.cost_usd for one in deployments), metrics.total.cost_usd, abs_tol=1e-12)

    def check_secrets(self) -> None:
        """Neither prompt nor key is in anything that the router tells."""
        check_secrecy(self.router.metrics(), self.router, *self.recorder.events)
        for end in self.recorder.finished:
            check_secrecy(end.trace, end.response, end.error)
            for attempt in end.trace.attempts:
                check_secrecy(attempt, attempt.error)

    def heal(self) -> None:
        """Let every upstream answer "alive" from now on."""
        self.provider.play(Reply("alive"))

    async def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await anyio.sleep(seconds)

    async def check_alive(self) -> None:
        """Let every breaker and cooldown run out; then a call of every deployment succeeds at once."""
        self.heal()
        states = {name: self.state(name) for name in self.router.fleet.states if name not in self.dead}
        now = self.router.fleet.now()
        await self.pass_time(max([0.0, *(state.ready_at - now for state in states.values())]))
        for name, state in states.items():
            assert (await self.ask("still there?", model=name, complexity=0.0)).text == "alive"
            assert state.breaker.state is BreakerState.CLOSED, name


@contextlib.asynccontextmanager
async def routed(
    script: Script | FakeProvider = Reply(),  # noqa: B008 - it is frozen
    *,
    groups: Mapping[str, Mapping[str, Any]] | None = None,
    deployments: Mapping[str, Mapping[str, Any]] | None = None,
    agents: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    plugins: Iterable[object] = (),
    observed: bool = True,
    alive: bool = True,
    seed: int = 0,
    kind: type[R] = Routed,
    through: Callable[[FakeProvider], Any] = lambda provider: provider,
    **chat: Any,
) -> AsyncIterator[R]:
    """Enter a router over a scripted provider, and check the invariants on leaving it.

    *groups*: by name, the first is the default; without any, one group "chat" of *chat*'s settings (deployments "a" and
    "b").  *deployments*: tables of those that need one.  ``alive=False``: no call after the scenario.  *kind* is
    what is made of it, *through* what stands between the router and its provider.
    """
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script)
    groups = groups or {"chat": {"deployments": ["a", "b"], **chat}}
    names = dict.fromkeys(name for group in groups.values() for name in group["deployments"])
    tables = {name: {} for name in names} | dict(deployments or {})
    recorder = Recorder()
    config = {
        "router": {"default": next(iter(groups)), **(settings or {})},
        "providers": {"fake": through(provider)},
        "deployments": {
            name: {"provider": "fake", "model": f"model-{name}", **table} for name, table in tables.items()
        },
        "groups": groups,
        "agents": agents or {},
    }
    router = Router.from_config(config, plugins=[*plugins, *([recorder] if observed else [])], seed=seed)
    async with router:
        watched = kind(router, provider, recorder)
        yield watched
        watched.check_quiet()
        if observed:
            watched.check_accounts()
            watched.check_secrets()
        if alive:
            await watched.check_alive()
            watched.check_quiet()
    assert provider.closed


async def together(*functions: Callable[[], Awaitable[Any]]) -> None:
    """Run these side by side until the last has ended."""
    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(function)


def check_secrecy(*things: object) -> None:
    """Fail when a sentinel shows in anything a log or a debugger would print of *things*."""
    for thing in things:
        for shown in _sinks(thing):
            for sentinel in SENTINELS:
                assert sentinel not in shown, f"{sentinel} in {shown[:300]!r}"


def _sinks(thing: object) -> Iterable[str]:
    yield repr(thing)
    yield str(thing)
    if isinstance(thing, BaseException):
        yield repr(thing.args)
        yield repr(vars(thing))
        for one in _told(thing):  # a traceback without its lines of source, which take long to look up
            yield "".join(traceback.format_exception_only(one))


def _told(error: BaseException | None) -> Iterable[BaseException]:
    """Yield the errors that a traceback of *error* tells of."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class RawStreams(FakeProvider):
    """Streams the chunks it is given.

    For each deployment a list of streams, one a call, the last repeated.  Of a stream's events mappings are sent as
    chunks, numbers are seconds of silence, exceptions are raised, and anything else is passed on as it is.
    """

    def __init__(self, **streams: list[list[Any]]) -> None:
        super().__init__()
        self._streams = streams

    async def stream(self, request, deployment, timeouts):
        streams = self._streams.get(deployment.name)
        if streams is None:
            async with contextlib.aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        call, _step = self._begin(request, deployment, timeouts)
        try:
            for event in streams[min(call.number, len(streams)) - 1]:
                if isinstance(event, Mapping):
                    yield Chunk(event)
                elif isinstance(event, (int, float)):
                    await anyio.sleep(event)
                elif isinstance(event, Exception):
                    raise event
                else:
                    yield event
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, None)

    def play(self, script: Script) -> None:
        """Go on with *script* as any fake provider does, streams included."""
        super().play(script)
        self._streams = {}


def delta(content: str | None = None, finish: str | None = None, *, index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return one chunk."""
    piece = {**({} if content is None else {"content": content}), **fields}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": index, "delta": piece, "finish_reason": finish}],
    }


ROLE = delta(role="assistant", content="")
STOP = delta(finish="stop")
USAGE = {"id": "c", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}


class Nested:
    """A provider that is a router: what is left of the deadline goes down into it."""

    def __init__(self, router: Router) -> None:
        self.router = router

    async def complete(self, request: Any, deployment: Any, timeouts: Any) -> Response:
        """Ask the router inside."""
        return await self.router.generate(list(request.messages), **self._arguments(request))

    async def stream(self, request: Any, deployment: Any, timeouts: Any) -> AsyncIterator[Chunk]:
        """Stream from the router inside."""
        async with self.router.stream(list(request.messages), **self._arguments(request)) as stream:
            async for chunk in stream:
                yield chunk

    async def aclose(self) -> None:
        """Close nothing: the router inside is its owner's."""

    def _arguments(self, request: Any) -> dict[str, Any]:
        params = {key: value for key, value in request.params.items() if key != "stream"}
        return {**params, "deadline_s": request.deadline - self.router.fleet.now()}
