"""The file: its tables, its version, and how a record becomes a row and is read back.

====================  ==========================================================================================
table                 rows
====================  ==========================================================================================
``calls``             one a request, one a shadow: the fields of :class:`LoggedCall`
``feedback``          one a score that a caller gave: ``request``, ``at``, ``score``
``losses``            one for each time that rows were lost: ``at``, ``rows``
====================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.telemetry.outcomes.records import HALVES, JSON, SQL, LoggedAttempt, LoggedCall
from asyncrouter.types.errors import ConfigError, ConfigFault

VERSION = 1
"""Raised when a table changes so that an older reader would misread it."""
BUSY_S = 5.0
"""How long to wait for another process that is writing."""

COLUMNS = tuple(field for field in attrs.fields(LoggedCall) if SQL in field.metadata)
_MESSAGES = [one.name for one in COLUMNS].index("messages")
_STORED: Mapping[str, str] = {JSON: "TEXT", HALVES: "BLOB"}
_NAMES = ", ".join(f'"{one.name}"' for one in COLUMNS)
INSERT_CALL = f"INSERT OR REPLACE INTO calls ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - names of fields
SELECT_CALLS = (
    f"SELECT {_NAMES}, (SELECT score FROM feedback WHERE request = calls.id ORDER BY seq DESC LIMIT 1) FROM calls"  # noqa: S608 - names of fields
)
TABLES = (
    "CREATE TABLE calls (seq INTEGER PRIMARY KEY AUTOINCREMENT, "
    + ", ".join(f'"{one.name}" {_STORED.get(one.metadata[SQL], one.metadata[SQL])}' for one in COLUMNS)
    + ", UNIQUE (id))",
    "CREATE INDEX calls_at ON calls (at)",
    "CREATE TABLE feedback (seq INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL, at REAL, score REAL)",
    "CREATE INDEX feedback_request ON feedback (request)",
    "CREATE TABLE losses (at REAL, rows INTEGER)",
    f"PRAGMA user_version = {VERSION}",
)


def row_of(call: LoggedCall, messages: str | None = None) -> list[Any]:
    """Return the row of *call*, with its messages in JSON where they are given so.

    Raises ``ValueError`` or ``TypeError`` where a value cannot be kept.
    """
    row = [getattr(call, name) for name in _FIELDS]
    for place, encode in _ENCODERS:
        value = row[place]
        if value is not None:
            row[place] = encode(value)
    if messages is not None:
        row[_MESSAGES] = messages
    return row


def call_of(row: tuple[Any, ...]) -> LoggedCall:
    """Return the record of a row of :data:`SELECT_CALLS`."""
    values = {one.name: _DECODERS.get(one.name, _as_it_is)(value) for one, value in zip(COLUMNS, row, strict=False)}
    return LoggedCall(**values, feedback=row[len(COLUMNS)])


def open_for_writing(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open the file, made with its tables when it is not there.

    A write that was committed outlives the process, also when that is killed; a loss of power may take the last ones.
    Raises :class:`~asyncrouter.types.errors.ConfigError` when it is another file than an outcome log of this version,
    ``sqlite3.OperationalError`` when it cannot be written now.
    """
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if _version(connection, path) is None:
            _create(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open an outcome log that is there; raise :class:`~asyncrouter.types.errors.ConfigError` when it is none."""
    if not Path(path).is_file():
        raise _fault(path, "no such file", "the router writes it where [outcomes] says so")
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        raise _fault(path, f"cannot be read: {error}", "look at its permissions") from error
    try:
        if _version(connection, path) is None:
            raise _fault(path, "holds no outcome log", "give the file that [outcomes] names")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if _version(connection, path) is None:  # another process may have been quicker
        for statement in TABLES:
            connection.execute(statement)
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> int | None:
    """Return the version of the file, ``None`` when it is empty; raise when it is not ours."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:  # it is locked, say: that passes
        raise
    except sqlite3.DatabaseError as error:
        raise _fault(path, "is no SQLite file", "give the outcome log a path of its own") from error
    if not names and not version:
        return None
    if "calls" not in names:
        raise _fault(path, "holds tables of another program", "give the outcome log a path of its own")
    if version != VERSION:
        which = "a newer" if version > VERSION else "an older"
        cure = "give another path, or use the version of asyncrouter that wrote it"
        raise _fault(path, f"was written by {which} version (schema {version}, here {VERSION})", cure)
    return VERSION


def _fault(path: str | os.PathLike[str], problem: str, cure: str) -> ConfigError:
    return ConfigError(faults=[ConfigFault(os.fspath(path), problem, cure)])


def plain(value: Any) -> Any:
    """Return what JSON can hold of a mapping or a sequence; of anything else its type."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (tuple, set, frozenset)) else f"<{type(value).__name__}>"


def _attempt(attempt: LoggedAttempt) -> dict[str, Any]:
    """Return what *attempt* has beside the defaults."""
    found = {name: getattr(attempt, name) for name in _ATTEMPT_DEFAULTS}
    return {name: value for name, value in found.items() if value != _ATTEMPT_DEFAULTS[name]}


def _text(value: str) -> str:
    """Return *value* with a question mark for what is no character: half of a surrogate pair."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _halves(value: Sequence[float]) -> bytes | None:
    return struct.pack(f"<{len(value)}e", *value) if value else None


def _as_it_is(value: Any) -> Any:
    return value


def _attempts(text: str) -> tuple[LoggedAttempt, ...]:
    return tuple(LoggedAttempt(**one) for one in json.loads(text))


def _features(blob: bytes | None) -> tuple[float, ...]:
    return struct.unpack(f"<{len(blob) // 2}e", blob) if blob else ()


def _boolean(value: int | None) -> bool | None:
    return None if value is None else bool(value)


_DECODERS: Mapping[str, Any] = {
    "stream": _boolean,
    "usage_estimated": _boolean,
    "accepted": _boolean,
    "contributions": lambda text: tuple((points, name) for points, name in json.loads(text)),
    "qualities": json.loads,
    "ranking": lambda text: tuple(json.loads(text)),
    "attempts": _attempts,
    "features": _features,
    "messages": lambda text: None if text is None else tuple(json.loads(text)),
}
_ATTEMPT_DEFAULTS: Mapping[str, Any] = {one.name: one.default for one in attrs.fields(LoggedAttempt)}
_TO_JSON = json.JSONEncoder(default=plain, separators=(",", ":")).encode  # dumps() makes an encoder for each call
_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "TEXT": _text,
    JSON: lambda value: _TO_JSON(value) if value else "{}" if isinstance(value, Mapping) else "[]",
    HALVES: _halves,
}
_NAMED: Mapping[str, Callable[[Any], Any]] = {"attempts": lambda value: _TO_JSON([*map(_attempt, value)])}
_FIELDS = tuple(one.name for one in COLUMNS)
_ENCODERS = tuple(
    (place, _NAMED.get(one.name) or _KINDS[one.metadata[SQL]])
    for place, one in enumerate(COLUMNS)
    if one.metadata[SQL] in _KINDS
)
