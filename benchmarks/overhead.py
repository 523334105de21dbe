"""What a routed call costs: CPU time of this process per call, beside bare aiohttp calls and other routers.

All call the same server, which answers from memory in a process of its own on another core where there is one; rounds
take turns.  In memory, where the provider answers at once and only the router is left, two more things are measured:
the decision (estimate, filter and select among two deployments, a prompt of about 100 tokens) and the whole call.

Run it as ``python benchmarks/overhead.py [--rounds N] [--calls N] [--concurrency N ...] [--loop asyncio|uvloop]
[--polling] [--contestants NAME ...] [--json] [--plot F.png] [--save [DIR]]``; with the others installed, by
``.rivals-venv/bin/python`` after ``make rivals``.
"""

from __future__ import annotations

import contextlib
import gc
from typing import Any

from contestants import BARE, LIBRARIES, InstantProvider, Opening, configuration, decision_of, present
from measuring import (
    MESSAGES,
    Column,
    Results,
    Work,
    at_concurrency,
    beside,
    deliver,
    in_turn,
    options_of,
    runner,
    server,
)
from plotting import bars

from asyncrouter import Router

COLUMNS = (
    Column("concurrency", "concurrency"),
    Column("contestant", "CPU per call, µs"),
    Column("median", "median"),
    Column("least", "least"),
    Column("over", f"over {BARE}", 2),
)


async def over_http(
    openings: dict[str, Opening], url: str, concurrency: int, rounds: int, calls: int
) -> list[dict[str, Any]]:
    """Return the rows of those who call the server."""
    async with contextlib.AsyncExitStack() as stack:
        works: dict[str, Work] = {}
        for name, opening in openings.items():
            client = await stack.enter_async_context(opening(url))
            assert (await client.call()).startswith("word word")
            works[name] = at_concurrency(client.call, concurrency)
        gc.freeze()  # what has been imported is nobody's garbage
        figures = await in_turn(works, rounds, calls - calls % concurrency)
        gc.unfreeze()
    return [{"concurrency": concurrency, **row} for row in beside(figures, BARE)]


async def in_memory(rounds: int, calls: int) -> list[dict[str, Any]]:
    """Return the rows of what needs no server."""
    async with Router.from_config(configuration(InstantProvider())) as router:
        works = {
            "asyncrouter: the decision alone": at_concurrency(decision_of(router), 1),
            "asyncrouter: the call in memory": at_concurrency(lambda: router.generate(MESSAGES), 1),
        }
        figures = await in_turn(works, rounds, calls)
    return [{**row, "over": None} for row in beside(figures, next(iter(works)))]


def main() -> None:
    options = options_of(
        "CPU per routed call, beside bare aiohttp and other routers.",
        rounds=(int, 5, "rounds in turn"),
        calls=(int, 1024, "calls a round and contestant; others than aiohttp and asyncrouter make as many"),
        concurrency=(int, [1, 64, 512], "calls under way at once"),
        loop=(str, "asyncio", "asyncio or uvloop"),
        polling=(bool, False, "let the server never sleep, so that nobody pays for waking it"),
        contestants=(str, [], "who takes part: all that are installed"),
    )
    openings, notes = present([BARE, *options.contestants] if options.contestants else None)
    conditions = {"loop": options.loop, "rounds": options.rounds, "calls_a_round": options.calls}
    if options.polling:
        conditions["server"] = "polling"
    results = Results("overhead", "CPU time per call", COLUMNS, conditions=conditions, notes=notes, libraries=LIBRARIES)
    with server(polling=options.polling) as url, runner(options.loop) as run:
        for concurrency in options.concurrency:
            results.rows += run.run(over_http(openings, url, concurrency, options.rounds, options.calls))
        bare = results.rows[0]["median"]
        results.rows += [
            {**row, "over": row["median"] / bare} for row in run.run(in_memory(options.rounds, options.calls))
        ]
    deliver(results, options, bars("contestant", "over", "concurrency", f"over {BARE}"))


if __name__ == "__main__":
    main()
