"""P04: SIGTERM in the middle of streams, in a real process over real sockets.

Within the grace they go on, then they get an error frame; the process ends in order and lets go of the upstream.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from asyncrouter.testing.server import Gate, ScriptedServer, Sse, chunks

GATEWAY = Path(__file__).parents[1] / "support" / "draining_gateway.py"


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def events(response):
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def test_p04_on_sigterm_a_stream_may_end_and_another_gets_an_error_frame():
    end, never = Gate(), Gate()
    answer = chunks("one two")
    script = [Sse([*answer[:2], end, *answer[2:]]), Sse([*answer[:2], never])]
    async with ScriptedServer(script) as upstream:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, str(GATEWAY), upstream.url, "1.0", stdout=asyncio.subprocess.PIPE
        )
        try:
            url = (await gateway.stdout.readline()).decode().strip()
            async with aiohttp.ClientSession() as session:
                streams = []
                for number in (1, 2):
                    streams.append(events(await session.post(url, json={"prompt": "hi"})))
                    assert (await anext(streams[-1]))["text"] in {"", "one"}
                    await upstream.received(number)
                gateway.send_signal(signal.SIGTERM)
                end.release()
                ends = [[one async for one in stream] for stream in streams]
            assert "".join(one["text"] for one in ends[0]).endswith(" two")
            assert ends[1][-1] == {"error": "RouterClosed"}
            assert await gateway.wait() == 0
            await asyncio.wait_for(upstream.requests[1].disconnected.wait(), 5.0)
        finally:
            if gateway.returncode is None:
                gateway.kill()
                await gateway.wait()
