"""``lab train``: an estimator learned from outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncrouter.cli.lab.common import FILE, OUTCOME_FILES, bars, check_folder, check_lab, pair_options, telling
from asyncrouter.cli.output import print_table

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

DEFAULT_TRAINER = "semantic"


def trainer_options(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the options NAME=VALUE of a trainer: values are JSON where they parse, else text."""
    options = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter("expected NAME=VALUE")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


@click.command()
@OUTCOME_FILES
@click.option("--out", required=True, type=FILE, metavar="MODEL", help="Where to write the model.")
@click.option("--trainer", "name", default=DEFAULT_TRAINER, show_default=True, help="Whose estimator is trained.")
@click.option(
    "--prior", metavar="MODEL", help='The model to start from, "none" for none; by default the trainer\'s own.'
)
@click.option(
    "--option", "-o", "options", multiple=True, metavar="NAME=VALUE", callback=trainer_options, help="Of the trainer."
)
@pair_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn by chance.")
def train(
    *,
    files: tuple[Path, ...],
    out: Path,
    name: str,
    prior: str | None,
    options: dict[str, Any],
    strong: str | None,
    weak: str | None,
    prices: Path | None,
    seed: int,
) -> None:
    """Fit an estimator on outcome FILEs, and say which rows it was trained on."""
    check_lab()
    check_folder(out)
    from asyncrouter.assembler import builtin_registry
    from asyncrouter.lab.outcomes import concat, load
    from asyncrouter.lab.outcomes.loading import is_log
    from asyncrouter.lab.replay.filling import learnable
    from asyncrouter.lab.training import NamedTrainer

    with telling(), bars() as bar:
        read = [
            learnable(file, strong, weak, seed)
            if is_log(file)
            else (load(file, strong=strong, weak=weak, prices=prices), 0)
            for file in files
        ]
        tables = [table for table, _filled in read]
        trainer = NamedTrainer(name, options, builtin_registry())
        model = trainer.train(concat(tables), seed=seed, prior=prior, progress=bar("training"))
        try:
            out.write_bytes(bytes(model))
        except OSError as error:
            raise click.FileError(str(out), error.strerror) from error
    columns = ("trained on", "rows", "groups", "both known", "strong", "weak")
    print_table(columns, [_row(table, filled) for table, filled in read])
    click.echo(f"{out}: a model of {model.estimator}, {len(bytes(model)):,} bytes", err=True)


def _row(table: Outcomes, filled: int) -> tuple[str, ...]:
    known = sum(gain == gain for gain in table.gain) - filled  # noqa: PLR0124 - nan is not itself
    counts = (len(table), len(set(table.groups)), known)
    return table.sources[0], *(f"{count:,}" for count in counts), table.strong, table.weak
