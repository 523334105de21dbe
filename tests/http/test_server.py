"""The scripted server itself, through bare sockets and asyncio streams: no client library in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from asyncrouter.testing.server import (
    End,
    Gate,
    Hang,
    Http,
    Json,
    Raw,
    Reset,
    ScriptedServer,
    Sse,
    chunks,
    completion,
    sse_completion,
)

POST = b'POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Name: Value\r\nContent-Length: 8\r\n\r\n{"a": 1}'
PROMPT_S = 5.0


class Client:
    """One connection, one request at a time."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server):
        return cls(*await asyncio.open_connection("127.0.0.1", server.port))

    def send(self, data=POST):
        self.writer.write(data)

    async def head(self):
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PROMPT_S)).decode()

    async def body(self, size):
        return await asyncio.wait_for(self.reader.readexactly(size), PROMPT_S)

    async def rest(self):
        return await asyncio.wait_for(self.reader.read(-1), PROMPT_S)

    async def close(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class ThenClosed:
    """A script whose connection is closed where it would be kept, so that a client can read to the end."""

    def __init__(self, script):
        self.script = script

    def steps(self):
        for step in self.script.steps():
            yield End.CLOSE if step is End.KEEP else step


async def answer_to(script):
    async with ScriptedServer(ThenClosed(script)) as server:
        client = await Client.to(server)
        client.send()
        text = await client.rest()
        await client.close()
        return text, server


async def test_requests_are_recorded_as_they_arrived():
    _text, server = await answer_to(Http())
    (request,) = server.requests
    assert (request.method, request.path, request.body, request.json) == ("POST", "/v1/x", b'{"a": 1}', {"a": 1})
    assert request.headers == {"host": "a", "x-name": "Value", "content-length": "8"}
    assert "Value" not in repr(request)


async def test_http_sends_status_headers_and_body():
    text, _server = await answer_to(Http(429, b"slow", headers={"Retry-After": "2"}))
    assert text == b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\nRetry-After: 2\r\n\r\nslow"


async def test_an_unknown_status_and_a_wrong_length_are_sent_as_told():
    text, _server = await answer_to(Http(599, b"abc", content_length=7))
    assert text == b"HTTP/1.1 599 Unknown\r\ncontent-length: 7\r\n\r\nabc"


async def test_a_request_in_pieces_is_put_together():
    async with ScriptedServer(Http(body=b"ok")) as server:
        client = await Client.to(server)
        for start in range(0, len(POST), 7):
            client.send(POST[start : start + 7])
            await client.writer.drain()
        await client.head()
        assert server.requests[0].json == {"a": 1}
        await client.close()


async def test_scripts_follow_the_requests_over_one_connection_and_the_last_repeats():
    async with ScriptedServer([Http(500), Http(200)]) as server:
        client = await Client.to(server)
        statuses = []
        for _ in range(3):
            client.send()
            statuses.append((await client.head()).split()[1])
        assert statuses == ["500", "200", "200"]
        assert (server.connections, server.open_connections, len(server.requests)) == (1, 1, 3)
        await client.close()
        await server.idle()
        assert server.open_connections == 0


async def test_a_callable_chooses_by_the_request():
    async with ScriptedServer(lambda request: Http(404 if request.path == "/v1/x" else 200)) as server:
        client = await Client.to(server)
        client.send()
        assert "404" in await client.head()
        client.send(POST.replace(b"/v1/x", b"/other"))
        assert "200" in await client.head()
        await client.close()


async def test_what_a_callable_raises_is_raised_when_the_server_stops():
    async def play():
        async with ScriptedServer(lambda request: request.no_such_thing) as server:
            client = await Client.to(server)
            client.send()
            with pytest.raises(ConnectionError):
                await client.rest()
            await client.close()

    with pytest.raises(AttributeError, match="no_such_thing"):
        await play()


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_drips_in_pieces(chunked):
    text, _server = await answer_to(Http(body=b"abcde", chunked=chunked, drip=(2, 0.001)))
    body = text.partition(b"\r\n\r\n")[2]
    assert body == (b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n" if chunked else b"abcde")


async def test_a_gate_holds_the_answer_until_it_is_released():
    gate = Gate()
    async with ScriptedServer(Http(body=b"ok", gate=gate)) as server:
        client = await Client.to(server)
        client.send()
        await server.received(1)
        assert not client.reader._buffer
        gate.release()
        assert "200" in await client.head()
        await client.body(2)
        client.send()  # a released gate stays open
        assert "200" in await client.head()
        await client.close()


async def test_a_delay_comes_before_the_answer():
    loop = asyncio.get_running_loop()
    began = loop.time()
    await answer_to(Json({}, delay_s=0.02))
    assert loop.time() - began >= 0.02


async def test_json_and_completion_are_json():
    text, _server = await answer_to(Json({"a": [1]}, 201, headers={"x-request-id": "r1"}))
    assert b"201 Created" in text
    assert b"x-request-id: r1" in text
    assert text.endswith(b'{"a": [1]}')
    text, _server = await answer_to(completion("Hi", usage=None, refusal="no"))
    body = json.loads(text.partition(b"\r\n\r\n")[2])
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hi", "refusal": "no"}
    assert "usage" not in body


def events_in(text):
    body = text.partition(b"\r\n\r\n")[2]
    data = b"".join(line for line in body.split(b"\r\n") if line.startswith(b"data"))
    return [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]


async def test_sse_sends_events_then_done_then_the_last_chunk():
    text, _server = await answer_to(sse_completion("Hello you"))
    assert text.endswith(b"\r\n0\r\n\r\n")
    *events, done = events_in(text)
    assert done == b"[DONE]"
    decoded = [json.loads(event) for event in events]
    assert decoded == chunks("Hello you")
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in decoded[:-1]) == "Hello you"
    assert decoded[-1]["usage"]["total_tokens"] == 15


async def test_sse_waits_at_gates_and_pauses_and_takes_text_as_it_is():
    gate = Gate()
    async with ScriptedServer(Sse(["data: a\n\n", gate, 0.001, b"data: b\n\n"], pause_s=0.001)) as server:
        client = await Client.to(server)
        client.send()
        await client.head()
        assert await client.body(3 + 9 + 2) == b"9\r\ndata: a\n\n\r\n"
        gate.release()
        assert b"data: b" in await client.body(14)
        await client.close()


async def test_sse_is_cut_after_so_many_events():
    text, _server = await answer_to(Sse(chunks("a b c", usage=None), cut_after=2, end=End.CLOSE))
    assert len(events_in(text)) == 2
    assert b"[DONE]" not in text
    assert not text.endswith(b"0\r\n\r\n")


async def test_sse_is_reset_when_cut_and_not_told_otherwise():
    with pytest.raises(ConnectionError):
        await answer_to(Sse(chunks("a b c"), cut_after=0))


async def test_sse_can_end_without_done_or_without_the_last_chunk():
    text, _server = await answer_to(Sse(["data: a\n\n"], done=False))
    assert text.endswith(b"data: a\n\n\r\n0\r\n\r\n")
    text, _server = await answer_to(Sse(["data: a\n\n"], end=End.CLOSE))
    assert text.endswith(b"data: [DONE]\n\n\r\n")


async def test_raw_bytes_go_out_as_they_are():
    text, _server = await answer_to(Raw(b"\x00garbage"))
    assert text == b"\x00garbage"


async def test_reset_before_headers_sends_nothing():
    with pytest.raises(ConnectionResetError):
        await answer_to(Reset())


@pytest.mark.parametrize(("when", "body"), [("after_headers", b""), ("mid_body", b'{"choices": [')])
async def test_reset_later_sends_what_comes_before_it(when, body):
    async with ScriptedServer(Reset(when)) as server:
        client = await Client.to(server)
        client.send()
        await client.head()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)) as raised:
            await client.body(1000)
        if isinstance(raised.value, asyncio.IncompleteReadError):
            assert raised.value.partial == body
        await client.close()


