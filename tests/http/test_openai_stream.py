"""Streamed chat completions over a real socket: chunks, usage, and every way in which a stream can end."""

from __future__ import annotations

import asyncio
import gc
import gzip

import pytest

from asyncrouter.providers.presets import PRESETS
from asyncrouter.testing.http_script import sse_event
from asyncrouter.testing.server import (
    End,
    Gate,
    Http,
    ScriptedServer,
    Sse,
    chunk,
    chunks,
    completion,
    sse_completion,
)
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ContentFiltered,
    MalformedResponse,
    Overloaded,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Usage, usage_of

MINI = Deployment(name="mini", provider="acme", model="m-1")
PROMPT_S = 5.0


def text_of(received):
    return "".join(one.text for one in received)


def opened(provider, **params):
    request = Request(messages=[{"role": "user", "content": "Hi"}], params=params, stream=True)
    return provider.stream(request, MINI, Timeouts())


async def received_before(stream, kind):
    """Return the chunks that came before the error of *kind*, and the error."""
    got = []
    with pytest.raises(kind) as raised:  # noqa: PT012 - what came before it counts too
        async for one in stream:
            got.append(one)  # noqa: PERF401 - extend would lose what came before the error
    assert type(raised.value) is kind
    return got, raised.value


async def test_chunks_arrive_as_they_were_sent_and_the_usage_last(call):
    async with ScriptedServer(sse_completion("Hello dear you")) as server:
        got = await call.stream(server)
        (request,) = server.requests
    assert [one.raw for one in got] == chunks("Hello dear you")
    assert text_of(got) == "Hello dear you"
    assert got[-1].raw["choices"] == []
    assert usage_of(got[-1].raw) == Usage(input_tokens=10, output_tokens=5)
    assert request.json["stream"] is True
    assert request.json["stream_options"] == {"include_usage": True}


async def test_the_callers_stream_options_are_kept(call):
    async with ScriptedServer(sse_completion()) as server:
        await call.stream(server, stream_options={"include_usage": False, "include_obfuscation": True})
        await call.stream(server, stream_options="nonsense", stream=False)
        first, second = (request.json for request in server.requests)
    assert first["stream_options"] == {"include_usage": True, "include_obfuscation": True}
    assert (second["stream"], second["stream_options"]) == (True, {"include_usage": True})


async def test_a_server_that_knows_no_stream_options_gets_none(call):
    async with ScriptedServer(sse_completion()) as server:
        await call.stream(server, options={"preset": PRESETS["mistral"]}, stream_options={"include_usage": True})
        assert "stream_options" not in server.requests[0].json


async def test_a_chunk_comes_before_the_next_is_sent(call):
    gate = Gate()
    async with ScriptedServer(Sse([chunk({"content": "a"}), gate, chunk({"content": "b"}, "stop")])) as server:
        stream = opened(call.provider(server))
        first = await asyncio.wait_for(anext(stream), PROMPT_S)
        assert first.text == "a"
        gate.release()
        assert text_of([one async for one in stream]) == "b"


PROPER = {
    "done and finish": Sse(chunks("Hi you")),
    "finish, no done, end": Sse(chunks("Hi you"), done=False),
    "finish, no usage": Sse(chunks("Hi you", usage=None), done=False),
    "finish, then a reset": Sse([*chunks("Hi you"), "x"], cut_after=4),
    "finish, then closed": Sse([*chunks("Hi you"), "x"], cut_after=4, end=End.CLOSE),
    "done, no finish": Sse(chunks("Hi you", finish_reason=None)),
    "done twice": Sse([*chunks("Hi you"), "data: [DONE]\n\n", "data: [DONE]\n\n"]),
    "data after done": Sse([*chunks("Hi you"), "data: [DONE]\n\n", chunk({"content": "more"}), "junk"]),
    "done, then open": Sse(chunks("Hi you"), end=End.HANG),
    "no last blank line": Sse([*chunks("Hi you"), "data: [DONE]"], done=False),
    "finish in an unended event": Sse(
        [
            *chunks("Hi you", finish_reason=None, usage=None),
            'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}',
        ],
        done=False,
    ),
    "half an event after the finish": Sse([*chunks("Hi you"), 'data: {"cho'], done=False),
    "comments": Sse([": ping\n\n", *chunks("Hi you"), ": ping\n\n"]),
    "empty events": Sse(["data:\n\n", *chunks("Hi you")]),
    "other content type": Sse(chunks("Hi you"), headers={"content-type": "text/plain"}),
    "leading blank lines": Sse(["\n\n", "\r\n", *chunks("Hi you")]),
    "an empty chunk first": Sse([{"choices": [], "prompt_filter_results": []}, *chunks("Hi you")]),
    "no choices at all": Sse([{"id": 1}, *chunks("Hi you")]),
    "junk among choices": Sse([{"choices": ["x", {"index": "y", "delta": None}]}, *chunks("Hi you")]),
}


@pytest.mark.parametrize("script", PROPER.values(), ids=PROPER)
async def test_proper_ends(call, script):
    async with ScriptedServer(script) as server:
        got = await asyncio.wait_for(call.stream(server, options={"finish_grace_s": 0.05}), PROMPT_S)
    assert text_of(got) == "Hi you"


