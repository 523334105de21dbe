"""What plugins cost a call: CPU time of this process with 0, 1, 3 and 10 of them on each hook.

The provider answers at once in memory, so that only the router is left; for ``retry`` and ``fallback`` the first
deployment fails every call.  Every plugin does the least its hook allows: it declines, or passes on.

Run it as ``python benchmarks/plugins.py [--rounds N] [--calls N] [--hooks NAME ...] [--json] [--plot F.png]
[--save [DIR]]``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from contestants import InstantProvider, configuration
from measuring import (
    MESSAGES,
    Call,
    Column,
    Results,
    at_concurrency,
    deliver,
    in_turn,
    measure_each,
    options_of,
)
from plotting import lines

from asyncrouter import Overloaded, Router, hookimpl
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response

COUNTS = (0, 1, 3, 10)
COLUMNS = (
    Column("hook", "hook"),
    Column("plugins", "plugins"),
    Column("call", "CPU per call, µs"),
    Column("each", "each plugin, µs", 2),
)


class FailsFirst(InstantProvider):
    """The first deployment is always overloaded; the second answers."""

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        if deployment.name == "small":
            raise Overloaded("too much to do", deployment="small")
        return await super().complete(request, deployment, timeouts)


class Estimates:
    @hookimpl
    async def asyncrouter_estimate(self, request: Any) -> None:
        return None


class Filters:
    @hookimpl
    def asyncrouter_filter(self, candidates: Any) -> None:
        return None


class Selects:
    @hookimpl
    async def asyncrouter_select(self, candidates: Any) -> None:
        return None


class Retries:
    @hookimpl
    def asyncrouter_retry(self, attempt: Any) -> None:
        return None


class Falls:
    @hookimpl
    def asyncrouter_fallback(self, attempt: Any) -> None:
        return None


class Judges:
    @hookimpl
    async def asyncrouter_judge(self, response: Any) -> None:
        return None


class Transforms:
    @hookimpl
    def asyncrouter_transform(self, request: Any) -> None:
        return None


class AroundRequests:
    @hookimpl
    async def asyncrouter_around_request(self, call: Any, request: Any) -> Any:
        return await call(request)


class AroundAttempts:
    @hookimpl
    async def asyncrouter_around_attempt(self, call: Any, request: Any, deployment: Any) -> Any:
        return await call(request, deployment)


class AroundRequestStreams:
    @hookimpl
    async def asyncrouter_around_request_stream(
        self, chunks: AsyncGenerator[Chunk], request: Any
    ) -> AsyncGenerator[Chunk]:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk


class AroundAttemptStreams:
    @hookimpl
    async def asyncrouter_around_attempt_stream(
        self, chunks: AsyncGenerator[Chunk], request: Any, deployment: Any
    ) -> AsyncGenerator[Chunk]:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk


class Observes:
    @hookimpl
    def asyncrouter_observe(self, event: Any) -> None:
        return None


PLUGINS: dict[str, Callable[[], object]] = {
    "transform": Transforms,
    "around_request": AroundRequests,
    "estimate": Estimates,
    "filter": Filters,
    "select": Selects,
    "around_attempt": AroundAttempts,
    "judge": Judges,
    "retry": Retries,
    "fallback": Falls,
    "observe": Observes,
    "around_request_stream": AroundRequestStreams,
    "around_attempt_stream": AroundAttemptStreams,
}
FAILING = frozenset({"retry", "fallback"})


def configured(hook: str) -> dict[str, Any]:
    """Return two deployments; where the first fails, no breaker and no budget keeps it from doing so each time."""
    config = configuration(FailsFirst() if hook in FAILING else InstantProvider())
    if hook in FAILING:
        config["groups"]["chat"]["select"] = "priority"
    config["groups"]["chat"]["breaker"] = {"failures": 10**9, "min_calls": 10**9}
    return config


def call_of(router: Router, hook: str) -> Call:
    """Return a call that meets *hook*."""
    if not hook.endswith("_stream"):
        return lambda: router.generate(MESSAGES)

    async def stream() -> None:
        async with router.stream(MESSAGES) as chunks:
            async for _chunk in chunks:
                pass

    return stream


async def measure(hook: str, rounds: int, calls: int) -> AsyncIterator[dict[str, Any]]:
    """Yield a row for each number of plugins on *hook*, whose rounds take turns."""
    async with contextlib.AsyncExitStack() as stack:
        works = {}
        for count in COUNTS:
            plugins = [PLUGINS[hook]() for _ in range(count)]
            router = await stack.enter_async_context(Router.from_config(configured(hook), plugins=plugins))
            works[str(count)] = at_concurrency(call_of(router, hook), 1)
        least = {int(count): min(spent) for count, spent in (await in_turn(works, rounds, calls)).items()}
    for count in COUNTS:
        each = (least[count] - least[0]) / count if count else None
        yield {"hook": hook, "plugins": count, "call": least[count], "each": each}


def main() -> None:
    options = options_of(
        "CPU per call with plugins on each hook.",
        rounds=(int, 5, "rounds in turn, of which the least counts"),
        calls=(int, 250, "calls a round"),
        hooks=(str, list(PLUGINS), "which are measured"),
    )
    conditions = {"rounds": options.rounds, "calls a round": options.calls}
    results = Results("plugins", "CPU time per call with plugins on a hook", COLUMNS, [], conditions)
    measure_each(results, options.hooks, lambda hook: measure(hook, options.rounds, options.calls))
    deliver(
        results, options, lines("plugins", "call", "hook", ("plugins on the hook", "CPU per call, µs"), decades=False)
    )


if __name__ == "__main__":
    main()
