"""``lab eval``: what estimators are worth on outcome files."""

from __future__ import annotations

from pathlib import Path

import click

from asyncrouter.cli.lab.common import FILE, OUTCOME_FILES, bars, check_lab, telling
from asyncrouter.cli.output import print_document, print_table


@click.command("eval")
@OUTCOME_FILES
@click.option(
    "--estimator",
    "names",
    multiple=True,
    metavar="NAME_OR_MODEL",
    help="An estimator's name, or a model that was trained; may be given again.",
)
@click.option("--strong", metavar="MODEL", help="The stronger model of the pair.")
@click.option("--weak", metavar="MODEL", help="The weaker model of the pair.")
@click.option(
    "--prices",
    type=FILE,
    metavar="F.json",
    help="USD per million tokens of each model.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn by chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(
    *,
    files: tuple[Path, ...],
    names: tuple[str, ...],
    strong: str | None,
    weak: str | None,
    prices: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure estimators on outcome FILEs beside chance, prompt length and the oracle."""
    check_lab()
    from asyncrouter.lab.estimates import find_estimator
    from asyncrouter.lab.evaluation import report
    from asyncrouter.lab.evaluation.bootstrap import Resampling
    from asyncrouter.lab.evaluation.scored import Reading, score_file

    resampling, reading = Resampling(seed=seed), Reading(strong=strong, weak=weak, prices=prices)
    with telling(as_json=as_json), bars() as bar:
        estimators = [find_estimator(name) for name in dict.fromkeys(("heuristic", *names))]
        scored = {str(file): score_file(file, estimators, reading, bar(file.name)) for file in files}
        evaluated = report.evaluate(scored, resampling, bar("measuring"))
        told = report.document(evaluated, resampling, "none of these rows: the estimators came as they are")
    if as_json:
        print_document(told)
    else:
        print_table(*report.table(told))
