"""A router stays on the event loop it was entered in: elsewhere its connections, slots and timers would not work."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import anyio
import pytest

from asyncrouter.testing import fake_router

ELSEWHERE = "entered in another event loop"


async def refused(router) -> None:
    for call in (lambda: router.generate("hi"), lambda: router.explain("hi")):
        with pytest.raises(RuntimeError, match=ELSEWHERE):
            await call()
    with pytest.raises(RuntimeError, match=ELSEWHERE):
        router.stream("hi")


async def test_p06_a_call_from_another_loop_gets_a_clear_error_and_harms_nothing():
    async with fake_router() as router:
        outcome = []

        def elsewhere():
            asyncio.run(refused(router))
            outcome.append("refused")

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert outcome == ["refused"]
        assert (await router.generate("hi")).text == "ok"
        assert router.metrics().total.calls == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_p06_a_router_that_crossed_a_fork_gets_a_clear_error():
    """The child runs a loop of its own; what the parent's router holds would be shared with the parent."""
    code = """
import asyncio, os, sys
from asyncrouter.testing import fake_router

async def parent():
    async with fake_router() as router:
        await router.generate("hi")
        child = os.fork()
        if child == 0:
            asyncio._set_running_loop(None)
            try:
                asyncio.run(in_child(router))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (await router.generate("hi")).text == "ok"

async def in_child(router):
    try:
        await router.generate("hi")
    except RuntimeError as error:
        os._exit(0 if "entered in another event loop, or before a fork" in str(error) else 2)

asyncio.run(parent())
print("fine")
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
