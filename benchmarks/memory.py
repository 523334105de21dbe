"""What a request in flight holds in memory: resident memory of a process with so many of them, and afterwards.

Each contestant has a process of its own for each number of requests.  A server on the loopback takes all of them,
answers none until the memory has been read, and then has their connections closed.  "After" is read once all are
answered and what is free has been given back to the system, as far as that goes: Python's allocator keeps an arena of
1 MiB while a single object in it lives, for whoever comes next.  So what is really left over is told in objects: the
allocated blocks afterwards over those at the start.

Run it as ``python benchmarks/memory.py [--requests N ...] [--contestants NAME ...] [--json] [--plot F.png]
[--save [DIR]]``.  Ten thousand need as many open files: ``ulimit -n``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
from contestants import BARE, LIBRARIES, OPENINGS, present
from measuring import Column, Results, deliver, options_of, progress, server
from plotting import bars

COLUMNS = (
    Column("requests", "requests"),
    Column("contestant", "contestant"),
    Column("start_mib", "start, MiB"),
    Column("in_flight_mib", "in flight, MiB"),
    Column("per_request_kib", "KiB a request"),
    Column("over", f"over {BARE}", 2),
    Column("after_mib", "after, MiB"),
    Column("blocks_over", "blocks after over start", 3),
)
WARM_UP = 64
PATIENCE_S = 120.0


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


async def one_process(url: str, contestant: str, requests: int) -> dict[str, float]:
    """Return the readings of this process."""
    async with OPENINGS[contestant](f"{url}/hold") as client, aiohttp.ClientSession() as control:

        async def wave(size: int) -> float:
            calls = [asyncio.create_task(client.call()) for _ in range(size)]
            async with asyncio.timeout(PATIENCE_S):
                while await held(control, url) < size:  # noqa: ASYNC110 - the server is in another process
                    await asyncio.sleep(0.05)
            gc.collect()
            reading = resident_mib()
            async with control.get(f"{url}/release"):
                pass
            assert all(text.startswith("word") for text in await asyncio.gather(*calls))
            return reading

        await wave(WARM_UP)
        trim()
        start, blocks = resident_mib(), sys.getallocatedblocks()
        in_flight = await wave(requests)
        await asyncio.sleep(0.5)  # until the connections are closed
        trim()
        after = {"after_mib": resident_mib(), "blocks_over": sys.getallocatedblocks() / blocks}
        return {"start_mib": start, "in_flight_mib": in_flight, **after}


def measured(url: str, contestant: str, requests: int) -> dict[str, Any]:
    """Return the row of one contestant, measured in a process of its own."""
    command = [sys.executable, __file__, "--inside", url, contestant, str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{contestant} with {requests:,} requests: {done.stderr.strip().splitlines()[-1]}")
    row: dict[str, Any] = json.loads(done.stdout)
    grown = row["in_flight_mib"] - row["start_mib"]
    return {"requests": requests, "contestant": contestant, **row, "per_request_kib": grown * 1024 / requests}


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
        contestants=(str, [BARE, "asyncrouter"], "who takes part"),
    )
    openings, notes = present([BARE, *options.contestants])
    results = Results("memory", "Memory per request in flight", COLUMNS, [], {}, notes, LIBRARIES)
    for requests in options.requests:
        with server() as url:
            for contestant in openings:
                results.rows.append(measured(url, contestant, requests))
                progress(f"{contestant}, {requests:,} requests")
    for row in results.rows:
        (bare,) = (one for one in results.rows if (one["requests"], one["contestant"]) == (row["requests"], BARE))
        row["over"] = row["per_request_kib"] / bare["per_request_kib"]
    deliver(results, options, bars("contestant", "per_request_kib", "requests", "KiB a request in flight"))


if __name__ == "__main__":
    main()
