"""Work in a task of its own: whoever waits gets its result, and can stop waiting."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from asyncrouter.engine.apart import GRACE_S, Apart, cancellable
from asyncrouter.testing import virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def answer():
    await anyio.sleep(1.0)
    return 42


async def failure():
    raise LookupError("mine")


async def stubborn(seconds):
    """Never end; once cancelled, take so long for it."""
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)


async def test_it_returns_what_the_work_returns_and_raises_what_it_raises():
    strays = set()
    apart = Apart(answer, strays)
    assert strays == {apart}
    assert await apart.result() == await apart.result() == 42
    assert strays == set()
    with pytest.raises(LookupError, match="mine"):
        await Apart(failure, strays).result()
    assert await cancellable(answer, strays, pytest.fail) == 42
    with pytest.raises(LookupError, match="mine"):
        await cancellable(failure, strays, pytest.fail)


async def test_who_is_cancelled_waits_for_the_end_of_the_work():
    ended, told = [], []

    async def work():
        try:
            await stubborn(GRACE_S / 2)
        finally:
            ended.append(anyio.current_time())

    with anyio.move_on_after(1.0):
        await cancellable(work, set(), lambda: told.append(True))
    assert ended == [1.0 + GRACE_S / 2]
    assert told == []


async def test_but_not_for_ever():
    strays, told = set(), []
    with anyio.move_on_after(1.0):
        await cancellable(lambda: stubborn(30.0), strays, lambda: told.append(True))
    assert anyio.current_time() == 1.0 + GRACE_S
    assert told == [True]
    assert len(strays) == 1
    await anyio.sleep(30.0)
    assert strays == set()


async def test_a_cancellation_by_the_event_loop_is_one_too():
    strays = set()
    task = asyncio.create_task(cancellable(lambda: stubborn(0.4), strays, pytest.fail))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert anyio.current_time() == 0.5
    assert strays == set()


async def test_it_is_told_to_end_once_and_keeps_nobody_busy_when_it_ignores_that():
    async def deaf():
        until = anyio.current_time() + 30.0
        while (left := until - anyio.current_time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    strays, told = set(), []
    with anyio.move_on_after(1.0):
        await cancellable(deaf, strays, lambda: told.append(True))
    assert (anyio.current_time(), told) == (1.0 + GRACE_S, [True])
    await anyio.sleep(30.0)
    assert strays == set()


async def test_work_that_is_cancelled_before_it_began_has_ended():
    strays = set()
    apart = Apart(answer, strays)
    apart.cancel()
    assert await apart.ends_within(GRACE_S)
    assert (anyio.current_time(), strays) == (0.0, set())


async def test_a_task_that_the_event_loop_cancels_tells_whoever_waits():
    """As ``asyncio.run`` does with all that is left."""
    apart = Apart(anyio.sleep_forever, set())
    await asyncio.sleep(0)
    apart.cancel()
    with pytest.raises(asyncio.CancelledError):
        await apart.result()


async def test_the_work_sees_the_callers_context():
    from contextvars import ContextVar

    name = ContextVar("name")
    name.set("caller")

    async def work():
        return name.get()

    assert await Apart(work, set()).result() == "caller"
