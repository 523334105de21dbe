"""Virtual time: exact, quick, and loud where another loop would hang."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import time

import anyio
import anyio.to_thread
import pytest

from asyncrouter.testing import VirtualClockLoop, VirtualDeadlock, run_virtual, virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def test_hours_pass_in_no_time_and_exactly():
    loop = asyncio.get_running_loop()
    began = time.monotonic()
    assert loop.time() == 0.0
    for wait in (3600.0, 0.1, 0.2, 86400.0 * 3, 1e-3):
        before = loop.time()
        await anyio.sleep(wait)
        assert loop.time() == before + wait
    assert time.monotonic() - began < 5


async def test_timers_fire_in_their_order_each_at_its_time():
    seen = []

    async def note(delay_s):
        await anyio.sleep(delay_s)
        seen.append((delay_s, anyio.current_time()))

    async with anyio.create_task_group() as group:
        for delay_s in (5, 1, 3, 1.5):
            group.start_soon(note, delay_s)
    assert seen == [(1, 1.0), (1.5, 1.5), (3, 3.0), (5, 5.0)]


async def test_a_cancelled_timer_is_not_jumped_to():
    with anyio.move_on_after(1000):
        await anyio.sleep(2)
    await anyio.to_thread.run_sync(lambda: None)  # the loop is idle meanwhile
    assert anyio.current_time() == 2.0


async def test_a_timeout_fires_at_its_moment():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.sleep(3600)
    assert anyio.current_time() == 30.0


async def test_what_is_ready_runs_before_time_passes():
    async def spin():
        for _ in range(50):
            await asyncio.sleep(0)
        return anyio.current_time()

    timer = asyncio.create_task(asyncio.sleep(1))
    assert await spin() == 0.0
    await timer


async def test_time_stands_still_while_a_started_thread_works():
    release = threading.Event()
    asyncio.get_running_loop().call_soon(release.set)

    def work():
        assert release.wait(10)
        return "done"

    with anyio.fail_after(0.001):
        assert await asyncio.to_thread(work) == "done"
    assert anyio.current_time() == 0.0


async def test_a_foreign_thread_may_wake_an_idle_loop():
    assert await anyio.to_thread.run_sync(lambda: "done") == "done"


def test_hanging_for_ever_is_an_error_that_names_the_line():
    async def wait_in_vain():
        await asyncio.Event().wait()

    with pytest.raises(VirtualDeadlock, match=r"no timer and nothing ready") as caught:
        run_virtual(wait_in_vain)
    assert "wait_in_vain" in str(caught.value)
    assert f"{__file__}:" in str(caught.value)


def test_a_timer_at_infinity_is_no_timer():
    with pytest.raises(VirtualDeadlock):
        run_virtual(asyncio.sleep, math.inf)


def test_an_idle_foreign_thread_does_not_hide_a_deadlock(monkeypatch):
    monkeypatch.setattr(VirtualClockLoop, "patience_s", 0.01)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(VirtualDeadlock):
            run_virtual(anyio.sleep_forever)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "open_it",
    [
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 9),
        lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)),
        lambda loop: loop.create_unix_connection(asyncio.Protocol, "/nowhere"),
        lambda loop: loop.create_unix_server(asyncio.Protocol, "/nowhere"),
        lambda loop: loop.sock_connect(None, ("127.0.0.1", 9)),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.subprocess_shell(asyncio.SubprocessProtocol, "true"),
    ],
)
async def test_sockets_and_processes_are_refused(open_it):
    with pytest.raises(RuntimeError, match="needs real time; use FakeProvider"):
        await open_it(asyncio.get_running_loop())


def test_run_virtual_passes_arguments_and_result():
    async def add(left, right):
        await anyio.sleep(86_000)
        return left + right

    assert run_virtual(add, 1, 2) == 3


def test_an_interrupt_while_a_loop_is_made_has_nothing_to_complain_of(monkeypatch, recwarn):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.SelectorEventLoop, "_make_self_pipe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        VirtualClockLoop()
    gc.collect()
    assert complaints == []
