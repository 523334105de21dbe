"""Cancellation at every single await: nothing may be left held, and the next call must succeed.

Each scenario is run once to count its awaits, then once for each of them, cancelled there: by the event loop while the
await is pending, by the event loop in the moment in which it is over (the result is there, and is lost), and by a
cancel scope around the call.  The watched router checks the invariants after every run.
"""

from __future__ import annotations

import contextlib

import anyio
import pytest
from cancelling import Driven, pending, run, too_late
from routed import EXACT, PROMPT, RawStreams, delta, routed

from asyncrouter import AllAttemptsFailed, Selection, ServerError, StreamInterrupted, Verdict, hookimpl
from asyncrouter.testing import Fail, Reply, Slow, Stream, virtual_backend

OK = Slow(1.0, then=Stream(["one ", "two"], pause_s=1.0))
DOWN = Slow(1.0, then=Fail(ServerError))


# ---------------------------------------------------------------- scenarios: settings, preparation


class Layers:
    """Every hook that may await, awaiting."""

    name = "layers"

    @hookimpl
    async def asyncrouter_estimate(self):
        await anyio.sleep(0.1)

    @hookimpl
    async def asyncrouter_select(self):
        await anyio.sleep(0.1)

    @hookimpl
    async def asyncrouter_judge(self, response):
        await anyio.sleep(0.1)
        return Verdict(accept=response.deployment != "a")

    @hookimpl
    async def asyncrouter_around_request(self, call, request):
        await anyio.sleep(0.1)
        return await call(request)

    @hookimpl
    async def asyncrouter_around_attempt(self, call, request, deployment):
        response = await call(request, deployment)
        await anyio.sleep(0.1)
        return response

    @hookimpl
    async def asyncrouter_around_request_stream(self, chunks):
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                await anyio.sleep(0.1)
                yield chunk

    @hookimpl
    async def asyncrouter_around_attempt_stream(self, chunks):
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk
                await anyio.sleep(0.1)


class Racing:
    name = "racing"

    @hookimpl
    async def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates, parallel=2)


async def nothing(_r, _tasks):
    pass


async def take_slot(r, tasks):
    tasks.start_soon(r.ask)
    await anyio.sleep(0.5)


async def open_breaker(r, _tasks):
    """Leave "a" half open: the next call of it is the probe."""
    with contextlib.suppress(AllAttemptsFailed):
        await r.ask()
    await anyio.sleep(max(0.0, r.state("a").ready_at - anyio.current_time()))


async def cool_down(r, _tasks):
    for name in ("a", "b"):
        r.state(name).cool_until(anyio.current_time() + 5.0)


async def use_up_rate(r, _tasks):
    await r.ask(model="a")


def interrupted(on_interrupt):
    provider = RawStreams(
        a=[[1.0, delta("one "), 1.0, StreamInterrupted("cut")]],
        b=[[1.0, delta("two"), 1.0, delta(finish="stop"), 1.0]],
    )
    return {"script": provider, "on_interrupt": on_interrupt}


