"""Runs the demonstration and reports on it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from asyncrouter.cli.output import print_document, print_table
from asyncrouter.examples.demo.conduct import conduct
from asyncrouter.examples.demo.progress import shown
from asyncrouter.examples.demo.prompts import Task, load_tasks
from asyncrouter.examples.demo.record import Run
from asyncrouter.examples.demo.report import COLUMNS, document, table_rows, total_lines
from asyncrouter.examples.demo.setting import Server, local_servers
from asyncrouter.types.errors import ConfigError, ConfigFault

PLOT = "demo.png"


def run(
    out: Path, *, as_json: bool, tasks: Sequence[Task] | None = None, servers: Mapping[str, Server] | None = None
) -> int:
    """Run the main job, print the report, and write the plot into the folder *out*; return the exit code.

    0: every prompt has exactly one answer; 1: some have not.  *tasks* and *servers* stand for the packaged prompts and
    the embedded default's servers.  Raises :class:`~asyncrouter.types.errors.ConfigError` with the cure when the local
    provider, its model or the folder cannot be had, :class:`~asyncrouter.types.errors.ConnectionFailed` when a server
    does not start.
    """
    folder = _made(out)
    tasks = load_tasks() if tasks is None else tasks
    servers = local_servers() if servers is None else servers
    with shown(len(tasks)) as show:
        ended = anyio.run(conduct, tasks, servers, show)
    plot = _plotted(ended, folder / PLOT)
    if as_json:
        print_document(document(ended, plot))
    else:
        _print(ended, plot)
    return 1 if ended.lost else 0


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            faults=[ConfigFault("--out", f"cannot make the folder {str(folder)!r}: {error.strerror}", "name another")]
        ) from error
    return folder


def _plotted(ended: Run, path: Path) -> Path | None:
    if importlib.util.find_spec("matplotlib") is None:
        sys.stderr.write('no plot: matplotlib is missing; run: pip install "asyncrouter[demo]"\n')
        return None
    from asyncrouter.examples.demo.plot import draw

    draw(ended, path)
    return path


def _print(ended: Run, plot: Path | None) -> None:
    print_table(COLUMNS, table_rows(ended))
    sys.stdout.write("\n" + "\n".join(total_lines(ended)) + "\n")
    if plot is not None:
        sys.stdout.write(f"plot: {plot}\n")
