"""What a streamed chunk costs: CPU time of this process per chunk, and the time until the first one.

The same answer of 64 words comes with one event in a network read, with eight, or in one burst.  The CPU time is that
of whole streams, 16 under way at once, over their chunks.  The time to the first chunk is measured with nothing else
under way, from the call until the caller has it, also in rounds that take turns.

Run it as ``python benchmarks/streaming.py [--rounds N] [--calls N] [--loop asyncio|uvloop] [--contestants NAME ...]
[--json] [--plot F.png] [--save [DIR]]``; with the others installed, by ``.rivals-venv/bin/python`` after ``make
rivals``.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from canned import EVENTS
from contestants import BARE, LIBRARIES, Opening, Words, present
from measuring import (
    Call,
    Column,
    Results,
    at_concurrency,
    beside,
    deliver,
    in_turn,
    options_of,
    progress,
    runner,
    server,
)
from plotting import bars

COLUMNS = (
    Column("events a read", "events a read"),
    Column("contestant", "CPU per chunk, µs"),
    Column("median", "median", 2),
    Column("least", "least", 2),
    Column("over", f"over {BARE}", 2),
    Column("first_us", "first chunk after, µs", 0),
    Column("added_us", "added to it, µs", 0),
)
CONCURRENCY = 16
WAYS = {"one": 1, "eight": 8, "all": EVENTS}


def whole(stream: Callable[[], Words]) -> Call:
    """Return the reading of a whole stream."""

    async def read() -> None:
        text = ""
        async for word in stream():
            text += word
        assert text == "word " * EVENTS, text

    return read


async def chunks(openings: dict[str, Opening], url: str, way: str, rounds: int, calls: int) -> list[dict[str, Any]]:
    """Return the rows of streams that are sent in *way*."""
    async with contextlib.AsyncExitStack() as stack:
        works = {}
        for name, opening in openings.items():
            client = await stack.enter_async_context(opening(f"{url}/{way}"))
            if client.stream is not None:
                works[name] = at_concurrency(whole(client.stream), CONCURRENCY)
        gc.freeze()
        figures = await in_turn(works, rounds, calls)
        gc.unfreeze()
    per_chunk = {name: [spent / EVENTS for spent in spents] for name, spents in figures.items()}
    return [{"events a read": WAYS[way], **row} for row in beside(per_chunk, BARE)]


async def first_chunks(openings: dict[str, Opening], url: str, rounds: int) -> dict[str, float]:
    """Return the median microseconds until the first chunk with output, by name."""
    figures: dict[str, list[float]] = {}
    async with contextlib.AsyncExitStack() as stack:
        streams = {}
        for name, opening in openings.items():
            client = await stack.enter_async_context(opening(f"{url}/first"))
            if client.stream is not None:
                streams[name] = client.stream
        for number in range(rounds + 1):
            for name, stream in streams.items():
                spent = await _until_first(stream)
                if number:
                    figures.setdefault(name, []).append(spent)
            progress(f"first chunk {number} of {rounds}")
    return {name: statistics.median(spents) for name, spents in figures.items()}


async def _until_first(stream: Callable[[], Words]) -> float:
    begun, spent = time.perf_counter(), 0.0
    async for word in stream():
        if word and not spent:
            spent = (time.perf_counter() - begun) * 1e6
    return spent


def main() -> None:
    options = options_of(
        "CPU per streamed chunk and time to the first, beside bare aiohttp and other clients.",
        rounds=(int, 5, "rounds in turn"),
        calls=(int, 32, "streams a round and contestant; four times as many in bursts"),
        firsts=(int, 100, "first chunks timed"),
        loop=(str, "asyncio", "asyncio or uvloop"),
        contestants=(str, [], "who takes part: all that are installed"),
    )
    openings, notes = present([BARE, *options.contestants] if options.contestants else None)
    conditions = {"loop": options.loop, "concurrency": CONCURRENCY, "rounds": options.rounds, "events a stream": EVENTS}
    results = Results("streaming", "CPU time per streamed chunk", COLUMNS, [], conditions, notes, LIBRARIES)
    with server() as url, runner(options.loop) as run:
        for way in WAYS:
            calls = max(options.calls, CONCURRENCY) * (1 if way == "one" else 4)
            results.rows += run.run(chunks(openings, url, way, options.rounds, calls - calls % CONCURRENCY))
        firsts = run.run(first_chunks(openings, url, options.firsts))
        for row in results.rows[: len(firsts)]:
            first = firsts[row["contestant"]]
            row |= {"first_us": first, "added_us": first - firsts[BARE]}
    deliver(results, options, bars("contestant", "median", "events a read", "CPU per chunk, µs"))


if __name__ == "__main__":
    main()