SCENARIOS = {
    "answer": (lambda: {"script": OK}, nothing),
    "fallback": (lambda: {"script": {"a": DOWN, "b": OK}}, nothing),
    "patience": (lambda: {"script": {"a": DOWN, "b": [DOWN, OK]}, "retry": EXACT}, nothing),
    "rounds": (lambda: {"script": [DOWN, DOWN, DOWN, OK], "retry": EXACT, "patience_s": 0}, nothing),
    "failure": (lambda: {"script": DOWN, "retry": "none"}, nothing),
    "cooldown": (lambda: {"script": OK}, cool_down),
    "slot": (
        lambda: {
            "script": OK,
            "groups": {"chat": {"deployments": ["a"]}},
            "deployments": {"a": {"limits": {"concurrency": 1}}},
        },
        take_slot,
    ),
    "probe": (
        lambda: {"script": {"a": [DOWN, OK], "b": OK}, "breaker": {"failures": 1, "open_s": 5.0}},
        open_breaker,
    ),
    "probe fails": (
        lambda: {"script": {"a": DOWN, "b": OK}, "breaker": {"failures": 1, "open_s": 5.0}},
        open_breaker,
    ),
    "rate": (
        lambda: {"script": Reply(), "groups": {"chat": {"deployments": ["a"], "deadline_s": 100.0}},
                 "deployments": {"a": {"limits": {"rpm": 1, "tpm": 1000}}}},
        use_up_rate,
    ),
    "hooks": (lambda: {"script": OK, "plugins": [Layers()]}, nothing),
    "race": (lambda: {"script": {"a": DOWN, "b": OK}, "plugins": [Racing()]}, nothing),
    "hedge": (lambda: {"script": {"a": Slow(9.0, then=OK), "b": OK},
                       "hedge": {"at": 1.0, "max_extra_load": 1.0}}, nothing),
    "timeout": (lambda: {"script": {"a": Slow(50.0), "b": OK},
                         "timeouts": {"attempt_s": 2.0, "first_token_s": 2.0}}, nothing),
    "deadline": (lambda: {"script": Slow(50.0), "deadline_s": 3.0}, nothing),
    "interrupted": (lambda: interrupted("raise"), nothing),
    "continued": (lambda: interrupted("continue"), nothing),
    "restarted": (lambda: interrupted("restart"), nothing),
}  # fmt: skip


CASES = [
    pytest.param(scenario, streamed, id=f"{scenario}-{'streamed' if streamed else 'plain'}")
    for scenario in SCENARIOS
    for streamed in (False, True)
    if streamed or scenario not in {"interrupted", "continued", "restarted"}
]


def call_of(r, streamed):
    async def plain():
        r.began += 1
        await r.router.generate(PROMPT)

    async def stream():
        call = r.router.stream(PROMPT)
        r.began += 1
        async with call as chunks:
            async for _ in chunks:
                await anyio.lowlevel.checkpoint()

    return stream if streamed else plain


async def one_run(scenario, streamed, number, cancel):
    settings, prepare = SCENARIOS[scenario]
    settings = settings()
    plugins = settings.get("plugins", ())
    async with routed(**settings) as r:
        seen = 0
        async with anyio.create_task_group() as tasks:
            await prepare(r, tasks)
            with contextlib.suppress(AllAttemptsFailed, StreamInterrupted, TimeoutError):
                seen = await run(call_of(r, streamed), number, cancel)
        for plugin in plugins:
            r.router.unregister(plugin)
    return seen


async def count_awaits(scenario, streamed):
    """Return how many awaits the scenario has when nobody cancels it."""
    seen = 0

    def count(_awaited):
        nonlocal seen
        seen += 1

    settings, prepare = SCENARIOS[scenario]
    settings = settings()
    async with routed(**settings) as r:
        async with anyio.create_task_group() as tasks:
            await prepare(r, tasks)
            with contextlib.suppress(AllAttemptsFailed, StreamInterrupted, TimeoutError):
                await Driven(call_of(r, streamed)(), count)
        for plugin in settings.get("plugins", ()):
            r.router.unregister(plugin)
    return seen


@pytest.mark.parametrize(("scenario", "streamed"), CASES)
@pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["asyncio"])
@pytest.mark.parametrize("cancel", [pending, too_late], ids=["pending", "too-late"])
async def test_a_task_cancelled_at_any_await_leaves_nothing_behind(scenario, streamed, cancel):
    awaits = await count_awaits(scenario, streamed)
    assert awaits, "the scenario awaits something"
    for number in range(1, awaits + 1):
        await one_run(scenario, streamed, number, cancel)


@pytest.mark.parametrize(("scenario", "streamed"), CASES)
async def test_a_scope_cancelled_at_any_await_leaves_nothing_behind(scenario, streamed):
    awaits = await count_awaits(scenario, streamed)
    for number in range(1, awaits + 1):
        await one_run(scenario, streamed, number, None)
