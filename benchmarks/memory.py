"""What a request in flight holds in memory: resident memory of a process with so many of them, and afterwards, twice.

Each contestant has a process of its own for each number of requests and each of Python's allocators.  A server on the
loopback takes all of them, answers none until the memory has been read, and then has their connections closed.
"After" is read once all are answered, garbage has been collected and the C library has given back what it can
(``malloc_trim``).  What is left is free memory that is not given back: Python's own allocator keeps an arena of 1 MiB
while a single object in it lives, for whoever comes next; with ``malloc`` in its place it is a page, where that keeps
no freed blocks for the thread (:data:`ALLOCATORS`).  So a second burst tells whether that is used again, and the
allocated blocks whether anything is left over.

Run it as ``python benchmarks/memory.py [--requests N ...] [--contestants NAME ...] [--allocators NAME ...] [--json]
[--plot F.png] [--save [DIR]]``.  Ten thousand need as many open files: ``ulimit -n``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
from contestants import BARE, LIBRARIES, OPENINGS, Client, present
from measuring import Column, Results, deliver, options_of, progress, server
from plotting import bars

COLUMNS = (
    Column("requests", "requests"),
    Column("allocator", "allocator"),
    Column("contestant", "contestant"),
    Column("start_mib", "start, MiB"),
    Column("in_flight_mib", "in flight, MiB"),
    Column("per_request_kib", "KiB a request"),
    Column("over", f"over {BARE}", 2),
    Column("after_mib", "after, MiB"),
    Column("after_over", "after over start", 3),
    Column("again_mib", "a second time, MiB"),
    Column("after_again_mib", "after it and 64 more, MiB"),
    Column("blocks_over", "blocks after over start", 3),
)
ALLOCATORS = {
    "pymalloc": {"PYTHONMALLOC": "pymalloc"},
    "malloc": {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"},
}
"""How each is asked for, of Python and of the C library."""
WARM_UP = 64
"""Requests before the start is read, and again before the last reading."""
AT_ONCE = 500
"""Requests that begin together; more could not all connect within the router's bound in time."""
PATIENCE_S = 120.0
SETTLE_S = 1.5
"""Until connections are closed, and the router has looked at its bounds in time, which it does once a second."""


def resident_mib() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def trim() -> None:
    """Give back to the system what is free, where the C library can."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


async def held(session: aiohttp.ClientSession, url: str) -> int:
    """Return how many requests the server holds."""
    async with session.get(f"{url}/held") as response:
        return int(await response.text())


async def begun(client: Client, control: aiohttp.ClientSession, url: str, size: int) -> list[asyncio.Task[str]]:
    """Return so many calls, once the server holds all of them."""
    calls: list[asyncio.Task[str]] = []
    while len(calls) < size:
        calls += [asyncio.ensure_future(client.call()) for _ in range(min(AT_ONCE, size - len(calls)))]
        async with asyncio.timeout(PATIENCE_S):
            while await held(control, url) < len(calls):  # noqa: ASYNC110 - the server is in another process
                await asyncio.sleep(0.01)
    return calls


async def wave(client: Client, url: str, size: int) -> tuple[float, float]:
    """Make so many calls at once, and return the resident memory while all wait, and when all are over."""
    async with aiohttp.ClientSession() as control:
        calls = await begun(client, control, url, size)
        gc.collect()
        waiting = resident_mib()
        async with control.get(f"{url}/release"):
            pass
        assert all(text.startswith("word") for text in await asyncio.gather(*calls))
        del calls
    await asyncio.sleep(SETTLE_S)
    trim()
    return waiting, resident_mib()


async def one_process(url: str, contestant: str, requests: int) -> dict[str, float | None]:
    """Return the readings of this process."""
    async with OPENINGS[contestant](f"{url}/hold") as client:
        _, start = await wave(client, url, WARM_UP)
        blocks = sys.getallocatedblocks()
        in_flight, after = await wave(client, url, requests)
        over = sys.getallocatedblocks() / blocks if blocks else None  # malloc does not count its own
        again, _ = await wave(client, url, requests)
        _, after_again = await wave(client, url, WARM_UP)
        return {
            "start_mib": start, "in_flight_mib": in_flight, "after_mib": after,
            "again_mib": again, "after_again_mib": after_again, "blocks_over": over,
        }  # fmt: skip


def measured(url: str, allocator: str, contestant: str, requests: int) -> dict[str, Any]:
    """Return the row of one contestant, measured in a process of its own."""
    command = [sys.executable, __file__, "--inside", url, contestant, str(requests)]
    own = {**os.environ, **ALLOCATORS[allocator]}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    if done.returncode:
        raise SystemExit(f"{contestant} with {requests:,} requests: {done.stderr.strip().splitlines()[-1]}")
    row: dict[str, Any] = json.loads(done.stdout)
    grown = row["in_flight_mib"] - row["start_mib"]
    described = {"requests": requests, "allocator": allocator, "contestant": contestant}
    over = row["after_mib"] / row["start_mib"]
    return {**described, **row, "per_request_kib": grown * 1024 / requests, "after_over": over}


def beside_bare(rows: list[dict[str, Any]]) -> None:
    """Put into each of *rows* what a request holds over what one of bare aiohttp does under the same conditions."""
    alike = {(row["requests"], row["allocator"]): row for row in rows if row["contestant"] == BARE}
    for row in rows:
        row["over"] = row["per_request_kib"] / alike[row["requests"], row["allocator"]]["per_request_kib"]


def allow_open_files() -> None:
    """Raise the bound on open files as far as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    allow_open_files()
    if sys.argv[1:2] == ["--inside"]:
        url, contestant, requests = sys.argv[2:]
        print(json.dumps(asyncio.run(one_process(url, contestant, int(requests)))))
        return
    options = options_of(
        "Resident memory per request in flight, beside bare aiohttp.",
        requests=(int, [2000, 10_000], "requests in flight"),
        allocators=(str, list(ALLOCATORS), "Python's own, or the C library's"),
        contestants=(str, [BARE, "asyncrouter"], "who takes part"),
    )
    openings, notes = present([BARE, *options.contestants])
    conditions = {"begun_at_once": AT_ONCE}
    results = Results("memory", "Memory per request in flight", COLUMNS, [], conditions, notes, LIBRARIES)
    for requests, allocator, contestant in itertools.product(options.requests, options.allocators, openings):
        with server() as url:
            results.rows.append(measured(url, allocator, contestant, requests))
        progress(f"{contestant}, {requests:,} requests, {allocator}")
    beside_bare(results.rows)
    draw = bars("contestant", "per_request_kib", "requests", "KiB a request in flight")
    drawn = [row for row in results.rows if row["allocator"] == options.allocators[0]]
    deliver(results, options, lambda document, path: draw({**document, "rows": drawn}, path))


if __name__ == "__main__":
    main()
