"""``lab eval``: what estimators are worth on outcome files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncrouter.cli.lab.common import FILE, OUTCOME_FILES, bars, check_lab, check_plot, drawing, pair_options, telling
from asyncrouter.cli.lab.train import trainer_options
from asyncrouter.cli.output import print_document, print_table

if TYPE_CHECKING:
    from asyncrouter.lab.evaluation.trials import Trial

WAYS = ("own", "others", "others+own", "together")


@click.command("eval")
@OUTCOME_FILES
@click.option(
    "--estimator",
    "names",
    multiple=True,
    metavar="NAME_OR_MODEL",
    help="An estimator's name, or a model that was trained; may be given again.",
)
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    metavar="NAME_OR_TABLE",
    help="A selector as it is configured, over a fleet of the FILE's models; may be given again.",
)
@click.option(
    "--estimate", metavar="NAME_OR_MODEL", default="heuristic", show_default=True, help="What selectors are told."
)
@click.option("--trainer", metavar="NAME", help="Train an estimator too, and measure it on rows that it has not seen.")
@click.option(
    "--learn-from",
    "ways",
    type=click.Choice(WAYS),
    multiple=True,
    default=("own",),
    show_default=True,
    help="What --trainer gets; may be given again.",
)
@click.option(
    "--own-labels", "limits", type=click.IntRange(0), multiple=True, metavar="N", help="Rows of the same file at most."
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Parts of the cross-validation.")
@click.option("--by-group", is_flag=True, help="Keep groups whole, in the folds and in the bootstrap.")
@click.option(
    "--option", "-o", "options", multiple=True, metavar="NAME=VALUE", callback=trainer_options, help="Of the trainer."
)
@pair_options
@click.option("--replicates", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn by chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=FILE, metavar="F.png", help="Draw quality over cost.")
def evaluate(
    *,
    files: tuple[Path, ...],
    names: tuple[str, ...],
    selectors: tuple[str, ...],
    estimate: str,
    trainer: str | None,
    options: dict[str, Any],
    strong: str | None,
    weak: str | None,
    prices: Path | None,
    replicates: int,
    as_json: bool,
    plot: Path | None,
    **course: Any,
) -> None:
    """Measure estimators and selectors on outcome FILEs beside chance, prompt length and the oracle."""
    check_lab()
    if plot is not None:
        check_plot(plot)
    from asyncrouter.assembler import builtin_registry
    from asyncrouter.lab.estimates import find_estimator
    from asyncrouter.lab.evaluation import evaluating, report
    from asyncrouter.lab.evaluation.bootstrap import Resampling
    from asyncrouter.lab.evaluation.scored import Reading
    from asyncrouter.lab.evaluation.selectors import Conditions, add_selector, find_selector
    from asyncrouter.lab.training import NamedTrainer

    resampling = Resampling(seed=course["seed"], replicates=replicates, by_group=course["by_group"])
    reading, registry = Reading(strong=strong, weak=weak, prices=prices), builtin_registry()
    with telling(as_json=as_json), bars() as bar:
        estimators = [find_estimator(name, registry) for name in dict.fromkeys(("heuristic", *names))]
        tried = [find_selector(text, registry) for text in dict.fromkeys(selectors)]
        told_by = find_estimator(estimate, registry)
        conditions = Conditions(estimator=told_by, reading=reading, seed=course["seed"])
        scored = evaluating.score_files(files, estimators, reading, bar("scoring"))
        learners = [NamedTrainer(trainer, options, registry)] if trainer else []
        for learner, trial in itertools.product(learners, _trials(**course)):
            scored = evaluating.add_trial(scored, learner, trial, reading, bar(f"training, {trial.label}"))
        for selector in tried:
            scored = add_selector(scored, selector, conditions, bar(selector.name))
        evaluated = evaluating.measure(scored, resampling, bar("measuring"))
        told = report.document(evaluated, resampling)
    _print(told, as_json=as_json)
    if plot is not None:
        from asyncrouter.lab.evaluation.plot import draw

        drawing(plot, lambda: draw(evaluated, plot))


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    from asyncrouter.lab.evaluation import report

    if as_json:
        print_document(told)
        return
    print_table(*report.table(told))
    for note in report.notes(told):
        click.echo(note)


def _trials(*, ways: tuple[str, ...], limits: tuple[int, ...], folds: int, by_group: bool, seed: int) -> list[Trial]:
    """Return the trials that the options ask for: a limit of own labels concerns the ways that have any."""
    from asyncrouter.lab.evaluation.trials import LEARN_FROM, Trial

    return [
        Trial(learn_from=way, own_labels=limit, folds=folds, by_group=by_group, seed=seed)
        for way in LEARN_FROM
        if way in ways
        for limit in (limits if limits and "own" in way else (None,))
    ]
