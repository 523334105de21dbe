"""A router in use on one event loop, called from another or after a fork: a clear error, and nothing is touched."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import anyio
import pytest
from routed import PROMPT, check_secrecy

from asyncrouter.testing import Hang, Reply, Stream


def elsewhere(call):
    """Run *call* in an event loop of its own, in the thread that this is called in, and check its error."""
    with pytest.raises(RuntimeError, match="entered in another event loop") as caught:
        asyncio.run(call())
    check_secrecy(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
async def test_p06_another_loop_gets_a_clear_error_and_harms_nothing(faults, streamed):
    async with faults([Stream(["o", "k"], pause_s=1.0), Reply("after")]) as f:

        async def call():
            if streamed:
                async with f.router.stream(PROMPT) as stream:
                    [chunk async for chunk in stream]
            else:
                await f.router.generate(PROMPT)

        under_way = f.begin()
        await asyncio.sleep(0.5)
        await anyio.to_thread.run_sync(elsewhere, call)
        assert (await under_way).text == "ok", "the call that was under way is none the wiser"
        assert (await f.ask()).text == "after"
        assert len(f.calls) == f.router.metrics().total.calls == 2


async def test_p06_nor_does_it_wait_for_what_belongs_to_the_first(faults):
    """With every slot taken on the first loop, a call on another is refused at once, not put in the line."""
    one_slot = {"a": {"limits": {"concurrency": 1}}}
    async with faults(Hang(), groups={"chat": {"deployments": ["a"]}}, deployments=one_slot) as f:
        under_way = f.begin()
        await asyncio.sleep(0.5)
        await anyio.to_thread.run_sync(elsewhere, lambda: f.router.generate(PROMPT))
        assert f.router.metrics().deployments["a"].waiting == 0
        under_way.cancel()
        await asyncio.wait([under_way])


FORKED = """
import os, sys, warnings
from asyncrouter import SyncRouter
from asyncrouter.testing import FakeProvider

warnings.simplefilter("ignore")  # a fork beside threads is what is tried
config = {"providers": {"p": FakeProvider()}, "deployments": {"a": {"provider": "p", "model": "m"}}}
with SyncRouter.from_config(config) as router:
    router.generate("hi")
    if os.fork() == 0:
        for call in (router.generate, lambda prompt: router.stream(prompt).__enter__(), lambda _: router.metrics()):
            try:
                call("hi")
            except RuntimeError as error:
                print(error)
        with SyncRouter.from_config(config) as own:
            print(own.generate("hi").text)
        router.close(grace_s=1.0)
        sys.exit(0)
    assert os.wait()[1] == 0
    print(router.generate("hi").text)
"""


def test_p06_the_child_of_a_fork_does_not_wait_for_its_parents_thread():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], check=True, capture_output=True, text=True, timeout=60
    )  # a hang is what would fail here
    refused = "the router's thread stayed behind when this process was forked off; make a SyncRouter in each process"
    assert done.stdout.splitlines() == [refused, refused, refused, "ok", "ok"]
