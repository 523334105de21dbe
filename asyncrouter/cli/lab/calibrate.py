"""``lab calibrate``: the threshold for a share of strong calls, a spend, or a floor of quality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from asyncrouter.cli.lab.common import CALLS, OUTCOME_FILES, bars, check_lab, pair_options, telling
from asyncrouter.cli.output import print_document, print_table

if TYPE_CHECKING:
    from asyncrouter.lab.calibration.checking import Checked
    from asyncrouter.lab.calibration.thresholds import Rows, Threshold

SHARE = click.FloatRange(0.0, 1.0)


@click.command()
@OUTCOME_FILES
@click.option("--strong-share", type=SHARE, metavar="X", help="The threshold over which this part of the prompts is.")
@click.option(
    "--spend", type=click.FloatRange(0.0, min_open=True), metavar="USD", help=f"At most, for {CALLS:,} calls."
)
@click.option("--quality", type=SHARE, metavar="Q", help="The mean quality that is kept.")
@click.option("--loss", type=SHARE, metavar="L", help="The mean quality that is lost at most against the strong model.")
@click.option("--estimator", "name", default="heuristic", show_default=True, metavar="NAME_OR_MODEL")
@click.option(
    "--confidence", type=click.FloatRange(0.5, 1.0, min_open=True, max_open=True), default=0.95, show_default=True
)
@click.option(
    "--check", type=click.IntRange(1), metavar="N", help="Calibrate N times on rows drawn from all, and count."
)
@click.option("--check-rows", type=click.IntRange(1), default=1000, show_default=True, help="Rows of each of those.")
@pair_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn by chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def calibrate(
    *,
    files: tuple[Path, ...],
    name: str,
    strong: str | None,
    weak: str | None,
    prices: Path | None,
    confidence: float,
    check: int | None,
    check_rows: int,
    seed: int,
    as_json: bool,
    **wanted: float | None,
) -> None:
    """Find the complexity from which on prompts like those of FILE go to the strong model."""
    goals = {goal: value for goal, value in wanted.items() if value is not None}
    if len(goals) != 1:
        raise click.UsageError("give one of --strong-share, --spend, --quality and --loss")
    ((goal, value),) = goals.items()
    if check and goal not in {"quality", "loss"}:
        raise click.UsageError("--check needs --quality or --loss: only these promise something")
    check_lab()
    from asyncrouter.lab.calibration.checking import check as check_floor
    from asyncrouter.lab.calibration.reading import prompts_of, rows_of
    from asyncrouter.lab.estimates import find_estimator
    from asyncrouter.lab.evaluation.scored import Reading

    with telling(as_json=as_json), bars() as bar:
        estimator = find_estimator(name)
        reading = Reading(strong=strong, weak=weak, prices=prices)
        rows = (
            prompts_of(files, estimator, bar("scoring"))
            if goal == "strong_share"
            else rows_of(files, estimator, reading, bar("scoring"))
        )
        if check:
            checked = check_floor(
                rows,
                goal,
                value,
                confidence=confidence,
                rows=check_rows,
                calibrations=check,
                seed=seed,
                progress=bar("calibrating"),
            )
            told: dict[str, Any] = {"goal": goals, "estimator": name, "checked": attrs.asdict(checked)}
        else:
            found = _found(rows, goal, value, confidence, seed)
            figures = attrs.asdict(found)
            told = {"goal": goals, "estimator": name, "rows": len(rows), "confidence": confidence}
            told |= {"threshold": figures.pop("value"), "threshold_interval": figures.pop("interval"), **figures}
    if as_json:
        print_document(told)
    elif check:
        _print_checked(checked)
    else:
        _print_threshold(found, confidence, len(rows), goal, value)


def _found(rows: Rows, goal: str, value: float, confidence: float, seed: int) -> Threshold:
    from asyncrouter.lab.calibration import thresholds

    if goal == "strong_share":
        return thresholds.for_strong_share(rows, value, confidence)
    if goal == "spend":
        return thresholds.for_spend(rows, value / CALLS, confidence)
    return thresholds.PROMISES[goal](rows, value, confidence, seed)


def _print_threshold(found: Threshold, confidence: float, rows: int, goal: str, value: float) -> None:
    low, high = found.strong_share_interval
    around = "" if found.interval is None else f" [{found.interval[0]:.6g}, {found.interval[1]:.6g}]"
    lines = [
        ("threshold", f"{found.value:.6g}{around}"),
        ("rows", f"{rows:,}"),
        ("calls to the strong model", f"{found.strong_share:.1%} [{low:.1%}, {high:.1%}]"),
    ]
    if found.quality is not None:
        lines.append(("mean quality", f"{found.quality:.4f}, at least {found.quality_at_least:.4f}"))
    if found.spend_usd is not None:
        lines.append((f"USD for {CALLS:,} calls", f"{found.spend_usd * CALLS:.4g}"))
    print_table(("found", f"with confidence {confidence:g}"), lines)
    click.echo(f'in the group: select = {{ use = "complexity", threshold = {found.value!r} }}')
    if goal in {"quality", "loss"}:
        what = f"mean quality is {value:g} or more" if goal == "quality" else f"no more than {value:g} is lost"
        click.echo(f"promised of prompts of the same kind: {what}; at most {1 - confidence:.3g} of such promises fail")


def _print_checked(checked: Checked) -> None:
    low, high = checked.broken_share_interval
    lines = [
        ("calibrations", f"{checked.calibrations:,} on {checked.rows:,} rows each"),
        ("floor broken", f"{checked.broken:,}: {checked.broken_share:.2%} [{low:.2%}, {high:.2%}]"),
        ("promised at most", f"{checked.promised:.2%}"),
        ("no threshold given", f"{checked.unproven:,}"),
    ]
    for label, share in (
        ("calls to the strong model, mean", checked.strong_share),
        ("and where all is known", checked.possible_share),
    ):
        lines.append((label, "-" if share is None else f"{share:.1%}"))
    print_table(("checked", "result"), lines)
