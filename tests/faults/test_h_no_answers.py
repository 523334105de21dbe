"""Rows H16 to H21: redirects, empty answers, odd statuses, wrong lengths, corrupt compression: what is no answer."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import pytest
from http_errors import QUICK, answer, fails, in_a_row, reply, streamed_too

from asyncrouter import (
    AttemptTimedOut,
    Disposition,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    Overloaded,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.testing.http_script import End, Http, Json, Raw, Sse, chunk, completion, sse_completion
from asyncrouter.testing.server import ScriptedServer


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@streamed_too
async def test_h16_a_redirect_is_not_followed(wall, status, streamed):
    async with ScriptedServer(completion("evil")) as elsewhere:
        moved = Http(status, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
        async with wall({"a": moved, "b": reply(streamed, "b")}) as f:
            response = await answer(f, streamed=streamed)
            assert (response.text, f.asked) == ("b", ["a", "b"])
            error = response.trace.attempts[0].error
            assert (type(error), error.status) == (ModelNotFound, status)
            assert error.cure == "set base_url to the final address"
            assert str(elsewhere.port) not in str(error)
        assert elsewhere.connections == 0, "and the key goes nowhere else"


JSON = {"content-type": "application/json"}
WHOLE = json.dumps(completion("x" * 200).value).encode()
NO_ANSWERS = {
    "html": (Http(200, b"<html><title>Down</title></html>", headers={"content-type": "text/html"}), MalformedResponse),
    "empty": (Http(200, b"", headers=JSON), MalformedResponse),
    "blank": (Http(200, b" \n", headers=JSON), MalformedResponse),
    "truncated": (Http(200, WHOLE[:-20], headers=JSON), MalformedResponse),
    "text": (Http(200, b"OK", headers={"content-type": "text/plain"}), MalformedResponse),
    "a number": (Json(5), MalformedResponse),
    "null": (Json(None), MalformedResponse),
    "error": (Json({"error": {"message": "oops", "type": "server_error"}}), ServerError),
    "error that names its kind": (Json({"error": {"message": "busy", "type": "overloaded_error"}}), Overloaded),
    "error in a list": (Json([{"error": {"message": "busy", "status": "UNAVAILABLE", "code": 503}}]), Overloaded),
}


@pytest.mark.parametrize(("script", "kind"), NO_ANSWERS.values(), ids=NO_ANSWERS)
@streamed_too
async def test_h17_a_200_without_an_answer_is_an_error_that_may_be_retried(wall, script, kind, streamed):
    async with wall({"a": [script, reply(streamed, "a")]}, retry=QUICK) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked) == ("a", ["a", "a"])
        error = response.trace.attempts[0].error
        assert error.disposition is Disposition.RETRY
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert (f.asked, in_a_row(f)) == (["a", "b"], 1)
        assert type(f.recorder.attempts[0].error) in ({kind, StreamInterrupted} if streamed else {kind})


def message(**fields):
    return Json({"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}]})


EMPTY = {
    "no choices": Json({"choices": []}),
    "choices that are none": Json({"choices": None}),
    "null content": message(content=None),
    "empty content": message(content=""),
    "no content": message(),
    "no tool calls": message(content=None, tool_calls=[]),
    "a choice without a message": Json({"choices": [{"index": 0, "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("script", EMPTY.values(), ids=EMPTY)
async def test_h18_an_empty_answer_is_none(wall, script):
    async with wall({"a": script, "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert type(response.trace.attempts[0].error) is MalformedResponse


EMPTY_STREAMS = {
    "nothing": Sse([]),
    "no choices": Sse([{"choices": []}]),
    "a role and an end": Sse([chunk({"role": "assistant", "content": ""}), chunk({}, "stop")]),
    "null content": Sse([chunk({"content": None}), chunk({}, "stop")]),
}


@pytest.mark.parametrize("script", EMPTY_STREAMS.values(), ids=EMPTY_STREAMS)
async def test_h18_an_empty_stream_is_none(wall, script):
    async with wall({"a": script, "b": sse_completion("b")}) as f:
        chunks, response = await f.read()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert "".join(one.text for one in chunks) == "b"


async def test_h18_a_tool_call_without_content_is_an_answer(wall):
    call = {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    async with wall({"a": message(content=None, tool_calls=[call]), "b": completion("never")}) as f:
        assert (await f.ask()).tool_calls == [call]


ODD = {
    "204": Http(204),
    "205": Http(205),
    "206": Http(206, WHOLE, headers=JSON),
    "201 without a body": Http(201),
    "101": Raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", End.HANG),
    "599": Http(599),
    "999": Http(999),
}


@pytest.mark.parametrize("script", ODD.values(), ids=ODD)
@streamed_too
async def test_h19_odd_statuses_are_errors_and_hang_nobody(wall, script, streamed):
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert type(f.recorder.attempts[0].error) is not AttemptTimedOut


async def test_h19_hints_alone_are_no_byte_of_an_answer(wall):
    async with wall({"a": Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", End.CLOSE), "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        assert f.asked == ["a", "a", "b"]


async def test_h19_hints_before_the_answer_are_passed_over(wall):
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
    hints = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    )
    async with wall({"a": Raw(hints + head + WHOLE, End.KEEP), "b": completion("never")}) as f:
        assert (await f.ask()).text == "x" * 200


WRONG_LENGTHS = {
    "declared too long, closed": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) + 100, end=End.CLOSE),
    "declared too long, reset": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) + 100, end=End.RESET),
    "declared too short": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) - 20),
    "two lengths": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n" + WHOLE, End.HANG),
    "a length and chunks": Raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", End.HANG
    ),
    "no number": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + WHOLE, End.HANG),
    "a chunk too short": Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{}", End.CLOSE),
    "no chunk size": Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n", End.HANG),
}


@pytest.mark.parametrize("script", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
@streamed_too
async def test_h20_a_wrong_length_is_no_answer_and_ends_the_connection(wall, script, streamed):
    async with wall({"a": [script, reply(streamed, "a")], "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert (await answer(f, streamed=streamed)).text == "a"
        connections = [request.connection for request in f.server.requests if request.json["model"] == "a"]
        assert connections[0] != connections[1]


async def test_h20_what_follows_an_answer_is_never_taken_for_the_next(wall):
    """A length that is too short by a whole response: nothing of it may be read as the answer to the next request."""
    smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
    first = json.dumps(completion("first").value).encode()
    script = Http(200, first + smuggled, headers=JSON, content_length=len(first))
    async with wall({"a": [script, completion("second")]}) as f:
        assert (await f.ask()).text == "first"
        assert (await f.ask()).text == "second"
        assert [request.connection for request in f.server.requests] == [1, 2]


def zipped(data, **fields):
    return Http(200, data, headers={"content-encoding": "gzip", **JSON}, **fields)


CORRUPT = {
    "no gzip at all": zipped(b"this is no gzip"),
    "cut short": zipped(gzip.compress(WHOLE)[:-10]),
    "damaged": zipped(gzip.compress(os.urandom(2000))[:500] + b"\xff" * 500),
    "wrong checksum": zipped(gzip.compress(WHOLE)[:-8] + b"\0" * 8),
}


@pytest.mark.parametrize("script", CORRUPT.values(), ids=CORRUPT)
@streamed_too
async def test_h21_corrupt_compression_is_no_answer(wall, script, streamed):
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]


@pytest.mark.parametrize("status", [200, 400, 500])
@streamed_too
async def test_h21_a_bomb_is_capped(wall, status, streamed):
    """A hundred megabytes in a hundred kilobytes: neither they nor their like are ever held at once."""
    bomb = gzip.compress(b'{"choices": [' + b" " * 100_000_000, 9)
    script = Http(status, bomb, headers={"content-encoding": "gzip", **JSON})
    providers = {"a": {"max_response_bytes": 1_000_000}}
    async with wall({"a": script, "b": reply(streamed, "b")}, providers=providers, fallback_on=[]) as f:
        tracemalloc.start()
        try:
            if status == 400:
                await fails(f, InvalidRequest, streamed=streamed)
            else:
                assert (await answer(f, streamed=streamed)).text == "b"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert f.asked == (["a"] if status == 400 else ["a", "b"])
        assert peak < 40_000_000
