"""The server's process: real starts, stops, crashes and calls."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from urllib.parse import urlsplit
from urllib.request import urlopen

import anyio
import anyio.lowlevel
import pytest
from asyncrouter_local.provider import LocalProvider
from processes import ignores, is_alive

from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed, ContextWindowExceeded, ProviderError
from asyncrouter.types.request import Request

DEPLOYMENT = Deployment(name="tiny", provider="local", model="tiny")


def request(text: str = "Say something.", **params: object) -> Request:
    return Request(messages=[{"role": "user", "content": text}], params={"max_tokens": 8, **params})


async def ask(provider: LocalProvider, text: str = "Say something.", **params: object):
    return await provider.complete(request(text, **params), DEPLOYMENT, Timeouts())


def stream(provider: LocalProvider, text: str = "Say something.", **params: object):
    return provider.stream(request(text, **params), DEPLOYMENT, Timeouts())


def port_of(provider: LocalProvider) -> int:
    return urlsplit(provider.base_url).port


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def calls_under_way(provider: LocalProvider) -> int:
    """What the server itself says: calls being answered and calls in line."""
    with urlopen(provider.base_url.removesuffix("/v1") + "/metrics") as response:  # noqa: S310 - loopback
        lines = response.read().decode().splitlines()
    names = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    return sum(int(float(line.split()[1])) for line in lines if line.startswith(names))


# ------------------------------------------------------------------ answers


async def test_the_first_call_starts_the_server(tiny):
    assert tiny.base_url is None
    assert not tiny.running
    response = await ask(tiny)
    assert tiny.running
    assert response.usage.output_tokens == 8
    assert len(response.text) == 8  # the tiny model's tokens are characters
    assert response.finish_reason == "length"


async def test_an_answer_names_the_model_and_no_path(tiny, tiny_model):
    assert (await ask(tiny)).raw["model"] == "tiny-model"
    named = LocalProvider(name="local", model_path=tiny_model, alias="mine")
    try:
        assert (await ask(named)).raw["model"] == "mine"
    finally:
        await named.aclose()


async def test_a_stream_ends_with_its_usage(tiny):
    chunks = [chunk async for chunk in stream(tiny, stream_options={"include_usage": True})]
    assert len("".join(chunk.text for chunk in chunks)) == 8
    assert chunks[-1].raw["usage"]["completion_tokens"] == 8


async def test_a_call_right_after_a_stream_meets_a_connection_that_serves(tiny):
    for _ in range(5):
        assert [chunk async for chunk in stream(tiny)]
        assert (await ask(tiny)).usage.output_tokens == 8


async def test_the_packaged_model_answers(packaged_model):
    provider = LocalProvider(name="local", seed=1)
    try:
        response = await ask(provider, "Say hello.", max_tokens=6)
        streamed = [chunk async for chunk in stream(provider, "Say hello.", max_tokens=6)]
    finally:
        await provider.aclose()
    assert response.raw["model"] == "smollm2-135m-instruct.q4_1"
    assert response.text.strip()
    assert "".join(chunk.text for chunk in streamed).strip()


async def test_a_seed_makes_answers_repeatable(tiny_model):
    answers = []
    for seed in (1, 1, 2):
        provider = LocalProvider(name="local", model_path=tiny_model, seed=seed)
        answers.append((await ask(provider, temperature=1.0, max_tokens=40)).text)
        await provider.aclose()
    assert answers[0] == answers[1] != answers[2]


async def test_each_slot_has_the_whole_context_window(tiny_model):
    provider = LocalProvider(name="local", model_path=tiny_model, n_ctx=512, n_parallel=3)
    try:
        assert (await ask(provider, "x" * 480)).usage.output_tokens == 8
        with pytest.raises(ContextWindowExceeded):
            await ask(provider, "x" * 600)
    finally:
        await provider.aclose()


async def test_the_slots_answer_at_once_and_more_wait_in_line(tiny):
    await tiny.start()
    with anyio.fail_after(4):  # less than the five seconds for which an idle connection may keep its thread
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(tiny, f"Call {number}.")) for number in range(40)]
    assert [task.result().usage.output_tokens for task in tasks] == [8] * 40


async def test_leaving_a_stream_frees_its_slot(tiny_model):
    provider = LocalProvider(name="local", model_path=tiny_model, n_parallel=1, n_ctx=4096)
    try:
        async with aclosing(stream(provider, max_tokens=3900)) as chunks:
            await anext(chunks)
            assert await anyio.to_thread.run_sync(calls_under_way, provider) == 1
        with anyio.fail_after(5):
            response = await ask(provider)
            while await anyio.to_thread.run_sync(calls_under_way, provider):
                await anyio.lowlevel.checkpoint()
    finally:
        await provider.aclose()
    assert response.usage.output_tokens == 8


# ------------------------------------------------------------------ start and stop


async def test_concurrent_first_calls_start_one_server(tiny, monkeypatch):
    started = []
    popen = subprocess.Popen

    def counted(*arguments, **options):
        started.append(arguments)
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", counted)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(ask(tiny))
    assert len(started) == 1


def test_event_loops_in_several_threads_share_one_server(tiny_model):
    provider = LocalProvider(name="local", model_path=tiny_model)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: asyncio.run(ask(provider)), range(6)))
    pid = provider.pid
    asyncio.run(provider.aclose())
    assert [answer.usage.output_tokens for answer in answers] == [8] * 6
    assert not is_alive(pid)


async def test_the_event_loop_runs_while_the_model_loads(tiny):
    turns = 0
    task = asyncio.create_task(tiny.start())
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert task.result() == tiny.base_url
    assert turns > 100


async def test_a_stopped_server_refuses_and_a_started_one_takes_the_same_port(tiny):
    await ask(tiny)
    port = port_of(tiny)
    await tiny.stop()
    assert not tiny.running
    assert refuses(port)
    for _ in range(2):
        with pytest.raises(ConnectionFailed):
            await ask(tiny)
    with pytest.raises(ConnectionFailed):
        await anext(stream(tiny))
    assert await tiny.start() == f"http://127.0.0.1:{port}/v1"
    assert (await ask(tiny)).usage.output_tokens == 8
    assert await tiny.start() == f"http://127.0.0.1:{port}/v1"  # it runs already


async def test_a_started_server_takes_another_port_when_its_own_is_gone(tiny):
    await tiny.start()
    port = port_of(tiny)
    await tiny.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        await tiny.start()
        assert port_of(tiny) != port
        assert (await ask(tiny)).usage.output_tokens == 8


async def test_a_port_that_was_asked_for_and_is_taken_is_named(tiny_model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        provider = LocalProvider(name="local", model_path=tiny_model, port=port)
        with pytest.raises(ConnectionFailed, match=f"port {port}: Address already in use"):
            await ask(provider)
        await provider.aclose()
    provider = LocalProvider(name="local", model_path=tiny_model, port=port)
    assert await provider.start() == f"http://127.0.0.1:{port}/v1"
    await provider.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_stopping_breaks_the_calls_under_way_at_once(tiny_model, streamed):
    provider = LocalProvider(name="local", model_path=tiny_model, n_ctx=4096)

    async def call() -> None:
        if streamed:
            async for _ in stream(provider, max_tokens=3900):
                under_way.set()
        else:
            await ask(provider, max_tokens=3900)

    under_way = asyncio.Event()
    await provider.start()
    task = asyncio.create_task(call())
    if streamed:
        await under_way.wait()
    else:
        while not await anyio.to_thread.run_sync(calls_under_way, provider):
            await anyio.lowlevel.checkpoint()
    with anyio.fail_after(2):
        await provider.stop()
        with pytest.raises(ProviderError):
            await task
    await provider.aclose()


async def test_a_server_that_died_is_started_again_by_the_next_call(tiny):
    await ask(tiny)
    pid = tiny.pid
    os.kill(pid, signal.SIGKILL)
    with anyio.fail_after(5):
        while tiny.running:
            await anyio.lowlevel.checkpoint()
    assert (await ask(tiny)).usage.output_tokens == 8
    assert tiny.pid != pid


async def test_stopping_before_the_first_start(tiny):
    await tiny.stop()
    with pytest.raises(ConnectionFailed, match="is stopped"):
        await ask(tiny)
    await tiny.start()
    assert (await ask(tiny)).usage.output_tokens == 8


async def test_stopping_while_it_starts(tiny):
    starting = asyncio.create_task(tiny.start())
    while tiny.pid is None:
        await anyio.lowlevel.checkpoint()
    pid = tiny.pid
    await tiny.stop()
    with pytest.raises(ConnectionFailed, match="stopped while it started"):
        await starting
    assert not is_alive(pid)


async def begun_and_left(provider: LocalProvider) -> int | None:
    """Make the first call and cancel it while its server starts; return the server's process."""
    first = asyncio.create_task(ask(provider))
    while provider.pid is None:
        await anyio.lowlevel.checkpoint()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    return provider.pid


