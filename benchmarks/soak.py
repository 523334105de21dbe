"""Whether anything grows or is left over: very many calls, plain, streamed, hedged and cancelled, over bad upstreams.

Every fifth answer of an upstream is some fault: an error, a rate limit, silence, a stream that breaks off or stalls,
something that is no answer.  Every tenth caller leaves before its time.  The resident memory is read every so many
calls after a garbage collection; its growth is the slope of a line through the readings of the second half, for in the
first one caches and the allocator's arenas fill.  At the end there must be no task, timer, slot, permit, call or socket
left, every call must have ended once, and hardly any without an answer: that six attempts in a row meet a fault should
happen once in 16,000 calls.

``python benchmarks/soak.py`` runs in memory, in virtual time; ``--sockets`` over a scripted HTTP server on the
loopback, in real time, in the same process, whose memory counts too.  It ends with 1 when growth or leftovers are too
much.  Results are in ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import platform
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from asyncrouter import (
    AsyncRouterError,
    ConnectionFailed,
    MalformedResponse,
    Overloaded,
    RateLimited,
    Router,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, ScriptedServer, Slow, Stream, run_virtual
from asyncrouter.testing import http_script as http
from asyncrouter.types.events import RequestFinished

NAMES = ("a", "b", "c", "d")
FAULTY, LEAVING = 0.2, 0.1
GROWTH_MB = 1.0
"""The most that 10,000 calls may cost for good."""
LOST = 0.001
"""The share of the calls that may end without an answer, though nobody left; one call may in any case."""
DEADLINE = 10
"""A call's deadline, in times of the patience with one attempt."""
WORDS = ["all ", "that ", "was ", "asked"]


