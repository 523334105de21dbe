"""Who is asked of those that are ready: the first with a free slot, else the one with the shortest line."""

from __future__ import annotations

import random

import pytest

from asyncrouter.engine.slots import least_crowded
from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.deployments import Deployment, Limits


class Clock:
    def now(self):
        return 0.0


def fleet_of(**lines):
    """A fleet of one slot each, with so many holding or waiting for it; ``None``: without a limit."""
    deployments = tuple(
        Deployment(name=name, provider="p", model="m", limits=Limits(concurrency=None if calls is None else 1))
        for name, calls in lines.items()
    )
    fleet = Fleet(Clock(), random.Random(1), RetryBudget(0.2, 3))  # noqa: S311 - repeatable
    fleet.add(deployments)
    for name, calls in lines.items():
        for _ in range(calls or 0):
            if not fleet[name].slots.take():
                fleet[name].slots.line_up(0.0, print)
    return fleet, deployments


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ({"a": 0, "b": 0}, "a"),
        ({"a": 1, "b": 0, "c": 0}, "b"),
        ({"a": 1, "b": None}, "b"),
        ({"a": 3, "b": 2, "c": 2}, "b"),
        ({}, None),
    ],
)
def test_a_free_slot_comes_first_then_the_shortest_line(lines, asked):
    fleet, deployments = fleet_of(**lines)
    found = least_crowded(deployments, fleet)
    assert (found and found.name) == asked


def test_nobody_after_a_free_slot_is_looked_at():
    fleet, (a, b, _) = fleet_of(a=1, b=0, c=0)

    def ready():
        yield a
        yield b
        raise AssertionError("looked on")

    assert least_crowded(ready(), fleet) is b
