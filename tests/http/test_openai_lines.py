"""Connections one by one: which of them serves next, when an idle one goes, what an upstream may say on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

import aiohttp
import pytest

from asyncrouter.providers.line import Line
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.outbox import Outbox
from asyncrouter.providers.pool import Place
from asyncrouter.testing import run_virtual
from asyncrouter.testing.server import Gate, Json, ScriptedServer, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    ConnectionFailed,
    MalformedResponse,
    ProviderError,
    RateLimited,
    StreamInterrupted,
)
from asyncrouter.types.request import Request

MINI = Deployment(name="mini", provider="acme", model="m-1")
REQUEST = Request(messages=[{"role": "user", "content": "Hi"}])
BODY = b'{"choices": [{"message": {"content": "Hi"}}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
PROMPT_S = 5.0


def ask(provider):
    return asyncio.wait_for(provider.complete(REQUEST, MINI, Timeouts()), PROMPT_S)


@contextlib.asynccontextmanager
async def upstream(serve):
    """Have *serve* speak on each connection, and yield a provider for it and the list of these connections."""
    connections = []

    async def connected(reader, writer):
        connections.append(writer)
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    provider = OpenAICompatible(name="acme", base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    try:
        yield provider, connections
    finally:
        await provider.aclose()
        for writer in connections:
            writer.close()
        server.close()


def busy(provider):
    return [
        line for door in provider._transport._doors.values() for one in door.pool.places.values() for line in one.busy
    ]


async def until(holds):
    """Wait until *holds* tells so."""
    async with asyncio.timeout(PROMPT_S):
        while not holds():  # noqa: ASYNC110 - what it looks at tells nobody
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def asked_and_silent():
    """Yield a call whose request an upstream has read that says nothing, and its connection."""
    begun = asyncio.Event()

    async def serve(reader, _writer):
        await reader.readuntil(b"]}")
        begun.set()
        await reader.read()

    async with upstream(serve) as (provider, _):
        call = asyncio.create_task(ask(provider))
        await begun.wait()
        (line,) = busy(provider)
        yield call, line


def places(provider):
    (door,) = provider._transport._doors.values()
    return door.pool.places


async def test_the_connection_that_served_last_serves_next(quiet_loop):
    gates = [Gate() for _ in range(3)]
    scripts = [*(Json(completion().value, gate=gate) for gate in gates), completion("Hi")]
    async with ScriptedServer(scripts) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        calls = [asyncio.create_task(ask(provider)) for _ in gates]
        await server.received(3)
        for number in (0, 2, 1):
            gates[number].release()
            await calls[number]
        for _ in range(3):
            await ask(provider)
        last = server.requests[1].connection
        assert [request.connection for request in server.requests[3:]] == [last] * 3
        assert server.connections == 3
        await provider.aclose()
        await asyncio.wait_for(server.idle(), PROMPT_S)


async def test_models_of_one_server_share_its_connections(quiet_loop):
    async with ScriptedServer(completion("Hi")) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        for model in ("m-1", "m-2", "m-3"):
            await provider.complete(REQUEST, Deployment(name=model, provider="acme", model=model), Timeouts())
        await provider.aclose()
        assert server.connections == 1


async def test_an_idle_connection_goes_when_its_time_has_come(quiet_loop, monkeypatch):
    monkeypatch.setattr("asyncrouter.providers.transport.KEEPALIVE_S", 0.02)
    async with ScriptedServer(completion("Hi")) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        await ask(provider)
        await asyncio.wait_for(server.idle(), PROMPT_S)
        assert len(next(iter(places(provider).values()))) == 0
        await provider.aclose()


class Standing:
    """Stands in for a line."""

    is_closing = False
    closed_at = None

    def close(self):
        self.closed_at = asyncio.get_running_loop().time()


def test_each_idle_connection_goes_after_its_own_time():
    async def play():
        place = Place(None, 30.0, Outbox(asyncio.get_running_loop()))
        first, second, used = Standing(), Standing(), Standing()
        place.keep(first)
        await asyncio.sleep(10.0)
        place.keep(second)
        place.keep(used)
        assert place.take() is used
        await asyncio.sleep(15.0)
        place.keep(used)
        await asyncio.sleep(100.0)
        assert (first.closed_at, second.closed_at, used.closed_at) == (30.0, 40.0, 55.0)
        assert place.take() is None
        place.keep(first)
        await asyncio.sleep(100.0)
        assert first.closed_at == 155.0

    run_virtual(play)


def test_one_that_is_closing_or_lost_is_not_given_out():
    async def play():
        place = Place(None, 30.0, Outbox(asyncio.get_running_loop()))
        good, closing, lost = Standing(), Standing(), Standing()
        for one in (good, closing, lost):
            place.keep(one)
        closing.is_closing = True
        place.lost(lost)
        assert place.take() is good
        assert place.take() is None
        place.keep(good)
        await place.aclose()
        assert (good.closed_at, lost.closed_at) == (0.0, None)

    run_virtual(play)


async def test_a_connection_on_which_more_than_the_answer_comes_does_not_serve_again(quiet_loop):
    async def twice(reader, writer):
        await reader.readuntil(b"Hi")
        writer.write(ANSWER + ANSWER)
        await reader.read()

    async with upstream(twice) as (provider, connections):
        for number in range(1, 4):
            assert (await ask(provider)).text == "Hi"
            assert len(connections) == number


async def test_what_comes_between_two_requests_is_no_answer_to_the_second(quiet_loop):
    late = asyncio.Event()

    async def late_word(reader, writer):
        await reader.readuntil(b"Hi")
        writer.write(ANSWER)
        await late.wait()
        writer.write(ANSWER.replace(b"Hi", b"No"))
        await reader.read()

    async with upstream(late_word) as (provider, connections):
        assert (await ask(provider)).text == "Hi"
        late.set()
        await until(lambda: not any(places(provider).values()))
        assert (await ask(provider)).text == "Hi"
        assert len(connections) == 2


async def test_an_upstream_that_answers_before_it_is_asked_is_heard(quiet_loop):
    async def refuse(reader, writer):
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await reader.read()

    async with upstream(refuse) as (provider, _):
        with pytest.raises(RateLimited):
            await ask(provider)
        (door,) = provider._transport._doors.values()
        (address,) = door.addresses.values()
        connection = await door.pool.connector.connect(address._form, [], aiohttp.ClientTimeout())
        await until(lambda: connection.protocol.should_close)  # it has come before there is a line
        line = Line(connection, address.place, asyncio.get_running_loop())
        head = await asyncio.wait_for(line.ask(address.request_of(b"{}", {})), PROMPT_S)
        assert head.code == 429
        line.end()


async def test_a_connection_that_is_lost_as_soon_as_it_is_made_is_an_error_of_aiohttp(quiet_loop):
    async def leave(_reader, writer):
        writer.close()

    async with upstream(leave) as (provider, _):
        with pytest.raises(ConnectionFailed):
            await ask(provider)
        (door,) = provider._transport._doors.values()
        (address,) = door.addresses.values()
        connection = await door.pool.connector.connect(address._form, [], aiohttp.ClientTimeout())
        await until(lambda: connection.transport is None)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            Line(connection, address.place, asyncio.get_running_loop())
        assert connection.closed


async def test_broken_framing_in_the_middle_of_a_stream_is_told_at_once(quiet_loop):
    begun = asyncio.Event()

    async def broken(reader, writer):
        await reader.readuntil(b"Hi")
        writer.write(STREAM + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await begun.wait()
        writer.write(b"no length\r\n")
        await reader.read()

    async with upstream(broken) as (provider, _):
        chunks = provider.stream(REQUEST, MINI, Timeouts())
        assert (await anext(chunks)).text == "Hi"
        begun.set()
        with pytest.raises(StreamInterrupted):
            await asyncio.wait_for(anext(chunks), PROMPT_S)


async def test_who_is_cancelled_while_waiting_hears_of_nothing_else(quiet_loop):
    gate = Gate()
    async with ScriptedServer([Json(completion().value, gate=gate), completion("Hi")]) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        call = asyncio.create_task(ask(provider))
        await server.received(1)
        call.cancel()
        gate.release()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await ask(provider)).text == "Hi"
        await provider.aclose()


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_only_a_connection_closed_in_order_ends_an_answer_of_no_told_length(quiet_loop, is_reset):
    has_come = asyncio.Event()

    async def answer(reader, writer):
        await reader.readuntil(b"Hi")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        await has_come.wait()
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    async with upstream(answer) as (provider, _):
        call = asyncio.create_task(ask(provider))
        await until(lambda: provider._transport and any(line.body for line in busy(provider)))
        has_come.set()
        if not is_reset:
            assert (await call).text == "Hi"
            return
        with pytest.raises(ProviderError) as raised:
            await call
        assert type(raised.value) is MalformedResponse


async def test_calls_at_once_are_sent_together_and_all_answered():
    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readuntil(b"]}")
                writer.write(ANSWER)

    async with upstream(serve) as (provider, connections):
        for _ in range(3):
            replies = await asyncio.gather(*(ask(provider) for _ in range(40)))
            assert {reply.text for reply in replies} == {"Hi"}
        assert len(connections) == 40


async def test_of_answers_that_come_at_once_each_head_is_parsed_when_its_turn_comes(quiet_loop, monkeypatch):
    """Parsed as they come, heads lie all over the memory of a burst, and the parser keeps hundreds of them."""
    parsed, held = [], []
    parse = Line._parse

    def noted(line, data):
        parsed.append(asyncio.current_task())
        parse(line, data)

    monkeypatch.setattr(Line, "_parse", noted)
    monkeypatch.setattr("asyncrouter.providers.line.IN_A_ROW", 0)
    released = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"]}")
        held.append(writer)
        await released.wait()
        writer.write(ANSWER)

    async with upstream(serve) as (provider, _):
        calls = [asyncio.create_task(ask(provider)) for _ in range(20)]
        await until(lambda: len(held) == 20)
        released.set()
        assert {reply.text for reply in await asyncio.gather(*calls)} == {"Hi"}
    assert len(parsed) == 20
    assert None not in parsed


@pytest.mark.parametrize("in_a_row", [0, 250])
async def test_a_head_that_comes_in_pieces_while_its_task_is_still_to_run_is_whole(quiet_loop, monkeypatch, in_a_row):
    monkeypatch.setattr("asyncrouter.providers.line.IN_A_ROW", in_a_row)
    async with asked_and_silent() as (call, line):
        for place in range(0, len(ANSWER), 7):  # no turn of the loop between them
            line.data_received(ANSWER[place : place + 7])
        assert (await call).text == "Hi"


@pytest.mark.parametrize("in_a_row", [0, 250])
async def test_an_answer_and_the_end_of_its_connection_before_its_task_runs_are_an_answer(
    quiet_loop, monkeypatch, in_a_row
):
    monkeypatch.setattr("asyncrouter.providers.line.IN_A_ROW", in_a_row)
    async with asked_and_silent() as (call, line):
        line.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)  # of no told length: the end of the connection ends it
        line._transport.abort()
        line.connection_lost(None)
        assert (await call).text == "Hi"
        line.connection_lost(None)


async def test_nothing_of_a_burst_is_held_when_it_is_over(quiet_loop):
    gates = [Gate() for _ in range(200)]
    async with ScriptedServer([Json(completion().value, gate=gate) for gate in gates]) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        calls = [asyncio.create_task(ask(provider)) for _ in gates]
        await server.received(len(gates))
        (place,) = places(provider).values()
        (door,) = provider._transport._doors.values()
        assert len(place.busy) == len(gates)
        assert not door.pool.connector._acquired  # it has forgotten what it made
        for gate in gates:
            gate.release()
        await asyncio.gather(*calls)
        await place.aclose()
        assert len(place) == 0
        for kept in (place.busy, place.leaving):
            assert sys.getsizeof(kept) == sys.getsizeof(set())
        await provider.aclose()
        await asyncio.wait_for(server.idle(), PROMPT_S)