async def test_after_the_finish_reason_usage_is_waited_for_a_little_and_no_longer(call):
    gate = Gate()
    async with ScriptedServer(Sse([*chunks("Hi", usage=None), gate, *chunks("Hi")[-1:]], done=False)) as server:
        got = await asyncio.wait_for(call.stream(server, options={"finish_grace_s": 0.05}), PROMPT_S)
        assert usage_of(got[-1].raw) is None
        await server.idle()  # a connection that may still bring the rest is closed
        provider = call.provider(server, finish_grace_s=PROMPT_S)
        stream = opened(provider)
        while (await anext(stream)).finish_reason is None:
            pass
        gate.release()
        assert usage_of((await anext(stream)).raw) == Usage(input_tokens=10, output_tokens=5)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


BROKEN = {
    "cut before all": (Sse(chunks("a b c"), cut_after=0), ""),
    "cut after the role": (Sse(chunks("a b c"), cut_after=1), ""),
    "reset inside": (Sse(chunks("a b c"), cut_after=3), "a b "),
    "closed inside": (Sse(chunks("a b c"), cut_after=3, end=End.CLOSE), "a b "),
    "no finish, clean end": (Sse(chunks("a b c", finish_reason=None, usage=None), done=False), "a b c"),
    "half an event": (Sse([chunk({"content": "a"}), 'data: {"choices": [{"de'], done=False), "a"),
    "nothing": (Sse([], done=False), ""),
    "only comments": (Sse([": ping\n\n", ": ping\n\n"], done=False), ""),
    "one choice of two": (
        Sse([chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop")], done=False), "ab",
    ),
    "one choice of two, and done": (
        Sse([chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop")]), "ab",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "before"), BROKEN.values(), ids=BROKEN)
async def test_interruptions(call, assert_clean, script, before):
    async with ScriptedServer(script) as server:
        got, error = await received_before(opened(call.provider(server)), StreamInterrupted)
        assert text_of(got) == before
        assert error.deployment == "mini"
        assert_clean(error)


IN_BAND = {
    "rates": ({"error": {"message": "slow down", "code": 429}}, RateLimited),
    "overloaded": ({"type": "error", "error": {"type": "overloaded_error", "message": "later"}}, Overloaded),
    "unknown": ({"error": {"message": "boom"}}, ServerError),
    "openrouter": (
        {"error": {"code": 502, "message": "boom"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
        ServerError,
    ),
    "in a choice": ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, ServerError),
    "with an event name": ('event: error\ndata: {"error": {"message": "no", "code": 401}}\n\n', AuthenticationFailed),
    "filtered": (chunk({}, "content_filter"), ContentFiltered),
    "no json": ("data: {oops\n\n", MalformedResponse),
    "no object": ("data: [1]\n\n", MalformedResponse),
    "no utf-8": (b'data: {"a": "\xff"}\n\n', MalformedResponse),
    "nesting": (b"data: " + b'{"a":' * 50_000 + b"\n\n", MalformedResponse),
}


@pytest.mark.parametrize(("event", "kind"), IN_BAND.values(), ids=IN_BAND)
async def test_errors_inside_a_stream_come_after_what_came_before_them(call, assert_clean, event, kind):
    for before in ([], [chunk({"content": "a"}), chunk({"content": "b"})]):
        async with ScriptedServer(Sse([*before, event, *chunks("more")])) as server:
            got, error = await received_before(opened(call.provider(server)), kind)
            assert [one.raw for one in got] == before
            assert error.deployment == "mini"
            assert_clean(error)


@pytest.mark.parametrize(
    "events",
    [[], [chunk({"role": "assistant", "content": ""}), chunk({}, "stop")], [{"choices": []}]],
    ids=["nothing", "a role", "no choices"],
)
async def test_a_proper_end_without_an_answer_is_malformed(call, events):
    async with ScriptedServer(Sse(events)) as server:
        got, _error = await received_before(opened(call.provider(server)), MalformedResponse)
    assert [one.raw for one in got] == events


async def test_an_empty_answer_that_ran_out_of_tokens_is_one(call):
    async with ScriptedServer(Sse([chunk({"role": "assistant", "content": ""}), chunk({}, "length")])) as server:
        assert (await call.stream(server))[-1].finish_reason == "length"


TWO_CHOICES = Sse(
    [
        chunk({"content": "a"}),
        chunk({}, "stop"),
        0.02,  # the second choice begins later than the grace after the first
        chunk({"content": "b"}, index=1),
        chunk({}, "stop", index=1),
    ],
    done=False,
    end=End.HANG,
)


async def test_a_stream_ends_when_every_choice_has_ended(call):
    async with ScriptedServer(TWO_CHOICES) as server:
        got = await asyncio.wait_for(call.stream(server, options={"finish_grace_s": 0.01}, n=2), PROMPT_S)
        assert len(got) == 4


async def test_a_choice_that_was_asked_for_is_waited_for(call):
    async with ScriptedServer(TWO_CHOICES) as server:
        provider = call.provider(server, finish_grace_s=0.01)
        stream = opened(provider, n=3)
        for _ in range(4):
            await anext(stream)
        waiting = asyncio.create_task(anext(stream))
        done, _pending = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        await provider.aclose()  # wakes whoever still reads
        with pytest.raises(StreamInterrupted):
            await waiting


async def test_a_server_that_sends_fewer_choices_than_asked_for_may_end_the_stream(call):
    async with ScriptedServer(Sse(chunks("Hi"), done=False)) as server:
        assert text_of(await call.stream(server, n=2)) == "Hi"


async def test_tool_calls_count_as_output(call):
    delta = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    async with ScriptedServer(Sse([chunk(delta), chunk({}, "tool_calls")])) as server:
        assert len(await call.stream(server)) == 2


async def test_a_whole_answer_in_place_of_a_stream(call):
    scripted = completion("Hi", tool_calls=[{"id": "1"}])
    async with ScriptedServer(
        [scripted, Http(body=b"\n \n" + b'{"choices": [{"message": {"content": "Hi"}}]}', drip=(1, 0))]
    ) as server:
        first, usage = await call.stream(server)
        (second,) = await call.stream(server)
    assert (first.text, first.finish_reason) == ("Hi", "stop")
    assert first.delta["tool_calls"] == [{"index": 0, "id": "1"}]
    assert usage_of(usage.raw) == Usage(input_tokens=10, output_tokens=5)
    assert second.text == "Hi"


async def test_a_whole_answer_in_place_of_a_stream_has_a_limit_and_may_break_off(call):
    async with ScriptedServer(Http(body=b'{"a": "' + b"x" * 5000, drip=(1000, 0.005), end=End.HANG)) as server:
        with pytest.raises(MalformedResponse, match="the answer is longer than 100 bytes"):
            await call.stream(server, options={"max_response_bytes": 100})
    async with ScriptedServer(Http(body=b'{"choices": ', content_length=100, end=End.CLOSE)) as server:
        with pytest.raises(MalformedResponse, match="broke off"):
            await call.stream(server)


async def test_a_compressed_stream(call):
    body = b"".join(map(sse_event, chunks("Hi you")))
    async with ScriptedServer(
        Http(body=gzip.compress(body), headers={"content-encoding": "gzip"}, drip=(9, 0))
    ) as server:
        assert text_of(await call.stream(server)) == "Hi you"


async def test_an_endless_line_is_cut(call):
    async with ScriptedServer(Http(body=b"data: " + b"x" * 9_000_000, drip=(500_000, 0), end=End.HANG)) as server:
        with pytest.raises(MalformedResponse, match="an event is longer than 8388608 bytes"):
            await call.stream(server)
        await server.idle()


async def test_an_endless_stream_is_cut(call):
    events = [chunk({"content": "x" * 100}) for _ in range(100)]
    async with ScriptedServer(Sse(events, end=End.HANG)) as server:
        provider = call.provider(server, max_response_bytes=200)
        _got, error = await received_before(opened(provider), MalformedResponse)
        assert "longer than 3200 bytes" in str(error)


async def test_comments_for_ever_are_no_chunks(call):
    async with ScriptedServer(Sse([": ping\n\n"] * 5, end=End.HANG, done=False)) as server:
        stream = opened(call.provider(server))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)
        await server.idle()


async def test_a_connection_serves_again_after_a_stream(call):
    async with ScriptedServer(sse_completion()) as server:
        provider = call.provider(server)
        for _ in range(3):
            assert text_of([one async for one in opened(provider)]) == "Hello"
        assert server.connections == 1


async def test_a_stream_that_says_more_after_done_loses_its_connection(call):
    async with ScriptedServer(Sse([*chunks("Hi"), "data: [DONE]\n\n", 0.01, "x"], end=End.HANG)) as server:
        assert text_of(await call.stream(server)) == "Hi"
        await server.idle()


@pytest.mark.parametrize("way", ["aclose", "cancel", "break", "collect"])
async def test_leaving_a_stream_closes_its_connection(call, way):
    async with ScriptedServer(Sse([chunk({"content": "a"})], end=End.HANG, done=False)) as server:
        stream = opened(call.provider(server))
        if way == "cancel":
            task = asyncio.create_task(collect(stream))
            await server.received(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif way == "break":
            async for _one in stream:
                break
            await stream.aclose()
        else:
            await anext(stream)
            if way == "aclose":
                await stream.aclose()
            del stream
            gc.collect()
        await asyncio.wait_for(server.requests[0].disconnected.wait(), PROMPT_S)


async def collect(stream):
    return [one async for one in stream]


async def test_however_the_network_cuts_it_the_chunks_are_the_same(call):
    sent = chunks("é 🎉 you")
    body = b"".join(map(sse_event, [*sent, "data: [DONE]\n\n"]))
    async with ScriptedServer([Http(body=body, drip=(size, 0.0005)) for size in (1, 7, 64)]) as server:
        for _ in range(3):
            assert [one.raw for one in await call.stream(server)] == sent
