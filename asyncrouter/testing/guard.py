"""The switch that forbids real calls."""

from __future__ import annotations

import os
from types import TracebackType

from asyncrouter.providers.loopback import LOOPBACK_ONLY


class forbid_real_calls:  # noqa: N801 - called and read as a function
    """Forbid calls to anything but this machine, from now on or for a ``with`` block.

    Call it once in ``conftest.py`` to guard a whole test run, or write ``with forbid_real_calls():``.  It sets the
    environment variable ``ASYNCROUTER_LOOPBACK_ONLY``, which child processes inherit; :meth:`restore`, or leaving the
    block, puts back what was.
    """

    def __init__(self) -> None:
        self._before = os.environ.get(LOOPBACK_ONLY)
        os.environ[LOOPBACK_ONLY] = "1"

    def restore(self) -> None:
        """Put the environment back as it was before."""
        if self._before is None:
            os.environ.pop(LOOPBACK_ONLY, None)
        else:
            os.environ[LOOPBACK_ONLY] = self._before

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()