@attrs.define
class Report:
    """What came of it; memory in MB, after so many calls."""

    calls: int
    samples: list[tuple[int, float]] = attrs.field(factory=list)
    ends: Counter[str] = attrs.field(factory=Counter)
    attempts: int = 0
    finished: int = 0
    left: dict[str, int] = attrs.field(factory=dict)
    seconds: float = 0.0

    @property
    def growth_mb(self) -> float:
        """Growth by 10,000 calls: the least-squares slope of the second half of the samples."""
        points = [(calls / 1e4, mb) for calls, mb in self.samples[len(self.samples) // 2 :]]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0

    @property
    def lost(self) -> int:
        """How many ended without an answer, though their caller stayed."""
        return sum(self.ends.values()) - self.ends["answered"] - self.ends["left"]

    @property
    def faults(self) -> list[str]:
        """Whatever is not as it must be."""
        found = [f"{count} {what} left" for what, count in self.left.items() if count]
        if self.finished != self.calls or sum(self.ends.values()) != self.calls:
            found.append(f"{self.calls} calls, {sum(self.ends.values())} ends, {self.finished} told")
        if self.lost > 1 + LOST * self.calls:
            found.append(f"{self.lost} of {self.calls} calls lost")
        if self.growth_mb >= GROWTH_MB:
            found.append(f"{self.growth_mb:.2f} MB more by 10,000 calls")
        return found


def resident_mb() -> float:
    """Return the resident memory of this process, after a garbage collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_memory(dice: random.Random) -> tuple[FakeProvider, Callable[[], None]]:
    """Return the provider in memory, and what makes it forget its calls."""
    faults = [
        lambda: Fail(ServerError), lambda: Fail(Overloaded), lambda: Fail(RateLimited, retry_after_s=0.5),
        lambda: Fail(ConnectionFailed("lost", lost_before_answer=True)), lambda: Fail(MalformedResponse),
        lambda: Slow(3.0), Hang, lambda: Stream(WORDS, cut_after=2), lambda: Stream(WORDS, stall_after=2),
        lambda: Fail(ZeroDivisionError),
    ]  # fmt: skip

    def script(_request: Any, _deployment: Any, _number: int) -> Any:
        if dice.random() < FAULTY:
            return dice.choice(faults)()
        return Slow(dice.expovariate(10.0), then=Stream(WORDS, pause_s=0.01) if dice.random() < 0.5 else Reply())

    provider = FakeProvider(script)
    return provider, provider.calls.clear


@contextlib.asynccontextmanager
async def over_sockets(dice: random.Random) -> AsyncIterator[ScriptedServer]:
    """Run a server that misbehaves as often."""
    faults: list[Callable[[], Any]] = [
        lambda: http.Http(500), lambda: http.Json({"error": {"message": "busy"}}, 503),
        lambda: http.Json({"error": {"message": "slow"}}, 429, headers={"retry-after-ms": "50"}),
        http.Reset, lambda: http.Reset("mid_body"), lambda: http.Http(200, b"<html>"), http.Hang,
        lambda: http.Sse(http.chunks("all that was asked"), cut_after=3),
        lambda: http.Sse([*http.chunks("all that was asked")[:3], http.Gate()]),
    ]  # fmt: skip

    def script(request: Any) -> Any:
        server.requests.clear()
        if dice.random() < FAULTY:
            return dice.choice(faults)()
        if request.json.get("stream"):
            return http.Sse(http.chunks("all that was asked"))
        return http.completion("all that was asked")

    server = ScriptedServer(script)
    async with server:
        yield server
        await server.idle()


def config_of(provider: Any, *, patience_s: float) -> dict[str, Any]:
    """Return a router that may do everything: hedge, retry, wait, go on after an interruption."""
    bound = {"first_token_s": patience_s, "idle_s": patience_s, "attempt_s": 2 * patience_s}
    return {
        "router": {"default": "chat", "deadline_s": DEADLINE * patience_s},
        "providers": {"p": provider},
        "deployments": {
            name: {"provider": "p", "model": name, "price": {"input": 1, "output": 2}, "limits": {"concurrency": 32}}
            for name in NAMES
        },
        "groups": {
            "chat": {
                "deployments": list(NAMES), "select": "round_robin", "timeouts": bound, "on_interrupt": "restart",
                "hedge": {"at": "p95", "max_extra_load": 0.05},
                "retry": {"use": "exponential", "initial_delay_s": patience_s / 10},
            }
        },
    }  # fmt: skip


class Counting:
    """Counts the ends that observers are told, and the attempts of each."""

    name = "counting"

    def __init__(self, report: Report) -> None:
        self.report = report

    @hookimpl
    def asyncrouter_observe(self, event: Any) -> None:
        """Count the end of a request."""
        if isinstance(event, RequestFinished):
            self.report.finished += 1
            self.report.attempts += len(event.trace.attempts)


async def soak(
    router: Router, report: Report, dice: random.Random, *, at_once: int, every: int, patience_s: float,
    settle_s: float, forget: Callable[[], None], measure: Callable[[], float],
) -> None:  # fmt: skip
    """Make the calls, so many at a time; every so many, when all have ended, take a sample."""
    begun = 0

    async def caller(until: int) -> None:
        nonlocal begun
        while begun < until:
            begun += 1
            leaves_after_s = dice.uniform(0, patience_s) if dice.random() < LEAVING else None
            report.ends[await one_call(router, streamed=dice.random() < 0.5, leaves_after_s=leaves_after_s)] += 1

    while begun < report.calls:
        until = min(begun + every, report.calls)
        await asyncio.gather(*(caller(until) for _ in range(at_once)))
        forget()
        await asyncio.sleep(settle_s)
        report.samples.append((begun, measure()))


async def one_call(router: Router, *, streamed: bool, leaves_after_s: float | None) -> str:
    """Make one call in a task of its own, leave it after some time if that is wanted, and return how it ended."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(read(router) if streamed else ask(router))
    leaving = None if leaves_after_s is None else loop.call_later(leaves_after_s, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return "left"
    except AsyncRouterError as error:
        return type(error).__name__
    finally:
        if leaving is not None:
            leaving.cancel()
    return "answered"


async def ask(router: Router) -> None:
    """Make a plain call."""
    await router.generate("What was asked?")


async def read(router: Router) -> None:
    """Make a streamed call and read it to its end."""
    async with router.stream("What was asked?") as stream:
        async for _chunk in stream:
            pass


def live_timers() -> set[asyncio.TimerHandle]:
    """Return the timers of the running loop that are still to fire."""
    return {one for one in getattr(asyncio.get_running_loop(), "_scheduled", ()) if not one.cancelled()}


def left_over(router: Router) -> dict[str, int]:
    """Count what the router must not hold at the end."""
    states = [router.fleet[name] for name in NAMES]
    return {
        "calls in flight": sum(state.in_flight for state in states),
        "permits": router.fleet.budget._extra_in_flight,  # noqa: SLF001 - nobody else needs to know
        "probes": sum(state.breaker._probe is not None for state in states),  # noqa: SLF001
    }


def open_sockets() -> int:
    """Count the sockets of this process."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


async def run(arguments: argparse.Namespace, measure: Callable[[], float] = resident_mb) -> Report:
    """Run the soak that the arguments ask for."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the server writes on after its client has left
    dice = random.Random(arguments.seed)  # noqa: S311 - repeatable
    report = Report(arguments.calls)
    tasks, timers, sockets = asyncio.all_tasks(), live_timers(), open_sockets()
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        # a virtual loop keeps cancelled timers until they would have been due
        patience_s, settle_s, forget = 1.0, float(DEADLINE), lambda: None
        provider: Any
        if arguments.sockets:
            patience_s, settle_s = 0.5, 0.0
            server = await stack.enter_async_context(over_sockets(dice))
            provider = {"kind": "openai", "base_url": f"{server.url}/v1", "api_key": lambda: "sk-soak"}
        else:
            provider, forget = in_memory(dice)
        async with Router.from_config(
            config_of(provider, patience_s=patience_s), plugins=[Counting(report)], seed=arguments.seed
        ) as router:
            await soak(router, report, dice, at_once=arguments.at_once, every=arguments.every, patience_s=patience_s,
                       settle_s=settle_s, forget=forget, measure=measure)  # fmt: skip
        if arguments.sockets:
            await server.idle()
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    report.left = left_over(router) | {
        "tasks": len(asyncio.all_tasks() - tasks),
        "timers": len(live_timers() - timers),
        "sockets": open_sockets() - sockets,
    }
    report.seconds = time.perf_counter() - started
    return report


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--every", type=int, default=5_000, help="calls between two readings of the memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sockets", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def told(report: Report, arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Return the report as a document."""
    return {
        "over": "sockets" if arguments.sockets else "memory",
        "calls": report.calls,
        "attempts": report.attempts,
        "ends": dict(report.ends.most_common()),
        "growth_mb_per_10000_calls": round(report.growth_mb, 3),
        "resident_mb_after_calls": {calls: round(mb, 2) for calls, mb in report.samples},
        "left": report.left,
        "faults": report.faults,
        "seconds": round(report.seconds, 1),
        "python": platform.python_version(),
    }


def main() -> int:
    """Run, and print what came of it."""
    arguments = arguments_of()
    report = asyncio.run(run(arguments)) if arguments.sockets else run_virtual(run, arguments)
    document = told(report, arguments)
    if arguments.json:
        print(json.dumps(document, indent=1))
        return bool(report.faults)
    print(f"{report.calls} calls over {document['over']}, {report.attempts} attempts, {report.seconds:.0f} s")
    for end, count in report.ends.most_common():
        print(f"  {end:24} {count:7}")
    print("resident memory, MB")
    for calls, mb in report.samples:
        print(f"  after {calls:7} calls {mb:8.2f}")
    print(f"  by 10,000 calls {report.growth_mb:+.3f}, at most {GROWTH_MB}")
    print("left: " + ", ".join(f"{count} {what}" for what, count in report.left.items()))
    print("\n".join(report.faults) or "nothing grows, nothing is left")
    return bool(report.faults)


if __name__ == "__main__":
    sys.exit(main())
