"""The thread that writes: calls hand their record over and go on; it commits what has come twice a second."""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable

from asyncrouter.telemetry.outcomes.records import Feedback, LoggedCall
from asyncrouter.telemetry.outcomes.schema import INSERT_CALL, open_for_writing, row_of
from asyncrouter.types.errors import ConfigError

COMMIT_S = 0.5
"""Between two commits: what a killed process loses is what came since, at most a second with the writing itself."""
RETRY_S = 1.0
"""Until the next try when the file could not be written: a full disk, another program's lock."""
CLOSE_S = 5.0
"""How long closing waits for what is still to be written."""
PRUNE_EVERY = 1000
"""Rows written between two looks at what is too old."""
LARGEST_BACKLOG = 64 * 1024 * 1024
"""Bytes of prompts that wait at most."""
DAY_S = 86_400.0

Entry = LoggedCall | Feedback
Waiting = tuple[Entry, str | None]
"""A record, and its messages in JSON where they are kept."""


class Writer:
    """Writes records to the file *path*, from one thread, started with the first one.

    At most *capacity* records wait; more are dropped and counted (``dropped``).  Of calls *keep_rows* are kept, and
    those of the last *keep_days*; ``None`` is no bound.  *clock* tells seconds since 1970.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capacity: int,
        keep_rows: int | None,
        keep_days: float | None,
        clock: Callable[[], float],
    ) -> None:
        self.dropped = 0
        self._path = path
        self._capacity = capacity
        self._keep_rows = keep_rows
        self._keep_days = keep_days
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._unwritten: list[Waiting] = []
        self._told = 0
        self._written = 0
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, entry: Entry, messages: str | None = None) -> bool:
        """Hand *entry* over, with its *messages* in JSON; return whether it was taken.  Never waits for the disk."""
        size = 0 if messages is None else len(messages)
        full = len(self._waiting) + len(self._unwritten) >= self._capacity or self._bytes + size > LARGEST_BACKLOG
        if full or self._closing.is_set():
            self.dropped += 1
            return False
        self._bytes += size
        self._waiting.append((entry, messages))
        if self._thread is None:
            self._start()
        if not self._awake.is_set():
            self._awake.set()
        return True

    def close(self) -> None:
        """Write what waits, for up to :data:`CLOSE_S` seconds, and end the thread; what is put later is dropped."""
        self._closing.set()
        self._awake.set()
        atexit.unregister(self.close)
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                atexit.register(self.close)  # one that is registered with an open router gets no shutdown
                self._thread = threading.Thread(target=self._run, name="asyncrouter-outcomes", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                self._awake.wait()
                closing = self._closing.wait(COMMIT_S)
                self._awake.clear()
                self._take()
                try:
                    connection = connection or open_for_writing(self._path)
                    self._commit(connection)
                except (sqlite3.Error, ConfigError):
                    _close(connection)
                    connection = None
                    self._awake.set()  # it is tried again, however long nothing new comes, and once more at the end
                    if not closing:
                        self._closing.wait(RETRY_S)
                        continue
                    return
                if closing and not self._waiting:
                    return
        finally:
            self.dropped += len(self._unwritten)
            _close(connection)

    def _take(self) -> None:
        while self._waiting:
            self._unwritten.append(self._waiting.popleft())

    def _commit(self, connection: sqlite3.Connection) -> None:
        """Write all that is unwritten in one transaction; what no table can hold is dropped."""
        unfit = 0
        connection.execute("BEGIN IMMEDIATE")
        try:
            for entry, messages in self._unwritten:
                unfit += not _insert(connection, entry, messages)
            lost = self.dropped + unfit - self._told
            if lost:
                connection.execute("INSERT INTO losses (at, rows) VALUES (?, ?)", (self._clock(), lost))
            self._prune(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.dropped += unfit
        self._told += lost
        self._bytes -= sum(len(messages) for _entry, messages in self._unwritten if messages is not None)
        self._unwritten.clear()

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Delete the calls that are too many or too old, and feedback as old as they; at the first commit and later."""
        due = self._written % PRUNE_EVERY < len(self._unwritten) or not self._written
        self._written += len(self._unwritten)
        if not due:
            return
        if self._keep_rows is not None:
            connection.execute("DELETE FROM calls WHERE seq <= (SELECT MAX(seq) FROM calls) - ?", (self._keep_rows,))
        if self._keep_days is not None:
            connection.execute("DELETE FROM calls WHERE at < ?", (self._clock() - self._keep_days * DAY_S,))
        if self._keep_rows is not None or self._keep_days is not None:
            connection.execute("DELETE FROM feedback WHERE at < (SELECT MIN(at) FROM calls)")


def _insert(connection: sqlite3.Connection, entry: Entry, messages: str | None) -> bool:
    """Write one row; return whether its values can be kept at all."""
    try:
        if isinstance(entry, Feedback):
            values = (entry.request, entry.at, entry.score)
            connection.execute("INSERT INTO feedback (request, at, score) VALUES (?, ?, ?)", values)
        else:
            connection.execute(INSERT_CALL, row_of(entry, messages))
    except (ValueError, TypeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
        return False
    return True


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
