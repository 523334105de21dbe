"""Whose connections are whose: event loops, threads, processes, and how they are closed."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import warnings

import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.testing.server import Gate, Hang, Http, Json, Raw, Reset, ScriptedServer, Sse, chunk, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed, Disposition, ProviderError, StreamInterrupted
from asyncrouter.types.request import Request

MINI = Deployment(name="mini", provider="acme", model="m-1")
REQUEST = Request(messages=[{"role": "user", "content": "Hi"}])
CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
PROMPT_S = 5.0


def made(server, **options):
    return OpenAICompatible(name="acme", base_url=f"{server.url}/v1", **options)


def ask(provider):
    return provider.complete(REQUEST, MINI, Timeouts())


async def test_closing_leaves_no_connection_and_a_closed_provider(quiet_loop):
    async with ScriptedServer(completion()) as server:
        provider = made(server)
        await ask(provider)
        assert server.open_connections == 1
        await provider.aclose()
        await asyncio.wait_for(server.idle(), PROMPT_S)
        await provider.aclose()
        with pytest.raises(ConnectionFailed, match="is closed") as raised:
            await ask(provider)
        assert raised.value.disposition is Disposition.FALLBACK


async def test_a_provider_that_was_never_called_has_nothing_to_close(quiet_loop):
    provider = OpenAICompatible(name="acme", base_url="http://127.0.0.1:9/v1")
    await provider.aclose()
    assert provider._transport is None


@pytest.mark.parametrize(("preset", "connections"), [("openai", 1), ("llamacpp", 3)])
async def test_a_connection_serves_again_only_where_the_server_keeps_it(quiet_loop, preset, connections):
    async with ScriptedServer(completion()) as server:
        provider = made(server, preset=PRESETS[preset])
        for _ in range(3):
            await ask(provider)
        await provider.aclose()
        assert server.connections == connections


async def test_closing_wakes_whoever_waits(quiet_loop):
    stream_script = Sse([chunk({"content": "a"}), Gate()])
    async with ScriptedServer(lambda request: stream_script if request.json.get("stream") else Hang()) as server:
        provider = made(server)
        waiting = asyncio.create_task(ask(provider))
        stream = provider.stream(REQUEST, MINI, Timeouts())
        assert (await anext(stream)).text == "a"
        next_chunk = asyncio.create_task(anext(stream))
        await server.received(2)
        await asyncio.sleep(0)
        await provider.aclose()
        with pytest.raises(ConnectionFailed):
            await asyncio.wait_for(waiting, PROMPT_S)
        with pytest.raises(StreamInterrupted):
            await asyncio.wait_for(next_chunk, PROMPT_S)
        await asyncio.wait_for(server.idle(), PROMPT_S)


async def test_closing_waits_for_no_farewell_of_tls(quiet_loop):
    """Whoever closes TLS in order waits for the other side, half a minute in asyncio."""
    left = threading.Event()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / "loopback.crt", CERTIFICATES / "server.key")

    def serve(listener):
        plain, _ = listener.accept()
        with tls.wrap_socket(plain, server_side=True) as upstream:
            while b"]}" not in upstream.recv(65_536):
                pass
            upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n")
            upstream.sendall(b'{"choices": [{"message": {"content": "Hi"}}]}')
            left.wait(PROMPT_S)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve, listener))
        base_url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        provider = OpenAICompatible(name="acme", base_url=base_url, ca_file=CERTIFICATES / "loopback.crt")
        assert (await provider.complete(REQUEST, MINI, Timeouts())).text == "Hi"
        await asyncio.wait_for(provider.aclose(), PROMPT_S / 2)
        left.set()
        await serving


def test_each_loop_has_connections_of_its_own_and_closes_them_itself(recwarn):
    with ScriptedServer.in_thread(completion("Hi")) as server:
        provider = made(server)
        for number in range(1, 4):
            response = asyncio.run(ask(provider))
            assert response.text == "Hi"
            assert server.connections == number
            assert provider._transport._doors == {}  # closed by the end of asyncio.run
        asyncio.run(provider.aclose())
        gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_a_loop_closed_without_its_generators_is_done_with_at_the_end():
    with ScriptedServer.in_thread(completion()) as server:
        provider = made(server)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask(provider))
        (door,) = provider._transport._doors.values()
        (connection,) = [line._transport for place in door.pool.places.values() for line in place._idle]
        connection.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        asyncio.run(provider.aclose())
        assert provider._transport._doors == {}
        assert door.pool.connector.closed


class LoopThread:
    """An event loop that runs in a thread until it is stopped."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PROMPT_S)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    def __exit__(self, *_):
        if self.thread.is_alive():
            self.stop()
        finishing = threading.Thread(target=self.finish)
        finishing.start()
        finishing.join()

    def finish(self):
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


