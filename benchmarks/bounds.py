"""What a bound in time around an await costs: our own, in its four forms, asyncio's and anyio's.

Rounds take turns.  Run it as ``python benchmarks/bounds.py [--rounds N]``.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import anyio

from asyncrouter.engine.bounds import bounds_of
from asyncrouter.engine.cutoff import cut_off_after, recurring_cut_off
from asyncrouter.engine.timers import Timers

CALLS = 5000


async def ours() -> None:
    for _ in range(CALLS):
        with cut_off_after(60.0):
            pass


async def kept() -> None:
    timers = Timers()
    for _ in range(CALLS):
        with cut_off_after(60.0, timers=timers):
            pass
    timers.close()


async def one_for_all() -> None:
    timers = Timers()
    bound = recurring_cut_off(timers)
    for _ in range(CALLS):
        bound.again(60.0).leave(None)
    bound.close()
    timers.close()


class Impatient:
    def more_s(self) -> float:
        return 0.0


async def of_a_call() -> None:
    timers, impatient = Timers(), Impatient()
    for _ in range(CALLS):
        bounds = bounds_of(60.0, timers)
        bounds.narrow(30.0, impatient)
        bounds.widen(None)
        bounds.leave(None)
    timers.close()


async def asyncios() -> None:
    for _ in range(CALLS):
        async with asyncio.timeout(60.0):  # noqa: ASYNC100 - the bound alone is measured
            pass


async def anyios() -> None:
    for _ in range(CALLS):
        with anyio.move_on_after(60.0):  # noqa: ASYNC100 - the bound alone is measured
            pass


async def main(rounds: int) -> None:
    contestants = {
        "kept until it is near": kept,
        "one for all waits": one_for_all,
        "both of a call": of_a_call,
        "timer of its own": ours,
        "asyncio.timeout": asyncios,
        "anyio.move_on_after": anyios,
    }
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            before = time.process_time()
            await work()
            figures[name].append((time.process_time() - before) / CALLS * 1e6)
    base = statistics.median(figures["timer of its own"])
    print(f"{'CPU, µs':<22}{'median':>8}{'least':>8}{'over own':>11}")
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name:<22}{median:>8.2f}{min(spent):>8.2f}{median / base:>11.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU of a bound in time around an await.")
    parser.add_argument("--rounds", type=int, default=15)
    asyncio.run(main(parser.parse_args().rounds))
