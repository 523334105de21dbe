"""Rows C01, C02 and C04: callers that leave, and callers that read slowly."""

from __future__ import annotations

import asyncio

import pytest
from routed import RawStreams, delta

from asyncrouter import DeadlineExceeded
from asyncrouter.testing import Hang, Stream
from asyncrouter.testing.http_script import (
    End,
    Gate,
    Http,
    Sse,
    chunk,
    chunks,
    framed,
    head,
    sse_event,
)
from asyncrouter.testing.http_script import Hang as Silence

EITHER = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
WORDS = ["one ", "two ", "three ", "four"]
PRICE = {"a": {"price": {"input": 1.0, "output": 1.0}}}
FAILURES = {"failures": 1}
"""One failure of an upstream would open its breaker; a caller who leaves is none."""


async def begun(f, streamed, **arguments):
    """Begin a call in a task of its own, and return the task once its upstream has been asked."""
    task = asyncio.create_task(f.read(**arguments)) if streamed else f.begin(**arguments)
    await f.server.received(1)
    return task


async def leaves(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ---------------------------------------------------------------- C01


@EITHER
@pytest.mark.parametrize("head", [False, True], ids=["nothing", "a head"])
async def test_c01_leaving_before_the_first_token_ends_the_upstreams_call(wall, streamed, head):
    held = Silence() if not head else Sse([Gate()]) if streamed else Http(200, b"{}", content_length=9, end=End.HANG)
    async with wall({"a": held}, breaker=FAILURES, deployments=PRICE) as f:
        await leaves(await begun(f, streamed))
        await f.server.requests[0].disconnected.wait()
        a = f.router.metrics().deployments["a"]
        assert (a.cancelled, a.failures, a.in_flight, a.breaker) == (1, 0, 0, "closed")
        assert (a.input_tokens > 0, a.output_tokens) == (True, 0), "the prompt was sent"


@EITHER
async def test_c01_at_once(faults, streamed):
    async with faults(Hang(), breaker=FAILURES) as f:
        task = asyncio.create_task(f.read()) if streamed else f.begin()
        await asyncio.sleep(3.0)
        await leaves(task)
        assert f.sent[0].ended_at == f.now() == 3.0
        assert f.router.metrics().deployments["a"].breaker == "closed"


@EITHER
async def test_c01_with_a_hedge_under_way_both_end(faults, streamed):
    async with faults(Hang(), hedge={"at": 1.0, "max_extra_load": 1.0}, breaker=FAILURES) as f:
        task = asyncio.create_task(f.read()) if streamed else f.begin()
        await asyncio.sleep(3.0)
        await leaves(task)
        assert [one.ended_at for one in f.sent] == [3.0, 3.0]
        assert [one.breaker for one in f.router.metrics().deployments.values()] == ["closed", "closed"]


# ---------------------------------------------------------------- C02


@pytest.mark.parametrize("way", ["break", "cancel", "error"])
async def test_c02_leaving_in_the_middle_ends_the_upstreams_call(wall, way):
    held = Sse([*chunks("one two three four")[:4], Gate()])
    async with wall({"a": held}, breaker=FAILURES, deployments=PRICE) as f:
        waiting = asyncio.Event()

        async def read():
            async with f.stream() as stream:
                async for one in stream:
                    if one.text == "three ":
                        break
                if way == "error":
                    raise ZeroDivisionError
                if way == "cancel":
                    waiting.set()
                    await anext(stream)

        task = asyncio.create_task(read())
        if way == "cancel":
            await waiting.wait()
            await leaves(task)
        elif way == "error":
            with pytest.raises(ZeroDivisionError):
                await task
        else:
            await task
        await f.server.requests[0].disconnected.wait()
        metrics = f.router.metrics()
        a = metrics.deployments["a"]
        assert (a.cancelled, a.failures, a.in_flight, a.breaker) == (1, 0, 0, "closed")
        assert a.output_tokens == 4, "14 characters have come, and are paid for"
        assert a.cost_usd == pytest.approx((a.input_tokens + 4) / 1e6)


async def test_c02_at_once(faults):
    async with faults(Stream(WORDS, pause_s=2.0)) as f:
        async with f.stream() as stream:
            async for one in stream:
                if one.text == "two ":
                    break
        assert f.sent[0].ended_at == f.now() == 2.0
        assert f.sent[0].outcome == "closed"


async def test_c02_the_usage_that_the_upstream_had_told_is_the_one_that_counts(faults):
    told = {**delta("two "), "usage": {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100}}
    async with faults(RawStreams(a=[[delta("one "), told, 100.0]])) as f:
        async with f.stream() as stream:
            assert [(await anext(stream)).text for _ in range(2)] == ["one ", "two "]
        a = f.router.metrics().deployments["a"]
        assert (a.input_tokens, a.output_tokens) == (70, 30)


async def test_c02_who_leaves_after_the_last_word_has_had_the_answer(faults):
    async with faults(Stream(WORDS)) as f:
        async with f.stream() as stream:
            async for one in stream:
                if one.finish_reason:
                    break
        assert stream.response.text == "".join(WORDS)
        assert f.router.metrics().total.cancelled == 0


# ---------------------------------------------------------------- C04


class Flood:
    """A stream of *events* big chunks; ``sent`` counts those that the socket has taken so far."""

    def __init__(self, events, size=64 * 2**10):
        self.events = events
        self.event = framed(sse_event(chunk({"content": "x" * size})))
        self.sent = 0

    def steps(self):
        yield head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for _ in range(self.events):
            yield self.event
            self.sent += 1
        yield framed(sse_event(chunk({}, "stop"))) + framed(b"data: [DONE]\n\n") + framed(b"")
        yield End.KEEP


async def standstill(flood):
    """Wait until the flood has stood still for a while."""
    before = -1
    while flood.sent != before:
        before = flood.sent
        await asyncio.sleep(0.2)


def held_by(f):
    """Return the bytes that the one open connection has read, and nobody has taken."""
    (watch,) = f.router._assembler.providers.values()
    (door,) = watch.provider._transport._doors.values()
    (exchange,) = door.exchanges
    return exchange._content._size


async def test_c04_of_a_slow_reader_no_more_is_buffered_than_the_sockets_hold(wall):
    flood = Flood(2000)  # 128 MB
    async with wall({"a": flood}, timeouts={"idle_s": 0.1, "first_token_s": 30.0}) as f:
        async with f.stream(deadline_s=300.0) as stream:
            await anext(stream)
            await standstill(flood)
            stood_at = flood.sent
            assert stood_at < 400, "the upstream is held up: 25 MB are more than any socket's buffers"
            assert held_by(f) < 2**20, "what this process holds of it is bounded"
            for _ in range(300):
                await anext(stream)
            await standstill(flood)
            assert stood_at < flood.sent <= stood_at + 310, "it is read only as fast as the reader reads"
        await f.server.requests[0].disconnected.wait()
        assert f.router.metrics().deployments["a"].breaker == "closed"


async def test_c04_all_of_it_comes_in_the_end_however_slowly_it_is_read(wall):
    flood = Flood(300)
    async with wall({"a": flood}, timeouts={"idle_s": 0.5}) as f:
        pieces = 0
        async with f.stream(deadline_s=300.0) as stream:
            async for one in stream:
                pieces += bool(one.text)
                if pieces in {1, 150}:
                    await standstill(flood)
        assert pieces == 300
        assert len(stream.response.text) == 300 * 64 * 2**10


async def test_c04_after_the_deadline_a_slow_reader_gets_what_is_there_and_waits_for_no_more(faults):
    async with faults(RawStreams(a=[[delta("one "), delta("two "), 1.0, delta("three")]])) as f:
        async with f.stream(deadline_s=10.0) as stream:
            assert (await anext(stream)).text == "one "
            await asyncio.sleep(20.0)
            assert (await anext(stream)).text == "two "
            with pytest.raises(DeadlineExceeded):
                await anext(stream)
        assert f.now() == 20.0
