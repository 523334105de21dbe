"""Work in a task of its own, so that whoever waits for it can stop waiting though it does not end.

A provider may ignore its cancellation: its call sits in a thread, say, or cleans up behind a shield.  Whoever lost a
race, or closes a stream, must not hang with it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")
GRACE_S = 1.0
"""How long work may take to end once it is told to; it is not waited for any longer."""


class Apart(Generic[T]):
    """*work*, begun at once.  *strays* holds it until it ends: an event loop alone does not keep its tasks alive."""

    def __init__(self, work: Callable[[], Awaitable[T]], strays: set[object]) -> None:
        self._work = work
        self._strays = strays
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None
        strays.add(self)
        self._task = _begin(self._run)

    async def result(self) -> T:
        """Wait for the end and return what the work returns, or raise what it raises."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end, for so long and also when cancelled; return whether it came."""
        with anyio.move_on_after(seconds, shield=True):
            await self._ended.wait()
        return self._ended.is_set()

    def cancel(self) -> None:
        """Tell the work to end."""
        self._scope.cancel()

    async def _run(self) -> None:
        try:
            with self._scope:
                self._result.append(await self._work())
        except Exception as error:  # whoever waits gets it; of work that was left alone it is nobody's
            self._error = error
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._strays.discard(self)
            self._ended.set()


async def cancellable(work: Callable[[], Awaitable[T]], strays: set[object], on_stray: Callable[[], None]) -> T:
    """Return what *work* returns; a cancellation ends the wait for it within :data:`GRACE_S`, whatever it does.

    *on_stray* is called when it did not end by then.
    """
    apart = Apart(work, strays)
    try:
        return await apart.result()
    except anyio.get_cancelled_exc_class():
        apart.cancel()
        if not await apart.ends_within(GRACE_S):
            on_stray()
        raise


def _begin(run: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """Start a task that outlives its caller."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # only where it runs already

        return trio.lowlevel.spawn_system_task(run, context=contextvars.copy_context())
    return loop.create_task(run())
