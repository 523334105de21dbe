"""``check`` and ``plugins``: what a configuration holds, and what may stand in one."""

from __future__ import annotations

import contextlib
import sys

import attrs
import click

from asyncrouter.assembler import builtin_registry
from asyncrouter.cli.output import Failed, print_document, print_table
from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import RouterConfig
from asyncrouter.router import Router
from asyncrouter.types.errors import AsyncRouterError, ConfigError


@click.command()
@click.argument("file")
def check(file: str) -> None:
    """Validate the configuration FILE: name every fault by its path, or say ok."""
    config = None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin that is loaded may print
            config = load_config(file)
            Router(config)
    except ConfigError as error:
        faults = error.faults or (error,)
        for fault in faults:
            click.echo(str(fault))
        left = "; strategies, their options and keys are looked at once the file is right" if config is None else ""
        raise Failed(ConfigError(f"{_counted(len(faults), 'fault')} in {file}{left}")) from error
    except AsyncRouterError as error:
        raise Failed(error) from error
    click.echo(f"ok: {_summary(config)}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def plugins(*, as_json: bool) -> None:
    """List strategies and providers by name, with the distribution each comes from."""
    with contextlib.redirect_stdout(sys.stderr):  # a plugin that is loaded may print
        registry = builtin_registry()
        registry.load_installed()
    entries = registry.entries()
    if as_json:
        fields = ("kind", "name", "distribution", "version", "summary")
        available = [{field: getattr(entry, field) for field in fields} for entry in entries]
        failed = [{"distribution": failure.plugin, "error": str(failure)} for failure in registry.failures]
        print_document({"available": available, "failed": failed})
        return
    print_table(
        ("kind", "name", "from", "what it does"),
        [(one.kind, one.name, f"{one.distribution} {one.version}", one.summary) for one in entries],
    )
    for failure in registry.failures:
        click.echo(f"failed to load: {failure}", err=True)


def _summary(config: RouterConfig) -> str:
    sections = attrs.asdict(config, recurse=False)
    return ", ".join(_counted(len(sections[f"{name}s"]), name) for name in ("provider", "deployment", "group", "agent"))


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
