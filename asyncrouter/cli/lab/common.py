"""What the commands of the lab share: progress, plots, and how their errors are told."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from asyncrouter.cli.options import Command
from asyncrouter.cli.output import Failed, print_error_document
from asyncrouter.types.errors import AsyncRouterError

Listener = Callable[[float], None]
"""Told the share of the work that is done."""

Bars = Callable[[str], Listener]
"""Makes the listener of one piece of work, of which it is told the name."""

CALLS = 1000
"""Costs are told for so many calls."""
FILE = click.Path(dir_okay=False, path_type=Path)
OUTCOME_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=FILE)


def pair_options(command: Command) -> Command:
    """Add what tells the pair of models and their prices."""
    for option in (
        click.option("--prices", type=FILE, metavar="F.json", help="USD per million tokens of each model."),
        click.option("--weak", metavar="MODEL", help="The weaker model of the pair."),
        click.option("--strong", metavar="MODEL", help="The stronger model of the pair."),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def telling(*, as_json: bool = False) -> Iterator[None]:
    """Make typed errors the command's failure; what plugins and logs print meanwhile goes to standard error."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except AsyncRouterError as error:
        if as_json:
            print_error_document(error)
        raise Failed(error) from error


@contextlib.contextmanager
def bars() -> Iterator[Bars]:
    """Yield what makes listeners of progress: a bar for each on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _name: lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:

        def listener(name: str) -> Listener:
            bar = progress.add_task(name, total=1.0)
            return lambda share: progress.update(bar, completed=share)

        yield listener


def check_lab() -> None:
    """Refuse at once what needs the libraries of the extra ``lab`` where they are missing."""
    missing = [name for name in ("numpy", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f'{" and ".join(missing)} not installed; run: pip install "asyncrouter[lab]"')


def check_plot(plot: Path) -> None:
    """Refuse before the work what would fail after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError('--plot needs matplotlib; run: pip install "asyncrouter[lab]"')
    check_folder(plot)


def drawing(plot: Path, draw: Callable[[], None]) -> None:
    """Write the picture at *plot*; what the disk refuses is told."""
    try:
        draw()
    except OSError as error:
        raise click.FileError(str(plot), error.strerror) from error


def check_folder(path: Path) -> None:
    """Refuse a file that is to be written where no folder is."""
    if not path.absolute().parent.is_dir():
        raise click.FileError(str(path), "its folder does not exist")
