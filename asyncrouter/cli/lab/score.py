"""``lab score``: what an estimator says of each prompt of a file."""

from __future__ import annotations

from pathlib import Path

import click

from asyncrouter.cli.lab.common import FILE, bars, check_folder, check_lab, telling


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--estimator",
    "name",
    required=True,
    metavar="NAME_OR_MODEL",
    help="An estimator's name, or a model that was trained.",
)
@click.option("--out", required=True, type=FILE, metavar="F.csv", help="Where to write.")
def score(*, file: Path, name: str, out: Path) -> None:
    """Write id,score for each prompt of FILE (parquet, lines of JSON or CSV, also .gz), in its order."""
    check_lab()
    check_folder(out)
    from asyncrouter.lab.estimates import find_estimator
    from asyncrouter.lab.scoring import write_scores

    with telling(), bars() as bar:
        written = write_scores(file, find_estimator(name), out, bar("scoring"))
    click.echo(f"{written:,} scores in {out}", err=True)
