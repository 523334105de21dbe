"""What a POST over aiohttp costs: CPU time per call of its three uses, on the same connections to the same server.

- ``as written``: ``session.post(url, json=…)`` and ``response.json()``, as people write it;
- ``prepared``: the same session, with address and headers made once, the body by orjson, no redirects;
- ``exchange``: aiohttp's connections and parser, with the request's bytes and the pool by the router
  (``asyncrouter/providers/exchange.py``, ``line.py``, ``pool.py``).

Run it as ``python benchmarks/wire.py [--rounds N] [--calls N] [--concurrency N] [--uvloop] [--json]``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncIterator

import aiohttp
import orjson
import yarl
from measuring import MESSAGES, Work, at_concurrency, in_turn, machine, progress, runner, server

from asyncrouter.providers.exchange import Address
from asyncrouter.providers.pool import Pool

BODY = {"model": "small", "messages": MESSAGES}
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer key"}
BOUNDS = aiohttp.ClientTimeout(total=None, sock_connect=5.0)


@contextlib.asynccontextmanager
async def contestants(url: str, concurrency: int) -> AsyncIterator[dict[str, Work]]:
    """Yield the three uses, by name."""
    prepared_url = yarl.URL(url)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        contextlib.AsyncExitStack() as stack,
    ):
        connector = session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        pool = Pool(connector, 30.0, asyncio.get_running_loop())
        stack.push_async_callback(pool.aclose)
        address = Address(url, HEADERS, None, pool)

        async def as_written() -> None:
            async with session.post(url, json=BODY, headers={"Authorization": "Bearer key"}) as response:
                response.raise_for_status()
                (await response.json())["choices"][0]["message"]["content"]

        async def prepared() -> None:
            body = orjson.dumps(BODY)
            async with session.post(
                prepared_url, data=body, headers=HEADERS, timeout=BOUNDS, allow_redirects=False
            ) as response:
                response.raise_for_status()
                orjson.loads(await response.read())["choices"][0]["message"]["content"]

        async def exchange() -> None:
            line = address.place.take() or await address.connect(BOUNDS)
            await line.ask(address.request_of(orjson.dumps(BODY), {}))
            body = line.body
            assert body is not None
            pieces = []
            while (piece := body.take()) != b"":
                if piece is None:
                    await line.news()
                else:
                    pieces.append(piece)
            line.end()
            orjson.loads(b"".join(pieces))["choices"][0]["message"]["content"]

        yield {one.__name__: at_concurrency(one, concurrency) for one in (as_written, prepared, exchange)}


async def measure(url: str, rounds: int, calls: int, concurrency: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per call of every round, by name."""
    async with contestants(url, concurrency) as works:
        return await in_turn(works, rounds, calls)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU per POST over aiohttp, used in three ways.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=1920, help="calls a round and use")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--uvloop", action="store_true", help="on uvloop")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with server() as url, runner("uvloop" if options.uvloop else "asyncio") as run:
        address = f"{url}/v1/chat/completions"
        figures = run.run(measure(address, options.rounds, options.calls, options.concurrency))
    progress("")
    if options.json:
        print(json.dumps({"machine": machine(), "concurrency": options.concurrency, "cpu_us_per_call": figures}))
        return
    base = statistics.median(figures["as_written"])
    print(f"{'CPU per call, µs':<20}{'median':>8}{'least':>8}{'over as written':>18}")
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name.replace('_', ' '):<20}{median:>8.1f}{min(spent):>8.1f}{median / base:>18.2f}")
    print(f"\n{machine()}; concurrency {options.concurrency}{', uvloop' if options.uvloop else ''}")


if __name__ == "__main__":
    main()
