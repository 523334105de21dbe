"""What goes to standard output, what to standard error, and in which form."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from asyncrouter.cli.documents import error_document
from asyncrouter.types.errors import AllAttemptsFailed, AsyncRouterError, ConfigError, InvalidRequest, PluginError

CONTROL = {code: "\ufffd" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\t\n"}
"""Control characters: an answer must not steer the reader's terminal."""


class Failed(Exception):
    """A command failed with a typed *error*."""

    def __init__(self, error: AsyncRouterError) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def is_configuration(self) -> bool:
        """Whether configuration or usage is at fault: nothing was routed yet."""
        return self.error.trace is None and isinstance(self.error, (ConfigError, InvalidRequest, PluginError))


def complain(error: AsyncRouterError) -> None:
    """Say on standard error what went wrong, one line a fault or attempt."""
    click.echo(_clean(f"error: {type(error).__name__}: {error}"), err=True)
    if isinstance(error, AllAttemptsFailed):
        for one in error.errors:
            click.echo(_clean(f"  {one.deployment}: {type(one).__name__}: {one}"), err=True)


def print_document(document: Any) -> None:
    """Print the one JSON document of a ``--json`` command."""
    click.echo(json.dumps(document, indent=2))


def print_error_document(error: AsyncRouterError) -> None:
    """Print the JSON document of a ``--json`` command that failed."""
    print_document({"error": error_document(error)})


def print_text(text: str, stdout: TextIO | None = None) -> None:
    """Print words of a model at once; a terminal gets them without control characters."""
    stream = stdout or sys.stdout
    stream.write(_clean(text) if stream.isatty() else text)
    stream.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: with rules on a terminal, as aligned plain text otherwise."""
    lines = [[_clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(columns, lines)
        return
    from rich.cells import cell_len  # Chinese, Japanese and Korean letters are two cells wide

    widths = [max(map(cell_len, column)) for column in zip(columns, *lines, strict=True)]
    for line in ([*columns], *lines):
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_rich_table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for line in lines:
        table.add_row(*map(Text, line))
    Console().print(table)


def _clean(text: str) -> str:
    return text.translate(CONTROL)
