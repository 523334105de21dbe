"""What a routed call costs: CPU time of this process per call, beside a bare aiohttp call to the same server.

Three things are measured, in rounds that take turns so that a drift of the machine meets all alike:

- the decision: estimate, filter and select on two deployments, a prompt of about 100 tokens;
- the whole routed call in memory: a provider that answers at once, so that only the router is left;
- the call over loopback HTTP: aiohttp as people write it, and asyncrouter with everything on.

The server answers from memory in a process of its own, on another core where there is one.  Run it as
``python benchmarks/overhead.py [--rounds N] [--calls N] [--concurrency N] [--json]``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from importlib.metadata import version

import aiohttp

from asyncrouter import Router
from asyncrouter.engine.decide import decide
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage
from asyncrouter.types.trace import TraceBuilder

PROMPT = (
    "Our billing service rounds each line item to cents before summing, and some invoices differ from the ledger by a "
    "cent or two. Explain in detail why that happens, compare rounding per line with rounding the total, and propose a "
    "migration plan step by step. The plan must keep issued invoices unchanged, work without downtime, and be finished "
    "within two sprints. Which of the two would you choose, and what would you test first? Please keep the answer "
    "under three hundred words and give one worked example with three line items of 0.333 each."
)
MESSAGES = [{"role": "user", "content": PROMPT}]
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 110, "completion_tokens": 60, "total_tokens": 170},
}
BODY = json.dumps(ANSWER).encode()
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

Work = Callable[[int], Awaitable[None]]
"""Makes so many calls."""


class CannedServer(asyncio.Protocol):
    """Answers every request with the same bytes; knows just enough HTTP to find where a request ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(REPLY)


def serve(port: multiprocessing.Queue[int], core: int) -> None:
    """Run the server on its own core until killed."""
    pin(core)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(CannedServer, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def pin(core: int) -> None:
    """Keep this process on one core where the system can."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


class InstantProvider:
    """Answers at once: what is left is the router."""

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        return Response(raw=ANSWER, deployment=deployment.name, model=deployment.model, usage=Usage(110, 60))

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        yield Chunk({"choices": [{"index": 0, "delta": {"content": "word"}, "finish_reason": "stop"}]})

    async def aclose(self) -> None:
        """Nothing is open."""


def configuration(provider: object) -> dict[str, object]:
    """Return two deployments chosen by complexity, prices and breakers on."""
    deployments = {
        name: {"provider": "p", "model": name, "price": {"input": 0.15, "output": 0.6}, "context_window": 128_000}
        for name in ("small", "large")
    }
    group = {"deployments": ["small", "large"], "select": {"use": "complexity", "threshold": 0.7}}
    return {"providers": {"p": provider}, "deployments": deployments, "groups": {"chat": group}}


@contextlib.asynccontextmanager
async def contestants(url: str, concurrency: int) -> AsyncIterator[dict[str, Work]]:
    """Yield what is measured, by name."""
    http = {"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "BENCHMARK_KEY"}
    async with (
        Router.from_config(configuration(InstantProvider())) as in_memory,
        Router.from_config(configuration(http)) as over_http,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):

        async def bare_call() -> None:
            body = {"model": "small", "messages": MESSAGES}
            headers = {"Authorization": "Bearer key"}
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                response.raise_for_status()
                (await response.json())["choices"][0]["message"]["content"]

        async def decision() -> None:
            request, route, _ = in_memory.enter(MESSAGES, agent=None, model=None, complexity=None, params={})
            decide(request, route, in_memory.fleet, TraceBuilder("", None, "chat", 0.0))

        yield {
            "decision": at_concurrency(decision, 1),
            "routed call in memory": at_concurrency(lambda: in_memory.generate(MESSAGES), 1),
            "bare aiohttp": at_concurrency(bare_call, concurrency),
            "asyncrouter over HTTP": at_concurrency(lambda: over_http.generate(MESSAGES), concurrency),
        }


def at_concurrency(call: Callable[[], Awaitable[object]], concurrency: int) -> Work:
    """Return the work of making calls with so many under way at once."""

    async def lane(calls: int) -> None:
        for _ in range(calls):
            await call()

    async def work(calls: int) -> None:
        await asyncio.gather(*(lane(calls // concurrency) for _ in range(concurrency)))

    return lane if concurrency == 1 else work


async def measure(url: str, rounds: int, calls: int, concurrency: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per call of every round, by name."""
    figures: dict[str, list[float]] = {}
    async with contestants(url, concurrency) as works:
        for number in range(rounds + 1):  # the first round warms up
            for name, work in works.items():
                before = time.process_time()
                await work(calls)
                spent = (time.process_time() - before) / calls * 1e6
                if number:
                    figures.setdefault(name, []).append(spent)
            if sys.stderr.isatty():
                sys.stderr.write(f"\rround {number} of {rounds} ")
    return figures


def report(figures: dict[str, list[float]], concurrency: int) -> None:
    """Print the table."""
    base = statistics.median(figures["bare aiohttp"])
    print(f"{'CPU per call, µs':<24}{'median':>8}{'least':>8}{'over bare aiohttp':>20}")
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name:<24}{median:>8.1f}{min(spent):>8.1f}{median / base:>20.2f}")
    print(f"\n{machine()}; concurrency {concurrency} over HTTP, 1 in memory; {len(figures['decision'])} rounds in turn")


def machine() -> str:
    """Return what the figures hold for."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("asyncrouter", "aiohttp", "anyio"))
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, asyncio loop, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU per routed call, beside bare aiohttp.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2000, help="calls a round and contestant")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    os.environ["BENCHMARK_KEY"] = "key"
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port, 1), daemon=True)
    server.start()
    pin(0)
    try:
        url = f"http://127.0.0.1:{port.get(timeout=30)}"
        figures = asyncio.run(measure(url, options.rounds, options.calls, options.concurrency))
    finally:
        server.kill()
    if options.json:
        print(json.dumps({"machine": machine(), "concurrency": options.concurrency, "cpu_us_per_call": figures}))
    else:
        report(figures, options.concurrency)


if __name__ == "__main__":
    main()