async def test_cancelling_the_first_call_leaves_the_start_to_the_next(tiny):
    pid = await begun_and_left(tiny)
    assert (await ask(tiny)).usage.output_tokens == 8
    assert tiny.pid == pid


async def test_an_end_that_nobody_waits_for_any_more_is_no_complaint(tiny):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    await begun_and_left(tiny)
    await tiny.stop()
    await anyio.lowlevel.checkpoint()  # the loop hears of it from the thread that reads
    gc.collect()
    assert complaints == []


async def test_a_model_that_cannot_be_loaded_says_why(tmp_path, tiny_model):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_model.read_bytes()[:20_000])
    provider = LocalProvider(name="local", model_path=broken)
    with pytest.raises(ConnectionFailed, match=r"does not run: .*corrupted or incomplete") as caught:
        await ask(provider)
    assert caught.value.deployment == "tiny"
    assert provider.pid is None
    await provider.aclose()


async def test_two_servers_at_once(tiny_model):
    providers = [LocalProvider(name=name, model_path=tiny_model, alias=name) for name in ("one", "two")]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(provider)) for provider in providers * 2]
    assert [task.result().raw["model"] for task in tasks] == ["one", "two"] * 2
    assert port_of(providers[0]) != port_of(providers[1])
    await providers[0].stop()
    assert (await ask(providers[1])).raw["model"] == "two"
    for provider in providers:
        await provider.aclose()
        assert refuses(port_of(provider))


