"""``lab simulate``: the real router over a simulated fleet, in virtual time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asyncrouter.cli.lab.common import FILE, bars, check_plot, drawing, telling
from asyncrouter.cli.output import print_document, print_table
from asyncrouter.types.errors import ConfigError, ConfigFault

if TYPE_CHECKING:
    from asyncrouter.lab.simulation.run import Outcome
    from asyncrouter.lab.simulation.schema import Scenario


@click.command()
@click.option(
    "--config",
    "file",
    envvar="ASYNCROUTER_CONFIG",
    metavar="FILE",
    help="A scenario, or an ordinary configuration: then its first deployment has an outage.",
)
@click.option("--scenario", "name", metavar="NAME", help="A scenario that comes with the package.")
@click.option("--list", "listed", is_flag=True, help="List the scenarios that come with the package.")
@click.option("--seed", type=int, help="Another course of chance than the scenario's.")
@click.option("--duration", "duration_s", type=float, metavar="SECONDS", help="How long requests come.")
@click.option("--requests", type=int, metavar="N", help="How many requests come at most.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=FILE, metavar="F.png", help="Draw the course of the simulation.")
@click.pass_context
def simulate(
    context: click.Context,
    *,
    file: str | None,
    name: str | None,
    listed: bool,
    seed: int | None,
    duration_s: float | None,
    requests: int | None,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Run the real router and its policies over a simulated fleet, in virtual time."""
    if listed:
        _print_shipped(as_json=as_json)
        return
    if name is not None and context.get_parameter_source("file") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("give --config or --scenario, not both: a shipped scenario has a fleet of its own")
    if plot is not None:
        check_plot(plot)
    from asyncrouter.lab.simulation.run import simulate as run

    began, computed = time.perf_counter(), time.process_time()
    with telling(as_json=as_json), bars() as bar:
        scenarios = _load(file, name, seed=seed, duration_s=duration_s, requests=requests)
        outcomes = [run(scenario, bar(scenario.name)) for scenario in scenarios]
    _tell_speed(outcomes, time.perf_counter() - began, time.process_time() - computed)
    _print_outcomes(outcomes, as_json=as_json)
    if plot is not None:
        from asyncrouter.lab.simulation.plot import draw

        drawing(plot, lambda: draw(outcomes, plot))


def _load(file: str | None, name: str | None, **over: float | None) -> tuple[Scenario, ...]:
    from asyncrouter.config.loading import load_config
    from asyncrouter.hooks.registry import did_you_mean
    from asyncrouter.lab.simulation.loading import load_scenarios, shipped

    if name is None:
        return load_scenarios(load_config(None) if file is None else Path(file), **over)
    known = shipped()
    if name not in known:
        cure = did_you_mean(name, known) or f"known: {', '.join(known)}"
        raise ConfigError(faults=[ConfigFault("--scenario", f"unknown scenario {name!r}", cure)])
    return load_scenarios(known[name], **over)


def _print_shipped(*, as_json: bool) -> None:
    from asyncrouter.lab.simulation.loading import shipped, summary_of

    rows = [(name, summary_of(path)) for name, path in shipped().items()]
    if as_json:
        print_document([{"name": name, "shows": summary} for name, summary in rows])
    else:
        print_table(("scenario", "what it shows"), rows)


def _tell_speed(outcomes: list[Outcome], wall_s: float, processor_s: float) -> None:
    requests = sum(one.requests.begun for one in outcomes)
    virtual_s = sum(one.ended_s for one in outcomes)
    click.echo(
        f"simulated {requests:,} requests in {virtual_s:,.0f} s of virtual and {wall_s:.1f} s of real time: "
        f"{requests / wall_s * 60:,.0f} requests a minute, "
        f"{requests / processor_s * 60:,.0f} a minute of processor time",
        err=True,
    )


def _print_outcomes(outcomes: list[Outcome], *, as_json: bool) -> None:
    from asyncrouter.lab.simulation.report import deployments_table, document, runs_table

    told = document(outcomes)
    if as_json:
        print_document(told)
        return
    print_table(*runs_table(told))
    for run in told["runs"]:
        click.echo()
        if len(outcomes) > 1:
            click.echo(run["name"])
        print_table(*deployments_table(run))
