"""The observers that come with the package, by name; none is active unless ``router.plugins`` names it."""

from __future__ import annotations

from typing import Any

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import Registry


@hookimpl
def asyncrouter_register(registry: Registry) -> None:
    """Register the log."""
    registry.plugin("log", log)


def log(*, level: str = "info", logger: Any = None) -> object:
    """One log line a request through structlog.

    ``level``: "debug", "info", "warning" or "error", the level of requests that were answered (failed ones are
    logged as errors); ``logger``: a structlog logger of your own.  By default it is the one that the application
    configured, or else one that writes to standard error.  Raises ``ValueError`` for another level.
    """
    from asyncrouter.telemetry.log import LogObserver  # structlog costs 46 ms to import

    return LogObserver(level=level, logger=logger)
