"""``demo``: the main job on the embedded default."""

from __future__ import annotations

from pathlib import Path

import click

from asyncrouter.cli.output import Failed
from asyncrouter.types.errors import AsyncRouterError


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder for the plot.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def demo(context: click.Context, *, out: Path, as_json: bool) -> None:
    """Route real prompts over two local servers, one of which is stopped midway: no key, no network."""
    from asyncrouter.examples.demo.main import run  # the demonstration is wanted by nobody else

    try:
        context.exit(run(out=out, as_json=as_json))
    except AsyncRouterError as error:
        raise Failed(error) from error
