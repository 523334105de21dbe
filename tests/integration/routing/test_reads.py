"""A provider whose chunks come several at a time: asked by reads where nobody stands between, by chunks otherwise."""

from __future__ import annotations

import math
from contextlib import aclosing

import anyio
import pytest
from routed import ALONE, ROLE, STOP, USAGE, delta, routed
from streamed import CUT, collect, texts

from asyncrouter import StreamInterrupted, hookimpl
from asyncrouter.testing import FakeProvider
from asyncrouter.types.response import Chunk
from asyncrouter.types.tokens import text_tokens

WHOLE = [ROLE, delta("The "), delta("answer "), delta("is 42."), STOP, USAGE]


class ByReads(FakeProvider):
    """Streams for each deployment the reads it is given: lists of chunks; seconds of silence and errors between."""

    calls_routers = False

    def __init__(self, **streams):
        super().__init__()
        self.streams = streams
        self.asked = []

    async def reads(self, request, deployment, timeouts):
        self.asked.append("reads")
        call, _step = self._begin(request, deployment, timeouts)
        try:
            for event in self.streams[deployment.name]:
                if isinstance(event, list):
                    yield [Chunk(raw) if isinstance(raw, dict) else raw for raw in event]
                elif isinstance(event, Exception):
                    raise event
                else:
                    await anyio.sleep(event)
        except BaseException as error:
            self._end(call, error)
            raise
        self._end(call, None)

    async def stream(self, request, deployment, timeouts):
        self.asked.append("stream")
        async with aclosing(self.reads(request, deployment, timeouts)) as reads:
            async for chunks in reads:
                for chunk in chunks:
                    yield chunk


@pytest.mark.parametrize("reads", [[WHOLE], [WHOLE[:2], 1.0, WHOLE[2:]], [[one] for one in WHOLE]])
async def test_every_chunk_comes_in_its_order_however_they_were_read(reads):
    async with routed(ByReads(a=reads), groups=ALONE) as r:
        chunks, response = await r.read()
        assert [chunk.raw for chunk in chunks] == WHOLE[:-1]
        assert (response.text, response.usage.output_tokens) == ("The answer is 42.", 3)
        assert r.provider.asked == ["reads"]


async def test_chunks_of_one_read_come_in_one_moment():
    moments = []
    async with routed(ByReads(a=[WHOLE[:3], 2.0, WHOLE[3:]]), groups=ALONE) as r, r.stream() as stream:
        async for _chunk in stream:
            moments.append(anyio.current_time())  # noqa: PERF401 - each has its own
    assert moments == [0.0, 0.0, 0.0, 2.0, 2.0]


class Around:
    @hookimpl
    async def asyncrouter_around_attempt_stream(self, chunks, request, deployment):
        async with aclosing(chunks) as inner:
            async for chunk in inner:
                yield chunk


def alone(**timeouts):
    return {"chat": {**ALONE["chat"], "timeouts": timeouts}}


@pytest.mark.parametrize(
    "arguments", [{"plugins": [Around()], "groups": ALONE}, {"groups": alone(min_chunks_per_s=0.1)}]
)
async def test_where_each_chunk_is_looked_at_it_is_asked_by_chunks(arguments):
    async with routed(ByReads(a=[WHOLE]), **arguments) as r:
        _chunks, response = await r.read()
        assert response.text == "The answer is 42."
        assert r.provider.asked == ["stream", "reads"]


async def test_silence_between_two_reads_is_bounded():
    groups = alone(idle_s=3.0, first_token_s=15.0)
    async with routed(ByReads(a=[WHOLE[:2], 2.0, WHOLE[2:3], 4.0, WHOLE[3:]]), groups=groups) as r:
        chunks = []
        with pytest.raises(StreamInterrupted, match="idle_s = 3"):
            await collect(r, chunks)
        assert texts(chunks) == ["The ", "answer "]
        assert anyio.current_time() == 5.0


async def test_what_one_read_brings_of_a_continued_answer_is_told_whole():
    rest = [delta("is ", role="assistant"), delta("42."), STOP, USAGE]
    provider = ByReads(a=[[ROLE, delta("The "), delta("answer ")], CUT], b=[[ROLE, *rest]])
    async with routed(provider, on_interrupt="continue") as r:
        chunks, response = await r.read()
        assert texts(chunks) == ["The ", "answer ", "is ", "42."]
        assert [chunk.delta.get("role") for chunk in chunks].count("assistant") == 1
        assert (response.text, response.finish_reason) == ("The answer is 42.", "stop")
        assert (response.usage.output_tokens, response.usage.estimated) == (3, False)


async def test_what_is_no_chunk_fails_the_attempt():
    async with routed(ByReads(a=[[ROLE, "no chunk"]], b=[WHOLE])) as r:
        _chunks, response = await r.read()
        assert [attempt.deployment for attempt in response.trace.attempts] == ["a", "b"]


async def test_a_reader_that_leaves_within_a_read_has_all_of_it_counted():
    async with routed(ByReads(a=[WHOLE[:4], 9.0, WHOLE[4:]]), groups=ALONE) as r:
        async with r.stream() as stream:
            await anext(stream)
        assert r.provider.calls[0].outcome == "closed"
        assert r.router.metrics().deployments["a"].output_tokens == math.ceil(text_tokens("The answer is 42."))