async def test_a_terminals_ctrl_c_does_not_reach_the_server(tiny):
    await tiny.start()
    assert ignores(tiny.pid, signal.SIGINT)
    os.kill(tiny.pid, signal.SIGINT)
    assert (await ask(tiny)).usage.output_tokens == 8


def test_no_server_outlives_its_parent(tiny_model):
    code = textwrap.dedent(f"""\
        import asyncio, sys
        from asyncrouter_local.provider import LocalProvider

        async def main():
            provider = LocalProvider(name="local", model_path={str(tiny_model)!r})
            await provider.start()
            print(provider.pid, provider.base_url, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
        """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid, url = parent.stdout.readline().split()
        assert is_alive(int(pid))
        parent.kill()
    deadline = time.monotonic() + 5
    while not refuses(urlsplit(url).port):
        assert time.monotonic() < deadline, "the server outlived its parent"


async def test_a_quiet_server_prints_nothing(tiny_model):
    code = textwrap.dedent(f"""\
        import asyncio
        from asyncrouter.types.deployments import Deployment, Timeouts
        from asyncrouter.types.request import Request
        from asyncrouter_local.provider import LocalProvider

        async def main():
            provider = LocalProvider(name="local", model_path={str(tiny_model)!r})
            request = Request(messages=[{{"role": "user", "content": "Hi"}}], params={{"max_tokens": 4}})
            await provider.complete(request, Deployment(name="d", provider="p", model="m"), Timeouts())
            await provider.aclose()

        asyncio.run(main())
        """)
    done = await anyio.run_process([sys.executable, "-c", code])
    assert (done.stdout, done.stderr) == (b"", b"")


async def test_no_web_page_may_read_the_answers(tiny):
    from urllib.request import Request as HttpRequest

    await tiny.start()

    def asked_from_a_page() -> str | None:
        with urlopen(HttpRequest(f"{tiny.base_url}/models", headers={"Origin": "http://page.example"})) as response:  # noqa: S310
            return response.headers["Access-Control-Allow-Origin"]

    assert await anyio.to_thread.run_sync(asked_from_a_page) not in ("*", "http://page.example")
