"""Work that is counted, not timed, for a fixed request: what noise cannot shake, so that a test may hold it.

Counted are, for each call or streamed chunk: Python's opcodes and the frames that are entered, calls of hooks, tasks,
timers and callbacks of the event loop, bytes sent, memory at the peak and blocks of it that stay.  The request goes
through a router with everything on, in memory (its provider answers at once) and over a loopback socket, plain and
streamed.  A chunk's work is the difference between a long stream and a short one.

``python benchmarks/counted.py`` prints the figures beside the committed ones, ``--write`` commits those of the running
Python's minor version anew to ``benchmarks/counted.json``, ``--json`` prints them as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

from canned import ANSWER, serve
from contestants import InstantProvider, configuration, over_http
from measuring import MESSAGES, Call

from asyncrouter import Router
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk

COMMITTED = Path(__file__).with_name("counted.json")
WARM_UP, CALLS = 12, 8
SHORT, LONG = 4, 36
LEAST = {"bytes at the peak": 256.0, "blocks kept": 3.5}
"""What of a kind is no growth yet: the allocator keeps a few blocks now and then.  Of all others, half of one."""
Figures = dict[str, float]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what it is asked to run."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def call_soon(self, *args: Any, **more: Any) -> asyncio.Handle:
        self.counts["callbacks"] += 1
        return super().call_soon(*args, **more)

    def call_at(self, *args: Any, **more: Any) -> asyncio.TimerHandle:
        self.counts["timers"] += 1
        return super().call_at(*args, **more)

    def create_task(self, *args: Any, **more: Any) -> asyncio.Task[Any]:
        self.counts["tasks"] += 1
        return super().create_task(*args, **more)


class Tracer:
    """Counts opcodes, frames and calls of hooks in this thread while it is entered, but for the loop that counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> None:
        sys.settrace(self._entered)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _entered(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename == __file__:
            return None
        self.counts["frames"] += 1
        if frame.f_code.co_name.startswith("asyncrouter_"):
            self.counts["hook calls"] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._traced

    def _traced(self, _frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self.counts["opcodes"] += 1
        return self._traced


class StreamingProvider(InstantProvider):
    """Yields as many words as it is told, without waiting."""

    words = SHORT

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        for _ in range(self.words - 1):
            yield Chunk({"id": "1", "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]})
        yield Chunk(
            {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": ANSWER["usage"]}
        )


async def counted(call: Call, loop: CountingLoop) -> Figures:
    """Return the work of one *call*, the mean of some after others that have filled the caches.

    Each kind is counted by itself: counting one is work of another kind.
    """
    for _ in range(WARM_UP):
        await call()
    gc.collect()
    gc.disable()
    tracer = Tracer()
    loop.counts.clear()
    with tracer:
        for _ in range(CALLS):
            await call()
    counts = {**tracer.counts, **loop.counts}
    blocks = sys.getallocatedblocks()
    for _ in range(CALLS):
        await call()
    kept = sys.getallocatedblocks() - blocks
    tracemalloc.start()
    await call()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    await call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    gc.enable()
    figures = {
        name: counts.get(name, 0) / CALLS
        for name in ("opcodes", "frames", "hook calls", "tasks", "timers", "callbacks")
    }
    return {**figures, "bytes at the peak": float(peak), "blocks kept": float(max(0, round(kept / CALLS)))}


def stream_of(router: Router) -> Call:
    """Return the reading of a whole stream."""

    async def read() -> None:
        async with router.stream(MESSAGES) as chunks:
            async for _chunk in chunks:
                pass

    return read


def stepwise_stream_of(router: Router, steps: int, pieces: int) -> Call:
    """Return the reading of a whole stream of so many *pieces*: after the first, one for each byte written to *steps*.

    A byte too many would have two pieces of the next stream under way at once.
    """

    async def read() -> None:
        left = pieces - 1
        async with router.stream(MESSAGES) as chunks:
            async for _chunk in chunks:
                if left:
                    left -= 1
                    os.write(steps, b".")

    return read


async def measure(url: str, steps: int) -> dict[str, Figures]:
    """Return the figures of each case; *url* is that of the canned server, *steps* what has its streams go on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    provider = StreamingProvider()
    cases: dict[str, Figures] = {}
    async with (
        Router.from_config(configuration(provider), seed=1) as in_memory,
        Router.from_config(over_http(url), seed=1) as plain,
        Router.from_config(over_http(f"{url}/short"), seed=1) as short,
        Router.from_config(over_http(f"{url}/all"), seed=1) as long,
        Router.from_config(over_http(f"{url}/few"), seed=1) as few_steps,
        Router.from_config(over_http(f"{url}/steps"), seed=1) as many_steps,
    ):
        cases["plain call in memory"] = await counted(lambda: in_memory.generate(MESSAGES), loop)
        few = await counted(stream_of(in_memory), loop)
        provider.words = LONG
        cases["stream in memory, its opening and end"] = few
        cases["stream in memory, a chunk"] = _each(few, await counted(stream_of(in_memory), loop), LONG - SHORT)
        cases["plain call over a socket"] = await counted(lambda: plain.generate(MESSAGES), loop)
        few, many = await counted(stream_of(short), loop), await counted(stream_of(long), loop)
        cases["stream over a socket, its opening and end"] = few
        cases["stream over a socket, a chunk in a burst"] = _each(few, many, 64 - 4)
        few = await counted(stepwise_stream_of(few_steps, steps, 4), loop)
        many = await counted(stepwise_stream_of(many_steps, steps, 64), loop)
        cases["stream over a socket, a chunk a read"] = _each(few, many, 64 - 4)
    return cases


def _each(few: Figures, many: Figures, more: int) -> Figures:
    """Return the work of each of *more* chunks."""
    return {name: (many[name] - few[name]) / more for name in few if name != "blocks kept"}


def run() -> dict[str, Figures]:
    """Return the figures of this interpreter; the server runs in a thread, whose work is not counted."""
    os.environ["BENCHMARK_KEY"] = "key"
    ports: list[int] = []
    listening = threading.Event()

    def told(port: int) -> None:
        ports.append(port)
        listening.set()

    readable, writable = os.pipe()
    threading.Thread(target=lambda: asyncio.run(serve(told, readable)), daemon=True).start()
    listening.wait(10)
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        return runner.run(measure(f"http://127.0.0.1:{ports[0]}", writable))


def minor_version() -> str:
    """Return what the figures are kept by: another minor version has other opcodes."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def committed() -> dict[str, dict[str, Figures]]:
    """Return the committed figures, by minor version of Python."""
    found: dict[str, dict[str, Figures]] = (
        json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {}
    )
    return found


def grown(figures: dict[str, Figures], known: dict[str, Figures], tolerance: float) -> list[str]:
    """Return what has grown over *known* by more than the share *tolerance* and what counts at least, in words."""
    return [
        f"{case}: {kind} {known[case][kind]:,.1f} → {value:,.1f}"
        for case, kinds in figures.items()
        for kind, value in kinds.items()
        if case in known and kind in known[case]
        if value - known[case][kind] > max(LEAST.get(kind, 0.51), abs(known[case][kind]) * tolerance)
    ]


def main() -> None:
    figures = run()
    known = committed()
    if "--write" in sys.argv[1:]:
        rounded = {case: {kind: round(value, 2) for kind, value in kinds.items()} for case, kinds in figures.items()}
        everything = dict(sorted({**known, minor_version(): rounded}.items()))
        COMMITTED.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures, indent=1))
        return
    mine = known.get(minor_version(), {})
    for case, kinds in figures.items():
        print(case)
        for kind, value in kinds.items():
            before = mine.get(case, {}).get(kind)
            print(f"  {kind:<18}{value:>12,.1f}" + ("" if before is None else f"  committed {before:>12,.1f}"))


if __name__ == "__main__":
    main()
