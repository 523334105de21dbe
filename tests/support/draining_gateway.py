"""A small gateway in a process of its own: streams a router's answers, and on SIGTERM drains, ends what is left, exits.

``python draining_gateway.py UPSTREAM_URL GRACE_S`` prints its own address once it accepts.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from aiohttp import web

from asyncrouter import Router, RoutingError


async def serve(upstream: str, grace_s: float) -> None:
    config = {
        "providers": {"up": {"kind": "openai", "base_url": f"{upstream}/v1"}},
        "deployments": {"a": {"provider": "up", "model": "m"}},
    }
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Router.from_config(config) as router:

        async def chat(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            try:
                async with router.stream((await request.json())["prompt"]) as stream:
                    async for chunk in stream:
                        await response.write(f"data: {json.dumps({'text': chunk.text})}\n\n".encode())
            except RoutingError as error:
                await response.write(f"data: {json.dumps({'error': type(error).__name__})}\n\n".encode())
            await response.write_eof()
            return response

        app = web.Application()
        app.router.add_post("/", chat)
        runner = web.AppRunner(app, shutdown_timeout=5.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201 - what its parent reads
        await stop.wait()
        await site.stop()
        await router.aclose(grace_s=grace_s)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
