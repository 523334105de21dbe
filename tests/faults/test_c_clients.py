"""Rows C01, C02 and C04: callers that leave, and callers that read slowly."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from routed import ALONE, PROMPT, ROLE, STOP, RawStreams, delta
from unwilling import Unwilling

from asyncrouter import DeadlineExceeded, ServerError, hookimpl
from asyncrouter.engine.unread import MOST_KEPT
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
    (line,) = (line for place in door.pool.places.values() for line in place.busy)
    return line.body._size


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
            assert stood_at < flood.sent <= stood_at + 400, "as fast as the reader reads; a socket's buffers may grow"
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


# ---------------------------------------------------------------- C04: whoever stops reading for good

ONE_SLOT = {"a": {"limits": {"concurrency": 1}}}


async def test_c04_at_the_deadline_an_unread_stream_gives_back_all_it_holds(faults):
    script = RawStreams(a=[[delta("one "), delta("two "), 1.0, delta("three")], [delta("next"), STOP]])
    async with (
        faults(script, groups=ALONE, deployments=ONE_SLOT, breaker=FAILURES) as f,
        f.stream(deadline_s=10.0) as stream,
    ):
        assert (await anext(stream)).text == "one "
        waiting = asyncio.create_task(f.read(deadline_s=60.0))
        await asyncio.sleep(50.0)
        assert f.sent[0].ended_at == 10.0, "the upstream is closed though nobody reads"
        assert f.sent[1].started_at == 10.0, "and who stands in line for the slot has it"
        await waiting
        a = f.router.metrics().deployments["a"]
        assert (a.calls, a.failures, a.cancelled, a.breaker) == (2, 1, 0, "closed")
        assert f.router.metrics().total.calls == 2, "the call has ended, too"
        assert (await anext(stream)).text == "two ", "what had come by then is still there"
        with pytest.raises(DeadlineExceeded):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_c04_an_unread_stream_whose_first_chunk_was_never_asked_for(faults):
    async with faults(RawStreams(a=[[ROLE, delta("one "), 1.0]])) as f, f.stream(deadline_s=10.0) as stream:
        await asyncio.sleep(20.0)
        assert f.sent[0].ended_at == 10.0
        assert [(await anext(stream)).text for _ in range(2)] == ["", "one "]
        with pytest.raises(DeadlineExceeded):
            await anext(stream)


async def test_c04_an_answer_that_had_come_by_the_deadline_is_one(faults):
    async with faults(Stream(WORDS)) as f:
        async with f.stream(deadline_s=10.0) as stream:
            await asyncio.sleep(20.0)
            assert f.sent[0].ended_at == 10.0
            assert "".join([one.text async for one in stream]) == "".join(WORDS)
        assert stream.response.text == "".join(WORDS)
        assert stream.response.trace.duration_s == 10.0


async def test_c04_who_leaves_after_the_deadline_finds_it_ended(faults):
    async with faults(RawStreams(a=[[delta("one "), delta("two "), 1.0]])) as f:
        async with f.stream(deadline_s=10.0) as stream:
            await asyncio.sleep(20.0)
            await anext(stream)
        assert f.router.metrics().total.failures == 1
        assert f.router.metrics().total.cancelled == 0


async def test_c04_an_upstream_without_an_end_is_read_for_so_long_only(faults):
    async with faults(RawStreams(a=[[delta("x")] * 3 * MOST_KEPT])) as f, f.stream(deadline_s=10.0) as stream:
        await asyncio.sleep(20.0)
        for _ in range(MOST_KEPT):
            assert (await anext(stream)).text == "x"
        with pytest.raises(DeadlineExceeded):
            await anext(stream)


async def test_c04_a_reader_who_comes_back_while_it_is_being_closed_waits_for_it(faults):
    async with (
        faults(Unwilling(Stream(WORDS, pause_s=100.0), 0.5), late_s=0.5) as f,
        f.stream(deadline_s=10.0) as stream,
    ):
        await asyncio.sleep(10.25)
        assert [(await anext(stream)).text for _ in range(2)] == ["", "one "]
        with pytest.raises(DeadlineExceeded):
            await anext(stream)
        assert f.now() == 10.5


async def test_c04_the_probe_of_a_breaker_is_given_back_too(faults):
    script = RawStreams(a=[[ServerError("down")], [delta("one "), 1000.0]])
    async with faults(script, groups={"chat": {"deployments": ["a"], "retry": "none", "breaker": FAILURES}}) as f:
        await f.caught(f.read())
        await f.pass_time(f.state("a").ready_at - f.now())
        async with f.stream(deadline_s=10.0):
            assert f.state("a").breaker.is_probing
            await asyncio.sleep(10.5)
            assert not f.state("a").breaker.is_probing


async def test_c04_hooks_around_an_unread_stream_end_with_it(faults):
    class Around:
        closed_at = None

        @hookimpl
        async def asyncrouter_around_request_stream(self, chunks):
            try:
                async for one in chunks:
                    yield one
            finally:
                self.closed_at = asyncio.get_running_loop().time()

    around = Around()
    async with (
        faults(RawStreams(a=[[delta("one "), delta("two "), 1.0]]), plugins=[around]) as f,
        f.stream(deadline_s=10.0) as stream,
    ):
        await anext(stream)
        await asyncio.sleep(20.0)
        assert f.sent[0].ended_at == around.closed_at == 10.0
        assert (await anext(stream)).text == "two "
        with pytest.raises(DeadlineExceeded):
            await anext(stream)


async def rest_of(stream):
    """Return how many chunks there still are until the deadline is told."""
    pieces = 0
    with contextlib.suppress(DeadlineExceeded):
        async for _ in stream:
            pieces += 1
        raise AssertionError("the stream came to its end")
    return pieces


async def test_c04_an_unread_stream_over_sockets_is_closed_at_its_deadline(wall):
    flood = Flood(2000)
    async with wall({"a": flood}, deployments=ONE_SLOT) as f:
        async with f.stream(deadline_s=1.0) as stream:
            await anext(stream)
            await f.server.requests[0].disconnected.wait()
            assert (f.state("a").in_flight, f.state("a").slots.in_use) == (0, 0)
            assert await rest_of(stream) < 50, "what this process held of it, and no more"
        a = f.router.metrics().deployments["a"]
        assert (a.calls, a.failures, a.cancelled, a.breaker) == (1, 1, 0, "closed")


# ---------------------------------------------------------------- C04: whoever drops the stream without closing it


async def dropped(f, **arguments):
    """Enter a stream and forget it."""
    stream = f.router.stream(PROMPT, **arguments)
    f._begun(arguments).end("left")
    await stream.__aenter__()
    await anext(stream)


async def test_c04_a_stream_that_is_dropped_is_closed_at_once(faults):
    async with faults(RawStreams(a=[[delta("one "), 1000.0]]), deployments=ONE_SLOT, breaker=FAILURES) as f:
        await dropped(f)
        await asyncio.sleep(0.001)
        assert f.sent[0].ended_at == 0.0
        a = f.router.metrics().deployments["a"]
        assert (a.cancelled, a.failures, a.in_flight, a.breaker) == (1, 0, 0, "closed")


async def test_c04_a_stream_that_is_dropped_over_sockets_is_closed_at_once(wall):
    async with wall({"a": Sse([*chunks("one two")[:2], Gate()])}, deployments=ONE_SLOT) as f:
        await dropped(f)
        await f.server.requests[0].disconnected.wait()
        assert f.router.metrics().deployments["a"].cancelled == 1
