"""Reading an outcome log, also while routers write it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from asyncrouter.telemetry.outcomes.records import LoggedCall
from asyncrouter.telemetry.outcomes.schema import SELECT_CALLS, call_of, open_for_reading, open_for_writing

BATCH = 500
"""Rows fetched at once: memory stays bounded however long the log is."""


def read_calls(
    path: str | os.PathLike[str], *, since: float | None = None, group: str | None = None, shadows: bool = True
) -> Iterator[LoggedCall]:
    """Yield the logged calls of the file *path* in the order in which they were written, each with its feedback.

    *since*: only those that ended then or later, in seconds since 1970.  *group*: only those asked of that group.
    *shadows*: also the shadows.  Raises :class:`~asyncrouter.types.errors.ConfigError` when *path* is no outcome log.
    """
    wanted = [("at >= ?", since), ('"group" = ?', group)]
    clauses = [clause for clause, value in wanted if value is not None]
    if not shadows:
        clauses.append("shadow_of IS NULL")
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    connection = open_for_reading(path)
    try:
        rows = connection.execute(
            f"{SELECT_CALLS}{where} ORDER BY seq", [value for _clause, value in wanted if value is not None]
        )
        while batch := rows.fetchmany(BATCH):
            yield from map(call_of, batch)
    finally:
        connection.close()


def lost_rows(path: str | os.PathLike[str]) -> int:
    """Return how many rows the writers of the file *path* had to drop: the log is that much short of the truth."""
    connection = open_for_reading(path)
    try:
        (count,) = connection.execute("SELECT COALESCE(SUM(rows), 0) FROM losses").fetchone()
    finally:
        connection.close()
    return int(count)


def record_feedback(path: str | os.PathLike[str], request_id: str, score: float) -> None:
    """Write *score*, from 0 to 1, for the request of that id: feedback that comes days later, or in another process.

    The id is the answer's ``trace.request_id``.  Waits for the disk.  Raises ``ValueError`` for another score,
    :class:`~asyncrouter.types.errors.ConfigError` when *path* is no outcome log.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score: expected a number from 0 to 1, not {score!r}")
    open_for_reading(path).close()  # a wrong path is told, and not made a log of
    connection = open_for_writing(path)
    try:
        connection.execute(
            "INSERT INTO feedback (request, at, score) VALUES (?, ?, ?)", (request_id, time.time(), float(score))
        )
    finally:
        connection.close()
