"""Telling a cancellation of the call from a ``CancelledError`` that a stranger's code lets out by itself."""

from __future__ import annotations

import asyncio

STRANGERS_FAULTS = (Exception, asyncio.CancelledError)
"""What a stranger's code may let out; whoever catches it asks :func:`is_own_fault`."""


def is_own_fault(error: BaseException) -> bool:
    """Whether *error* is a failure of the code that raised it, and not the cancellation of the task that runs it.

    Who awaits a task of its own that was cancelled, or a future that belongs to a closed connection, gets a
    ``CancelledError`` though nobody has cancelled the call: the call would end as if its caller had left.
    ``Task.cancelling`` counts the requests to cancel, those of anyio's scopes and of ``asyncio.timeout`` too.
    """
    if not isinstance(error, asyncio.CancelledError):
        return isinstance(error, Exception)
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
