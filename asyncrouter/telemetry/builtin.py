"""The observers that come with the package, by name; none is active unless ``router.plugins`` names it."""

from __future__ import annotations

from typing import Any

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import Registry
from asyncrouter.types.errors import ConfigError, ConfigFault


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Register the log and the outcome log."""
    registry.plugin("log", log)
    registry.plugin("outcomes", outcomes)


def log(*, level: str = "info", logger: Any = None) -> object:
    """One log line a request through structlog.

    ``level``: "debug", "info", "warning" or "error", the level of requests that were answered (failed ones are
    logged as errors); ``logger``: a structlog logger of your own.  By default it is the one that the application
    configured, or else one that writes to standard error.  Raises ``ValueError`` for another level.
    """
    from asyncrouter.telemetry.log import LogObserver  # structlog costs 46 ms to import

    return LogObserver(level=level, logger=logger)


def outcomes(
    *,
    path: str | None = None,
    prompts: bool = False,
    vectors: bool = False,
    label: str | None = None,
    keep_rows: int | None = 1_000_000,
    keep_days: float | None = None,
) -> object:
    """Write what was decided for each request and what came of it to an SQLite file, to learn from.

    ``path``: the file, required.  ``prompts``: write the messages too; by default no text of a prompt is written.
    ``vectors``: write the estimates' feature vectors.  ``label``: a word for each row.  ``keep_rows``, ``keep_days``:
    how much is kept.  Raises :class:`~asyncrouter.types.errors.ConfigError` for a value that does not do.
    """
    from asyncrouter.telemetry.outcomes import OutcomeLog  # sqlite3 is wanted only here

    if not isinstance(path, str) or not path.strip():
        raise ConfigError(faults=[ConfigFault("path", "names no file", 'such as path = "outcomes.sqlite"')])
    return OutcomeLog(
        path=path, prompts=prompts, vectors=vectors, label=label, keep_rows=keep_rows, keep_days=keep_days
    )
