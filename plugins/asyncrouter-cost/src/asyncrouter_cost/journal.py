"""What was spent, kept in a file: an SQLite database that one process holds at a time.

SQLite writes a set of changes as a whole or not at all, and its lock falls with the process that had it, however that
ended.  Changes are noted where the money is counted, which takes no lock, and written by a thread every second.  What
is set aside for calls under way is written too, and counts as spent where the process ends before they do.

Times in the file are those of the wall clock, in slices of each budget's period, for the router's own clock begins anew
with every process.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import time as wall_s

from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter_cost.account import SLICES
from asyncrouter_cost.books import Key, Spent
from asyncrouter_cost.options import PERIODS_S

SAVE_S = 1.0
"""How often changes are written: a crash loses what was counted since."""
HELD = -1
"""In place of a slice: what is set aside for calls under way."""
LEAST_USD = 1e-12
"""Less than this is the rounding of sums."""
APPLICATION_ID = 0x61726373
VERSION = 1
SCHEMA = f"""
CREATE TABLE spent (
    per TEXT NOT NULL, slice INTEGER NOT NULL, budget TEXT NOT NULL, whose TEXT NOT NULL, usd REAL NOT NULL,
    PRIMARY KEY (per, slice, budget, whose)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
ADD = (
    "INSERT INTO spent (per, slice, budget, whose, usd) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET usd = usd + excluded.usd"
)
CURE = "see that its folder is there and has room; move a damaged file away, and its money counts as not spent"
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Journal:
    """The file at *path*."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._noted: deque[tuple[Key, int, float]] = deque()
        self._unwritten: dict[tuple[Key, int], float] = {}
        self._ended = threading.Event()
        self._file: sqlite3.Connection | None = None
        self._writer: threading.Thread | None = None

    # ------------------------------------------------------------------ what is noted

    def hold(self, key: Key, usd: float) -> None:
        """Note that *usd* was set aside, or given back where it is negative."""
        self._note(key, HELD, usd)

    def spend(self, key: Key, usd: float) -> None:
        """Note that *usd* was spent just now."""
        self._note(key, slice_now(key.per), usd)

    def _note(self, key: Key, place: int, usd: float) -> None:
        if self._file is not None:  # nobody would write it
            self._noted.append((key, place, usd))

    # ------------------------------------------------------------------ the file

    def open(self) -> dict[Key, list[Spent]]:
        """Take the file for this process, begin to write it, and return what was spent before, oldest first.

        Raises :class:`ConfigError` when it is damaged, cannot be read, or belongs to another process.
        """
        with contextlib.ExitStack() as undo, self._told("cannot be read"):
            file = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            undo.callback(file.close)
            file.execute("PRAGMA locking_mode = EXCLUSIVE")
            file.execute("BEGIN EXCLUSIVE")
            file.execute("COMMIT")
            self._check(file)
            spent = self._read(file)
            undo.pop_all()
        self._file = file
        self._ended.clear()
        self._writer = threading.Thread(target=self._write_now_and_then, name="asyncrouter-cost", daemon=True)
        self._writer.start()
        return spent

    def close(self) -> None:
        """Write what is not yet written, and let the file go; raise :class:`ConfigError` when it cannot be written."""
        file, writer = self._file, self._writer
        if file is None or writer is None:
            return
        self._ended.set()
        writer.join()
        try:
            with self._told("cannot be written"):
                self._write(file)
        finally:
            self._file = None
            file.close()

    def _write_now_and_then(self) -> None:
        while not self._ended.wait(SAVE_S):
            try:
                if self._file is not None:
                    self._write(self._file)
            except sqlite3.Error as error:  # a full disk now may have room the next time, and in the end it is raised
                warnings.warn(f"{self.path}: what was spent is not kept: {error}", stacklevel=1)

    def _write(self, file: sqlite3.Connection) -> None:
        unwritten = self._unwritten
        while self._noted:
            key, place, usd = self._noted.popleft()
            unwritten[key, place] = unwritten.get((key, place), 0.0) + usd
        rows = [(key.per, place, key.budget, key.whose, usd) for (key, place), usd in unwritten.items() if _counts(usd)]
        if rows:
            with _transaction(file):
                file.executemany(ADD, rows)
                for per in PERIODS_S:
                    oldest = slice_now(per) - SLICES
                    file.execute("DELETE FROM spent WHERE per = ? AND slice >= 0 AND slice < ?", (per, oldest))
        unwritten.clear()

    @contextlib.contextmanager
    def _told(self, problem: str) -> Iterator[None]:
        """Raise what goes wrong as a :class:`ConfigError` that names the file and a cure."""
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY:
                cure = "end that one first, or give each a file of its own"
                raise self._fault("is kept by another router", cure) from None
            raise self._fault(f"{problem}: {error}", CURE) from error
        except ValueError as error:
            raise self._fault(str(error), CURE) from None

    def _fault(self, problem: str, cure: str) -> ConfigError:
        return ConfigError(faults=[ConfigFault("state", f"{self.path} {problem}", cure)])

    def _check(self, file: sqlite3.Connection) -> None:
        """See that the file is one of ours, and whole; make one of an empty file."""
        if file.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            file.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        if file.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise ValueError("is a database of something else")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise ValueError(f"is of version {version}, and this is {VERSION}")
        if file.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise ValueError("is damaged")

    def _read(self, file: sqlite3.Connection) -> dict[Key, list[Spent]]:
        """Return what was spent, and count as spent just now what was set aside for calls that never ended."""
        found: dict[Key, list[Spent]] = {}
        held = []
        for per, place, budget, whose, usd in file.execute("SELECT per, slice, budget, whose, usd FROM spent"):
            if not (per in PERIODS_S and isinstance(place, int) and isinstance(usd, float) and math.isfinite(usd)):
                raise ValueError("is damaged")
            if place == HELD:
                held.append((per, slice_now(per), budget, whose, usd))
            age_s = 0.0 if place == HELD else max(wall_s() - (place + 1) * PERIODS_S[per] / SLICES, 0.0)
            if usd > LEAST_USD:
                found.setdefault(Key(per, budget, whose), []).append(Spent(age_s, usd))
        with _transaction(file):
            file.executemany(ADD, [row for row in held if row[-1] > LEAST_USD])
            file.execute("DELETE FROM spent WHERE slice = ?", (HELD,))
        return {key: sorted(rows, reverse=True) for key, rows in found.items()}


def slice_now(per: str) -> int:
    """Return the slice of the period *per* that the wall clock stands in."""
    return math.floor(wall_s() * SLICES / PERIODS_S[per])


def _counts(usd: float) -> bool:
    return abs(usd) > LEAST_USD


@contextlib.contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN")
    try:
        yield
    except BaseException:
        file.execute("ROLLBACK")
        raise
    file.execute("COMMIT")
