"""Cancelling a call at any of its awaits.

A scenario is run once to count its awaits (:class:`Driven`), then once for each of them, cancelled there: by the event
loop while the await is pending (:func:`pending`), by the event loop in the moment in which it is over
(:func:`too_late`: the result is there, and is lost), or by a cancel scope around the call (:func:`run`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import anyio


class Driven:
    """An awaitable that runs a coroutine and calls *at_await* with what it awaits, each time that it suspends."""

    def __init__(self, coroutine, at_await):
        self.coroutine = coroutine
        self.at_await = at_await

    def __await__(self):
        step, value = self.coroutine.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as stop:
                return stop.value
            self.at_await(awaited)
            try:
                value = yield awaited
                step = self.coroutine.send
            except BaseException as error:  # the loop's own way to tell of cancellation and failure
                step, value = self.coroutine.throw, error


def pending(_awaited):
    asyncio.current_task().cancel()


def too_late(awaited):
    """Cancel when the awaited future is done, before the task is told."""
    task = asyncio.current_task()
    if awaited is None:
        task.cancel()
    else:
        awaited.add_done_callback(lambda _future: task.cancel())


async def run(call, number, cancel):
    """Run *call* and cancel it at await *number*; return how many awaits there were."""
    awaits = itertools.count(1)
    seen = 0
    with anyio.CancelScope() as scope:

        def at_await(awaited):
            nonlocal seen
            seen = next(awaits)
            if seen == number:
                (cancel or (lambda _awaited: scope.cancel()))(awaited)

        async def driven():
            return await Driven(call(), at_await)

        if cancel is None:
            await driven()
        else:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_task(driven())
    return seen