async def test_two_loops_at_once_and_closing_from_one_of_them(quiet_loop):
    async with ScriptedServer(completion("Hi")) as server:
        provider = made(server)
        with LoopThread() as other:
            assert (await asyncio.to_thread(other.run, ask(provider))).text == "Hi"
            assert (await ask(provider)).text == "Hi"
            assert server.connections == 2
            await provider.aclose()
            assert provider._transport._doors == {}
            await asyncio.wait_for(server.idle(), PROMPT_S)


async def test_a_loop_that_stands_still_closes_its_own_when_it_goes_on(quiet_loop):
    async with ScriptedServer(completion()) as server:
        provider = made(server)
        with LoopThread() as other:
            await asyncio.to_thread(other.run, ask(provider))
            other.stop()
            await asyncio.wait_for(provider.aclose(), PROMPT_S)
            assert server.open_connections == 1
        await asyncio.wait_for(server.idle(), PROMPT_S)


async def test_a_loop_that_does_not_answer_is_not_waited_for_for_ever(quiet_loop, monkeypatch):
    monkeypatch.setattr("asyncrouter.providers.transport.CLOSE_S", 0.05)
    async with ScriptedServer(completion()) as server:
        provider = made(server)
        blocked = threading.Event()
        with LoopThread() as other:
            await asyncio.to_thread(other.run, ask(provider))
            other.loop.call_soon_threadsafe(blocked.wait)
            await asyncio.wait_for(provider.aclose(), PROMPT_S)
            blocked.set()
        await asyncio.wait_for(server.idle(), PROMPT_S)


FORKED = """
import asyncio, os, sys
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed
from asyncrouter.types.request import Request

provider = OpenAICompatible(name="acme", base_url=sys.argv[1])
mini = Deployment(name="mini", provider="acme", model="m-1")
request = Request(messages=[{"role": "user", "content": "Hi"}])

async def ask():
    return (await provider.complete(request, mini, Timeouts())).text

async def in_child():
    assert await ask() == "Hi"
    await provider.aclose()

async def main():
    assert await ask() == "Hi"
    inherited = asyncio.get_running_loop()
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(in_child())
            assert list(provider._transport._doors) == [inherited]  # left alone: it is the parent's
            door = provider._transport._doors[inherited]
            provider._transport._closed = False

            async def as_if_on_the_inherited_loop():
                provider._transport._doors[asyncio.get_running_loop()] = door
                try:
                    await ask()
                except ConnectionFailed as error:
                    assert "before a fork" in str(error), error
                    return
                raise AssertionError("no error")

            asyncio.run(as_if_on_the_inherited_loop())
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    _pid, status = os.waitpid(pid, 0)
    assert status == 0, status
    assert await ask() == "Hi"  # over the very same connection
    await provider.aclose()

asyncio.run(main())
"""


def test_a_fork_shares_nothing():
    with ScriptedServer.in_thread(completion("Hi")) as server:
        command = [sys.executable, "-W", "error", "-c", FORKED, f"{server.url}/v1"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        assert len(server.requests) == 3
        assert [request.connection for request in server.requests] == [1, 2, 1]


async def test_in_another_process_the_inherited_loop_is_refused_and_left_alone(quiet_loop, monkeypatch):
    async with ScriptedServer(completion()) as server:
        provider = made(server)
        await ask(provider)
        with monkeypatch.context() as forked:
            forked.setattr("os.getpid", lambda: -1)
            with pytest.raises(ConnectionFailed, match="before a fork") as raised:
                await ask(provider)
            assert raised.value.disposition is Disposition.FALLBACK
            await provider.aclose()
            assert server.open_connections == 1
        await provider.aclose()
        await asyncio.wait_for(server.idle(), PROMPT_S)


async def test_calls_that_start_together_share_one_session(quiet_loop):
    gate = Gate()
    async with ScriptedServer(Json(completion().value, gate=gate)) as server:
        provider = made(server)
        calls = [asyncio.create_task(ask(provider)) for _ in range(5)]
        await server.received(5)
        assert len(provider._transport._doors) == 1
        gate.release()
        await asyncio.gather(*calls)
        await provider.aclose()


async def test_nothing_is_left_open_by_errors_of_every_kind(quiet_loop):
    scripts = [Reset(), Reset("mid_body"), Raw(b"x"), Http(500), Http(200, b"{}"), Http(302), Sse([], cut_after=0)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with ScriptedServer(scripts) as server:
            provider = made(server)
            for _ in scripts:
                with pytest.raises(ProviderError):
                    await ask(provider)
            (door,) = provider._transport._doors.values()
            assert not any(place.busy for place in door.pool.places.values())
            await provider.aclose()
            await asyncio.wait_for(server.idle(), PROMPT_S)
        gc.collect()
    assert not caught
