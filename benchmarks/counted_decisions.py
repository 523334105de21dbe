"""The work of a decision among 2, 100 and 1,000 deployments, counted, not timed: so that a test may hold it.

For every selector: Python's opcodes and the memory at the peak (of a copy of the candidates, which is one opcode) of a
decision, of one with a deployment in a hundred set aside, and the opcodes of a whole call in memory, which keeps up
what the selectors look at.  Time stands still in the fleet, so that nothing happens by it.

``python benchmarks/counted_decisions.py`` prints the figures, ``--json`` prints them as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tracemalloc

from contestants import decision_of
from counted import Tracer
from measuring import MESSAGES, Call
from scale import SELECTORS, opened

COUNTS = (2, 100, 1000)
CALLS = 40
"""So many of each are counted: a few of them explore, by chance, but with the same seed."""
Figures = dict[str, dict[int, float]]


async def opcodes(call: Call) -> float:
    """Return the opcodes of *call*, the mean of :data:`CALLS`."""
    for _ in range(CALLS):
        await call()
    tracer = Tracer()
    with tracer:
        for _ in range(CALLS):
            await call()
    return tracer.counts["opcodes"] / CALLS


async def peak(call: Call) -> float:
    """Return the bytes that *call* holds at most at once."""
    tracemalloc.start()
    await call()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    await call()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return float(most)


async def measure(selector: str) -> Figures:
    """Return the figures of *selector*, by what is counted and the number of deployments."""
    figures: Figures = {}
    for count in COUNTS:
        async with opened(selector, count, seed=1) as (router, *_):
            now = router.fleet.now()
            router.fleet.now = lambda now=now: now  # type: ignore[misc]
            decision = decision_of(router)
            found = {
                "decision, opcodes": await opcodes(decision),
                "decision, bytes at the peak": await peak(decision),
                "whole call, opcodes": await opcodes(lambda router=router: router.generate(MESSAGES)),  # type: ignore[misc]
            }
            for number in range(0, count, 100):
                router.fleet[f"d{number}"].cool_until(now + 3600.0)
            found["with some set aside, opcodes"] = await opcodes(decision)
        for kind, value in found.items():
            figures.setdefault(kind, {})[count] = value
    return figures


def main() -> None:
    figures = {selector: asyncio.run(measure(selector)) for selector in SELECTORS}
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures))
        return
    for selector, kinds in figures.items():
        for kind, by_count in kinds.items():
            print(f"{selector:<12} {kind:<30}", *(f"{count:>6,}: {value:>8,.1f}" for count, value in by_count.items()))


if __name__ == "__main__":
    main()