def test_reset_refuses_another_moment():
    with pytest.raises(ValueError, match="in_"):
        Reset("sometimes")


async def test_a_hanging_request_notices_that_the_client_has_gone():
    async with ScriptedServer(Hang()) as server:
        client = await Client.to(server)
        client.send()
        request = await server.received(1)
        assert not request.disconnected.is_set()
        await client.close()
        await asyncio.wait_for(request.disconnected.wait(), PROMPT_S)


async def test_an_answered_request_is_not_disconnected_later():
    async with ScriptedServer(Http()) as server:
        client = await Client.to(server)
        client.send()
        await client.head()
        await client.close()
        await server.idle()
        assert not server.requests[0].disconnected.is_set()


async def test_hang_after_headers_promises_a_body():
    async with ScriptedServer(Hang(after_headers=True)) as server:
        client = await Client.to(server)
        client.send()
        assert "content-length: 1000" in await client.head()
        await client.close()


async def test_a_large_body_respects_a_slow_reader():
    body = b"x" * 5_000_000
    async with ScriptedServer(Http(body=body, drip=(100_000, 0))) as server:
        client = await Client.to(server)
        client.send()
        await client.head()
        assert await client.body(len(body)) == body
        await client.close()


async def test_a_client_that_half_closes_counts_as_gone():
    async with ScriptedServer(Hang()) as server:
        client = await Client.to(server)
        client.send()
        request = await server.received(1)
        client.writer.write_eof()
        await asyncio.wait_for(request.disconnected.wait(), PROMPT_S)
        await client.close()


async def test_stop_resets_connections_and_start_takes_the_same_port():
    server = ScriptedServer(Hang())
    await server.start()
    port, url = server.port, server.url
    client = await Client.to(server)
    client.send()
    await server.received(1)
    await server.stop()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await client.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    server.scripts = Http()
    await server.start()
    assert (server.port, server.url) == (port, url)
    client = await Client.to(server)
    client.send()
    assert "200" in await client.head()
    await client.close()
    await server.stop()
    await server.stop()  # stopping twice is nothing


def test_in_a_thread_for_code_without_a_loop():
    gate = Gate()
    with (
        ScriptedServer.in_thread(Http(body=b"ok", gate=gate, end=End.CLOSE)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PROMPT_S) as connection,
    ):
        connection.sendall(POST)
        gate.release()
        received = b""
        while piece := connection.recv(1000):
            received += piece
        assert received.endswith(b"ok")
        assert server.requests[0].json == {"a": 1}


async def test_a_gate_outlives_the_loop_that_waited_at_it():
    gate = Gate()
    loop = asyncio.new_event_loop()
    task = loop.create_task(gate.wait())
    await asyncio.to_thread(loop.run_until_complete, asyncio.sleep(0))
    task.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.gather(task, return_exceptions=True))
    loop.close()
    gate.release()
    await gate.wait()
