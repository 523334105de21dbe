"""``lab replay``: what another configuration would have cost and answered, on logged traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asyncrouter.cli.lab.common import CALLS, FILE, bars, check_lab, telling
from asyncrouter.cli.output import print_document, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncrouter.lab.evaluation.measuring import Measured
    from asyncrouter.lab.replay.replaying import Replayed

NAMES = {
    "logged": "as it was",
    "dr": "with this configuration, doubly robust",
    "difference": "difference, doubly robust",
    "ips": "by propensities",
    "snips": "by propensities, self-normalised",
    "direct": "by the model alone",
}


@click.command()
@click.argument("log", type=FILE)
@click.option(
    "--config", "config_file", envvar="ASYNCROUTER_CONFIG", metavar="FILE", help="The configuration that is tried."
)
@click.option("--group", metavar="NAME", help="Only calls to this group.")
@click.option("--since", type=float, metavar="SECONDS", help="Only calls that ended then or later, since 1970.")
@click.option("--clip", type=click.FloatRange(1.0), default=50.0, show_default=True, help="Bound of a call's weight.")
@click.option("--replicates", type=click.IntRange(1), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn by chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(
    *,
    log: Path,
    config_file: str | None,
    group: str | None,
    since: float | None,
    clip: float,
    replicates: int,
    seed: int,
    as_json: bool,
) -> None:
    """Estimate from the outcome LOG what a configuration would have cost and answered."""
    check_lab()
    from asyncrouter.config.loading import load_config
    from asyncrouter.lab.evaluation.bootstrap import Resampling
    from asyncrouter.lab.replay.replaying import replay as run

    with telling(as_json=as_json), bars() as bar:
        resampling = Resampling(replicates=replicates, seed=seed, by_group=True)
        replayed = run(
            log,
            load_config(config_file),
            group=group,
            since=since,
            clip=clip,
            resampling=resampling,
            progress=bar("deciding"),
        )
    if as_json:
        print_document(_document(replayed))
        return
    print_table(("estimate", "quality", f"USD for {CALLS:,} calls"), _lines(replayed))
    weighed = replayed.weighed
    click.echo(
        f"{replayed.calls:,} calls, {weighed.agreement:.1%} decided alike; they say as much as {weighed.effective:,.0f}"
    )
    for warning in replayed.warnings:
        click.echo(f"warning: {warning}", err=True)


def _lines(replayed: Replayed) -> list[tuple[str, str, str]]:
    return [
        (label, _cell(replayed.quality, name, 1.0), _cell(replayed.cost, name, CALLS)) for name, label in NAMES.items()
    ]


def _cell(estimates: Mapping[str, Measured] | None, name: str, scale: float) -> str:
    one = None if estimates is None else estimates[name]
    if one is None or one.value != one.value:
        return "-"
    if one.interval is None:
        return f"{one.value * scale:.4g}"
    low, high = one.interval
    return f"{one.value * scale:.4g} [{low * scale:.4g}, {high * scale:.4g}]"


def _document(replayed: Replayed) -> dict[str, Any]:
    from asyncrouter.lab.evaluation.report import figures

    weighed = replayed.weighed
    return {
        "calls": replayed.calls,
        "calls_with_quality": replayed.quality_calls,
        "agreement": weighed.agreement,
        "effective_calls": weighed.effective,
        "unsupported": weighed.unsupported,
        "weights_clipped": weighed.clipped,
        "quality": None if replayed.quality is None else figures(replayed.quality),
        "cost_usd": None if replayed.cost is None else figures(replayed.cost),
        "chosen": dict(replayed.chosen),
        "logged": dict(replayed.logged),
        "warnings": list(replayed.warnings),
    }
