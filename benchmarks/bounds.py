"""What a bound in time around an await costs: ours, asyncio's and anyio's, CPU microseconds each.

Rounds take turns.  Run it as ``python benchmarks/bounds.py [--rounds N]``.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import anyio

from asyncrouter.engine.cutoff import cut_off_after

CALLS = 5000


async def ours() -> None:
    for _ in range(CALLS):
        with cut_off_after(60.0):
            pass


async def asyncios() -> None:
    for _ in range(CALLS):
        async with asyncio.timeout(60.0):  # noqa: ASYNC100 - the bound alone is measured
            pass


async def anyios() -> None:
    for _ in range(CALLS):
        with anyio.move_on_after(60.0):  # noqa: ASYNC100 - the bound alone is measured
            pass


async def main(rounds: int) -> None:
    contestants = {"cut_off_after": ours, "asyncio.timeout": asyncios, "anyio.move_on_after": anyios}
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            before = time.process_time()
            await work()
            figures[name].append((time.process_time() - before) / CALLS * 1e6)
    base = statistics.median(figures["cut_off_after"])
    print(f"{'CPU, µs':<22}{'median':>8}{'least':>8}{'over ours':>11}")
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name:<22}{median:>8.2f}{min(spent):>8.2f}{median / base:>11.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU of a bound in time around an await.")
    parser.add_argument("--rounds", type=int, default=15)
    asyncio.run(main(parser.parse_args().rounds))
