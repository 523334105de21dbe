"""The group of commands, and the exit codes that their errors become."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from asyncrouter.cli.calls import ask, explain
from asyncrouter.cli.demo import demo
from asyncrouter.cli.lab import lab
from asyncrouter.cli.output import Failed, complain
from asyncrouter.cli.parts import check, plugins
from asyncrouter.version import VERSION

DONE, CALL_FAILED, USAGE = 0, 1, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ASYNCROUTER"})
@click.version_option(VERSION, message="%(prog)s %(version)s")
def app() -> None:
    """Route each LLM call to the cheapest model that will do."""


for command in (ask, explain, check, plugins, demo, lab):
    app.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* (by default the process's own) ask for; return its exit code.

    0 done, 1 the call failed, 2 usage or configuration.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # an answer may hold what the terminal's encoding does not
    try:
        code = _invoke(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head say, has what it wanted
        _silence_stdout()
        return DONE
    except OSError as error:  # the disk that standard output goes to is full, say
        _silence_stdout()
        click.echo(f"error: {type(error).__name__}: {error}", err=True)
        return CALL_FAILED
    return code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        with app.make_context("asyncrouter", list(arguments)) as context:
            app.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except Failed as failed:
        complain(failed.error)
        return USAGE if failed.is_configuration else CALL_FAILED
    return DONE


def _silence_stdout() -> None:
    """Let the interpreter's last flush of standard output go nowhere instead of failing again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
