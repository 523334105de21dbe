"""Streams as bytes: wherever the network cuts them the outcome is the same, and whatever they are, it is typed."""

from __future__ import annotations

import asyncio
import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.providers.chunks import ChunkReader
from asyncrouter.types.errors import ContentFiltered, MalformedResponse, ProviderError, ServerError

HELLO = {"choices": [{"index": 0, "delta": {"content": "é 🎉"}}]}
CALL = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]}}]}
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
WHOLE = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
ODD = [
    {"choices": [{"index": 1, "delta": {"content": "b"}}]},
    {"choices": [{"delta": {}, "finish_reason": "content_filter"}]},
    {"choices": "odd"},
    {"choices": [], "usage": {"prompt_tokens": 1}},
    {"error": {"message": "no"}},
    [],
    None,
]


def event(value):
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


PIECES = st.one_of(
    st.sampled_from([HELLO, CALL, STOP]).map(event),
    st.sampled_from(ODD).map(event),
    st.sampled_from(
        [b"data: [DONE]\n\n", b": ping\n\n", b"\xef\xbb\xbf", b"\n", b"\r\n", b"data: {oops\n\n", b"data: ", b"<", b"{"]
    ),
    st.just(json.dumps(WHOLE).encode()),
    st.binary(max_size=6),
)
STREAMS = st.lists(PIECES, max_size=8).map(b"".join)


class Wire:
    """An exchange that gives *reads* one by one, and then the end."""

    def __init__(self, reads):
        self.reads = [read for read in reads if read]

    @property
    def at_end(self):
        return not self.reads

    async def read(self):
        return self.reads.pop(0) if self.reads else b""


def refused(refusal):
    return ContentFiltered("refused") if refusal.filtered else ServerError("refused")


async def outcome(reads, choices):
    """Return what a stream of *reads* comes to: its chunks, and how it ended."""
    reader = ChunkReader(
        Wire(reads), refuse=refused, malformed=MalformedResponse, choices=choices, grace_s=1.0, max_bytes=10**6
    )
    chunks = []
    try:
        while (read := await reader.read()) is not None:
            chunks += [chunk.raw for chunk in read]
    except ProviderError as error:
        return chunks, type(error), str(error)
    return chunks, None, ""


@settings(max_examples=300)
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=6), choices=st.integers(1, 2))
def test_however_it_is_cut_the_outcome_is_the_same(stream, cuts, choices):
    async def main():
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        whole = await outcome([stream], choices)
        assert await outcome([stream[a:b] for a, b in itertools.pairwise(edges)], choices) == whole
        assert await outcome([stream[i : i + 1] for i in range(len(stream))], choices) == whole

    asyncio.run(main())


@settings(max_examples=200)
@given(stream=st.binary(max_size=200))
def test_whatever_the_bytes_are_nothing_is_raised_but_a_providers_error(stream):
    chunks, kind, _ = asyncio.run(outcome([stream], 1))
    assert kind is not None
    assert chunks == []


def test_a_corpus_at_every_split_point():
    body = b"".join(map(event, [HELLO, CALL, STOP])) + b": ping\r\n\r\ndata: [DONE]\n\n"

    async def main():
        whole = await outcome([body], 1)
        assert whole == ([HELLO, CALL, STOP], None, "")
        for at in range(len(body) + 1):
            assert await outcome([body[:at], body[at:]], 1) == whole

    asyncio.run(main())
