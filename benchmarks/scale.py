"""What a decision costs among 2 to 10,000 deployments, with every selector: CPU time of this process.

The fleet is measured at rest and with one deployment in a hundred set aside.  The whole call in memory (its provider
answers at once) is measured too: it keeps up to date what the selectors look at, which the decision alone does not.
Every deployment has a latency, a price, a weight and a context window; each selector goes by its own of them.

Run it as ``python benchmarks/scale.py [--rounds N] [--calls N] [--deployments N ...] [--selectors NAME ...] [--json]
[--plot F.png] [--save [DIR]]``.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from contestants import InstantProvider, decision_of
from measuring import (
    MESSAGES,
    Column,
    Results,
    Work,
    at_concurrency,
    deliver,
    in_turn,
    measure_each,
    options_of,
)
from plotting import lines

from asyncrouter import Router

SELECTORS = ("priority", "weighted", "round_robin", "least_busy", "latency", "cost", "complexity")
COLUMNS = (
    Column("selector", "selector"),
    Column("deployments", "deployments"),
    Column("decision", "decision, µs"),
    Column("over", "over that at the least", 2),
    Column("aside", "1 of 100 set aside, µs"),
    Column("call", "whole call in memory, µs"),
)


def configuration(selector: str, count: int) -> dict[str, Any]:
    """Return a group of *count* deployments that differ in everything a selector looks at."""
    chance = random.Random(count)  # noqa: S311 - no secret
    deployments = {
        f"d{number}": {
            "provider": "p",
            "model": f"m{number}",
            "price": {"input": round(chance.uniform(0.1, 3.0), 3), "output": round(chance.uniform(0.4, 15.0), 3)},
            "context_window": 128_000,
            "weight": round(chance.uniform(0.5, 2.0), 3),
        }
        for number in range(count)
    }
    group = {"deployments": list(deployments), "select": selector}
    return {"providers": {"p": InstantProvider()}, "deployments": deployments, "groups": {"chat": group}}


@contextlib.asynccontextmanager
async def opened(selector: str, count: int, seed: int | None = None) -> AsyncIterator[tuple[Router, Work, Work]]:
    """Yield a router, and the work of deciding and of calling in it."""
    async with Router.from_config(configuration(selector, count), seed=seed) as router:
        chance = random.Random(count)  # noqa: S311 - no secret
        for number in range(count):
            router.fleet[f"d{number}"].answered(chance.uniform(0.2, 2.0))

        yield router, at_concurrency(decision_of(router), 1), at_concurrency(lambda: router.generate(MESSAGES), 1)


async def measure(selector: str, counts: Sequence[int], rounds: int, calls: int) -> AsyncIterator[dict[str, Any]]:
    """Yield a row for each of *counts*, whose rounds take turns."""
    async with contextlib.AsyncExitStack() as stack:
        routers = {count: await stack.enter_async_context(opened(selector, count)) for count in counts}
        decisions = await least({count: made[1] for count, made in routers.items()}, rounds, calls)
        whole = await least({count: made[2] for count, made in routers.items()}, rounds, calls)
        for count, (router, *_) in routers.items():
            for number in range(0, count, 100):
                router.fleet[f"d{number}"].cool_until(router.fleet.now() + 3600.0)
        aside = await least({count: made[1] for count, made in routers.items() if count >= 100}, rounds, calls)
    for count in counts:
        yield {
            "selector": selector,
            "deployments": count,
            "decision": decisions[count],
            "over": decisions[count] / decisions[counts[0]],
            "aside": aside.get(count),
            "call": whole[count],
        }


async def least(works: dict[int, Work], rounds: int, calls: int) -> dict[int, float]:
    """Return the least microseconds per call of each of *works*."""
    figures = await in_turn({str(count): work for count, work in works.items()}, rounds, calls)
    return {count: min(figures[str(count)]) for count in works}


def main() -> None:
    options = options_of(
        "CPU of a decision among many deployments, with every selector.",
        rounds=(int, 3, "rounds in turn, of which the least counts"),
        calls=(int, 500, "decisions a round"),
        deployments=(int, [2, 10, 100, 1000, 10_000], "how many there are"),
        selectors=(str, list(SELECTORS), "which are measured"),
    )
    conditions = {"rounds": options.rounds, "decisions a round": options.calls}
    results = Results("scale", "CPU time of a decision, by selector and deployments", COLUMNS, [], conditions)
    counts = sorted(options.deployments)
    measure_each(results, options.selectors, lambda selector: measure(selector, counts, options.rounds, options.calls))
    deliver(
        results, options, lines("deployments", "decision", "selector", ("deployments", "decision, µs"), decades=True)
    )


if __name__ == "__main__":
    main()
