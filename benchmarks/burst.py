"""Many calls that begin at the same moment, on connections that have to be made first: how many are answered.

Nothing bounds them but what each contestant sets by itself.  The server has a core of its own where there are two, and
answers at once.  Each contestant is warm: it has made one call before.

Run it as ``python benchmarks/burst.py [--calls N ...] [--contestants NAME ...] [--json] [--plot F.png]
[--save [DIR]]``.  Ten thousand need as many open files: ``ulimit -n``.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from contestants import BARE, LIBRARIES, OPENINGS, present
from measuring import Column, Results, deliver, options_of, pin, progress, server
from memory import allow_open_files
from plotting import bars

COLUMNS = (
    Column("calls", "calls at once"),
    Column("contestant", "contestant"),
    Column("answered", "answered"),
    Column("seconds", "all over after, s"),
    Column("cpu_us", "CPU a call, µs"),
)


async def burst(url: str, contestant: str, calls: int) -> dict[str, Any]:
    """Return what came of so many calls at once."""
    async with OPENINGS[contestant](url) as client:
        await client.call()
        began, spent = time.perf_counter(), time.process_time()
        texts = await asyncio.gather(*(client.call() for _ in range(calls)), return_exceptions=True)
        return {
            "answered": sum(isinstance(text, str) for text in texts),
            "seconds": time.perf_counter() - began,
            "cpu_us": (time.process_time() - spent) / calls * 1e6,
        }


def main() -> None:
    options = options_of(
        "Calls that begin at the same moment.",
        calls=(int, [1000, 10_000], "calls that begin together"),
        contestants=(str, [BARE, "asyncrouter"], "who takes part"),
    )
    allow_open_files()
    openings, notes = present(options.contestants)
    pin(0)
    results = Results("burst", "Calls that begin at the same moment", COLUMNS, [], {}, notes, LIBRARIES)
    for calls, contestant in itertools.product(options.calls, openings):
        with server() as url:
            row = asyncio.run(burst(url, contestant, calls))
        results.rows.append({"calls": calls, "contestant": contestant, **row})
        progress(f"{contestant}, {calls:,} calls")
    deliver(results, options, bars("contestant", "cpu_us", "calls", "CPU a call, µs"))


if __name__ == "__main__":
    main()
