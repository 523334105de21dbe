"""Very many calls over bad upstreams: nothing grows, nothing is left.  benchmarks/soak.py runs a hundred thousand."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc

import pytest
from benchmark_modules import BENCHMARKS, benchmark
from pages import PAGES

from asyncrouter.testing import virtual_backend


@pytest.fixture
def soak():
    """Return the benchmark's module."""
    with benchmark("soak") as module:
        yield module


@pytest.fixture
def allocated_mb():
    """Return what tells the memory that Python objects hold: resident memory depends on the allocator's moods."""
    tracemalloc.start()

    def measure():
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 2**20

    yield measure
    tracemalloc.stop()


@pytest.fixture
def anyio_backend(request):
    return "asyncio" if "sockets" in request.node.name else virtual_backend


async def test_a02_memory_does_not_grow_with_the_calls(soak, allocated_mb):
    arguments = soak.arguments_of(["--calls", "2000", "--every", "250"])
    report = await soak.run(arguments, allocated_mb)
    assert report.faults == []
    assert report.attempts > 1.15 * report.calls
    assert report.ends["left"] > 0


async def test_a02_over_sockets_nothing_is_left(soak, allocated_mb):
    pytest.importorskip("aiohttp")
    arguments = soak.arguments_of(["--calls", "300", "--every", "150", "--sockets"])
    async with asyncio.timeout(120):
        report = await soak.run(arguments, lambda: 0.0)
    assert report.faults == []
    assert report.ends["answered"] > 100


@pytest.mark.parametrize("broken", ["growth", "left", "not told", "lost"])
def test_a02_the_soak_can_fail(soak, broken):
    report = soak.Report(calls=4, finished=4, samples=[(n, 10.0) for n in range(1000, 5000, 1000)])
    report.ends["answered"] = 4
    report.left = {"tasks": 0}
    assert report.faults == []
    if broken == "growth":
        report.samples = [(n, n / 5000) for n in range(1000, 5000, 1000)]
    elif broken == "left":
        report.left = {"tasks": 1}
    elif broken == "not told":
        report.ends["answered"] = 3
    else:
        report.ends.update({"answered": -2, "AllAttemptsFailed": 2})
    assert len(report.faults) == 1


@pytest.mark.parametrize("over", ["memory", "sockets"])
def test_a02_the_figures_of_the_page_are_those_of_the_last_run(over):
    result = json.loads((BENCHMARKS / "results" / f"soak-{over}.json").read_text(encoding="utf-8"))
    growth = f"{result['growth_mb_per_10000_calls']:.3f} MB"
    where = "in memory" if over == "memory" else "over sockets"
    ends = result["ends"]
    lost = result["calls"] - ends["answered"] - ends["left"]
    assert f"| {result['calls']:,} {where} | {lost} | {growth} |" in PAGES["docs/resilience.md"]
    assert result["faults"] == []
