"""One server process, as its parent sees it.

llama.cpp's server could run inside this process, and must not: its construction holds the interpreter's lock for as
long as the model loads, and so does its deletion, which waits for the calls under way and with a call that is not
streamed never ends.  A process of its own loads while the event loop runs, and ends for certain when it is killed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

import attrs

from asyncrouter_local.options import Options

RUNNER = Path(__file__).with_name("runner.py")
ERROR_MARK = " E "
"""How llama.cpp marks an error's line in its log, after the time."""


class StartFailed(Exception):
    """The server process ended before it served; the message says why."""


class ServerProcess:
    """Starts a server at once and in the background; :meth:`ready` waits for it.

    ``port_before`` is the port that it takes when the options name none and it is free; 0 for any.
    """

    def __init__(self, options: Options, port_before: int = 0) -> None:
        settings = {**attrs.asdict(options), "port_before": port_before}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603 (this very interpreter and a file of ours)
            [sys.executable, "-P", str(RUNNER), json.dumps(settings, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._url: Future[str] = Future()
        self._reader = threading.Thread(target=self._read, name="asyncrouter-local", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs, be it still loading."""
        return self._process.poll() is None

    @property
    def accepts(self) -> bool:
        """Whether the server has said that it accepts."""
        return self._url.done() and self._url.exception() is None

    async def ready(self) -> str:
        """Wait until the server accepts, and return its URL; raise :class:`StartFailed` when it never will.

        Cancelling the wait leaves it starting.  Event loops in several threads may wait at once.
        """
        url = asyncio.wrap_future(self._url)
        url.add_done_callback(_heard)  # nobody hears of it whose wait was cancelled
        return await asyncio.shield(url)

    def kill(self) -> None:
        """End the process and wait for its end: from then on its port refuses connections.  May be called again."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 (it was asked for)
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {}
        if "url" in reply:
            self._url.set_result(reply["url"])
        else:
            self._url.set_exception(StartFailed(self._reason(reply.get("error", ""))))

    def _reason(self, error: str) -> str:
        code = self._process.wait()
        self._log.seek(0)
        logged = self._log.read().decode(errors="replace").splitlines()
        first = next((line.partition(ERROR_MARK)[2] for line in logged if ERROR_MARK in line), "")
        return "; ".join(filter(None, (error.rstrip(".") or f"its process ended with code {code}", first)))


def _heard(url: asyncio.Future[str]) -> None:
    """Let the event loop not complain of a failure that nobody waits for."""
    if not url.cancelled():
        url.exception()
