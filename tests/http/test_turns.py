"""Whose turn it is to connect, and what comes of many calls at once."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from asyncrouter.providers import waiting
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.waiting import AT_ONCE, Turns
from asyncrouter.testing import run_virtual
from asyncrouter.testing.server import ScriptedServer, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request

PATIENCE_S = 5.0


class Standing:
    """Stands in for a line."""

    is_closing = False


class Place:
    """Turns that are all taken, what was kept, and who waits: by number, each with what it got and when."""

    def __init__(self):
        self.kept = []
        self.loop = asyncio.get_running_loop()
        self.turns = Turns(self.loop, self.kept.append)
        self.got = {}

    async def fill(self):
        for _ in range(AT_ONCE):
            assert await self.turns.take(PATIENCE_S) is None  # at once

    async def waiter(self, number, patience_s=PATIENCE_S):
        async def take():
            try:
                self.got[number] = (await self.turns.take(patience_s), self.loop.time())
            except aiohttp.ClientError as error:
                self.got[number] = (type(error), self.loop.time())

        task = asyncio.create_task(take())
        await asyncio.sleep(0)
        return task


def played(play):
    async def main():
        place = Place()
        await place.fill()
        await play(place)
        place.turns.end()

    run_virtual(main)


def test_who_has_waited_longest_comes_first_whatever_it_is_that_comes():
    async def play(place):
        line = Standing()
        for number in range(3):
            await place.waiter(number)
        assert place.turns.offer(line)
        place.turns.leave(connected=True)
        await asyncio.sleep(1.0)
        assert place.got == {0: (line, 0.0), 1: (None, 0.0)}
        place.turns.leave(connected=False)
        await asyncio.sleep(0)
        assert place.got[2] == (None, 1.0)
        assert not place.turns.offer(line)  # nobody waits

    played(play)


def test_a_turn_that_nobody_waits_for_is_free_for_who_comes():
    async def play(place):
        place.turns.leave(connected=True)
        assert await place.turns.take(PATIENCE_S) is None
        await place.waiter(1)
        assert place.got == {}  # and there was only that one

    played(play)


def test_patience_ends_when_nothing_has_moved_for_so_long():
    async def play(place):
        await place.waiter("patient", 8.0)
        await place.waiter("first")
        await asyncio.sleep(3.0)
        await place.waiter("moving")
        place.turns.offer(Standing())  # which the patient one gets
        await asyncio.sleep(1.0)
        await place.waiter("patient", 8.0)
        place.turns.leave(connected=False)  # a failure moves nobody: the first has its turn and no more
        await asyncio.sleep(20.0)
        timed_out = aiohttp.ConnectionTimeoutError
        assert place.got == {"first": (None, 4.0), "moving": (timed_out, 8.0), "patient": (timed_out, 12.0)}

    played(play)


@pytest.mark.parametrize("comes", ["turn", "line", "lost line", "nothing", "failure"])
def test_who_is_cancelled_passes_on_what_came_in_that_moment(comes):
    async def play(place):
        line = Standing()
        line.is_closing = comes == "lost line"
        task = await place.waiter(0)
        await place.waiter(1)
        if comes == "turn":
            place.turns.leave(connected=True)
        elif comes == "failure":
            place.turns.end()
        elif comes != "nothing":
            place.turns.offer(line)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert task.cancelled()
        next_got = {"turn": {1: (None, 0.0)}, "failure": {1: (aiohttp.ClientConnectionError, 0.0)}}
        assert place.got == next_got.get(comes, {})
        assert place.kept == ([line] if comes == "line" else [])
        if not place.got:
            place.turns.leave(connected=True)  # the one that was cancelled has left the line
            await asyncio.sleep(0)
            assert place.got == {1: (None, 0.0)}

    played(play)


def test_at_the_end_nobody_waits_any_more():
    async def play(place):
        await place.waiter(0)
        place.turns.end()
        await asyncio.sleep(60.0)
        assert place.got == {0: (aiohttp.ClientConnectionError, 0.0)}

    played(play)


async def test_many_calls_at_once_do_with_few_connections(quiet_loop, monkeypatch):
    monkeypatch.setattr(waiting, "AT_ONCE", 3)
    mini = Deployment(name="mini", provider="acme", model="m-1")
    request = Request(messages=[{"role": "user", "content": "Hi"}])
    async with ScriptedServer(completion("Hi")) as server:
        provider = OpenAICompatible(name="acme", base_url=f"{server.url}/v1")
        calls = [provider.complete(request, mini, Timeouts()) for _ in range(100)]
        replies = await asyncio.wait_for(asyncio.gather(*calls), 30.0)
        assert {reply.text for reply in replies} == {"Hi"}
        assert 3 <= server.connections < 100
        assert len(server.requests) == 100
        await provider.aclose()
        await asyncio.wait_for(server.idle(), 5.0)


async def test_a_place_that_takes_no_connection_is_given_up_by_all_who_wait(quiet_loop, monkeypatch):
    monkeypatch.setattr(waiting, "AT_ONCE", 2)
    mini = Deployment(name="mini", provider="acme", model="m-1")
    request = Request(messages=[{"role": "user", "content": "Hi"}])
    provider = OpenAICompatible(name="acme", base_url="http://10.255.255.1:81/v1")

    async def never(*_):
        await asyncio.sleep(3600.0)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", never)
    calls = [provider.complete(request, mini, Timeouts(connect_s=0.05)) for _ in range(9)]
    failures = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5.0)
    assert {str(failure) for failure in failures} == {"mini (acme): no connection within connect_s = 0.05 s"}
    await provider.aclose()
