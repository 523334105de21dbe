"""The progress bar: on a terminal only, on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from asyncrouter.examples.demo.conduct import Progress, Show
from asyncrouter.examples.demo.setting import STOPPED


@contextlib.contextmanager
def shown(total: int) -> Iterator[Show]:
    """Show a bar of *total* calls as long as the context lasts; it leaves nothing behind."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task("", total=total)

        def show(progress: Progress) -> None:
            text = f"server of {STOPPED}: {progress.server}, failed attempts: {progress.failed_attempts}"
            bar.update(task, completed=progress.ended, description=text)

        yield show
