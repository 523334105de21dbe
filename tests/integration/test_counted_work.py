"""A call does no more work than it did: counted, not timed, so that no noise of a machine shakes it.

When it fails and the growth is meant, ``python benchmarks/counted.py --write`` commits the new figures.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from benchmark_modules import BENCHMARKS, benchmark

KNOWN = json.loads((BENCHMARKS / "counted.json").read_text(encoding="utf-8"))
TOLERANCE = 0.03
MINE = KNOWN.get(f"{sys.version_info.major}.{sys.version_info.minor}")


@pytest.fixture
def counted():
    """Return the script's module."""
    with benchmark("counted") as module:
        yield module


@pytest.mark.skipif(MINE is None, reason="this minor version of Python has other opcodes, and no figures yet")
def test_a_call_does_no_more_work_than_is_committed(counted):
    # In a process of its own: another tracer (a coverage, say) would be counted, or lost.
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "counted.py"), "--json"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    figures = json.loads(done.stdout)
    assert figures.keys() == MINE.keys()
    assert counted.grown(figures, MINE, TOLERANCE) == [], "the cure, or `python benchmarks/counted.py --write`"


MOST = {
    "decision, opcodes": 1.25,
    "decision, bytes at the peak": 1.25,
    "whole call, opcodes": 1.25,
    "with some set aside, opcodes": 1.25,
}
"""Of a decision among many, how often the work of one between two."""


def test_a_decision_among_a_thousand_is_hardly_more_work_than_one_between_two():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "counted_decisions.py"), "--json"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    figures = json.loads(done.stdout)
    selectors = ("priority", "weighted", "round_robin", "least_busy", "latency", "cost", "complexity")
    assert tuple(figures) == selectors
    assert all(kinds.keys() == MOST.keys() for kinds in figures.values())
    more = [
        f"{selector}, {kind}: {by_count['2']:,.0f} between two, {value:,.0f} among {count}"
        for selector, kinds in figures.items()
        for kind, by_count in kinds.items()
        for count, value in by_count.items()
        if value > MOST[kind] * by_count["2"]
    ]
    assert more == []


def test_what_grew_is_named(counted):
    known = {"call": {"opcodes": 1000.0, "tasks": 0.0, "timers": 2.0}}
    now = {"call": {"opcodes": 1031.0, "tasks": 1.0, "timers": 2.0}}
    assert counted.grown(now, known, TOLERANCE) == ["call: opcodes 1,000.0 → 1,031.0", "call: tasks 0.0 → 1.0"]


def test_less_work_and_a_little_more_are_fine(counted):
    known = {"call": {"opcodes": 1000.0, "timers": 0.25}}
    assert counted.grown({"call": {"opcodes": 1029.0, "timers": 0.5}}, known, TOLERANCE) == []
    assert counted.grown({"call": {"opcodes": 500.0, "timers": 0.0}}, known, TOLERANCE) == []


def test_work_that_is_done_is_counted(counted):
    """Two more frames, a task and a timer are seen: what the guard stands on."""
    import asyncio

    async def measure():
        loop = asyncio.get_running_loop()

        async def idle():
            return json.dumps([1, 2])

        async def busy():
            loop.call_later(3600, print).cancel()
            await asyncio.create_task(idle())

        return await counted.counted(idle, loop), await counted.counted(busy, loop)

    with asyncio.Runner(loop_factory=counted.CountingLoop) as runner:
        previous = sys.gettrace()
        try:
            idle, busy = runner.run(measure())
        finally:
            sys.settrace(previous)
    assert (idle["tasks"], idle["timers"], busy["tasks"], busy["timers"]) == (0, 0, 1, 1)
    assert busy["frames"] > idle["frames"] > 0
    assert busy["opcodes"] > idle["opcodes"] > 0
