"""``lab``: answers before the traffic, from outcomes, logs and simulated fleets."""

from __future__ import annotations

import click

from asyncrouter.cli.lab.calibrate import calibrate
from asyncrouter.cli.lab.evaluate import evaluate
from asyncrouter.cli.lab.replay import replay
from asyncrouter.cli.lab.score import score
from asyncrouter.cli.lab.simulate import simulate
from asyncrouter.cli.lab.train import train


@click.group()
def lab() -> None:
    """Try a configuration or an estimator where it costs nothing."""


for command in (evaluate, train, score, calibrate, replay, simulate):
    lab.add_command(command)
