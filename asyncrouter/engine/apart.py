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
        self._ended = anyio.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None
        strays.add(self)
        self._cancel = _begin(self._run, self._end)

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
        """Tell the work to end; nobody is to ask for its result any more."""
        self._cancel()

    async def _run(self) -> None:
        try:
            self._result.append(await self._work())
        except Exception as error:  # whoever waits gets it; of work that was left alone it is nobody's
            self._error = error
        except BaseException as error:
            self._error = error
            raise

    def _end(self) -> None:
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


def _begin(run: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> Callable[[], object]:
    """Run *run* in a task that outlives its caller, then *ended*; return what cancels it.

    On asyncio it is told to end once: told again and again, as anyio's scopes do, work that ignores it would keep the
    event loop busy with nothing else.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # only where it runs already

        scope = trio.CancelScope()

        async def scoped() -> None:
            with scope:
                try:
                    await run()
                finally:
                    ended()

        trio.lowlevel.spawn_system_task(scoped, context=contextvars.copy_context())
        return scope.cancel
    task = loop.create_task(run())
    task.add_done_callback(lambda _task: ended())
    return task.cancel
