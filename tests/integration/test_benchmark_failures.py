"""The side-by-side benchmark runs: servers, processes, figures (asyncrouter alone: the rival is not installed here)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from benchmark_modules import BENCHMARKS, benchmark


@pytest.fixture
def report():
    """Return the module that makes the report."""
    with benchmark("failure_report") as module:
        yield module


def test_asyncrouter_plays_two_scenarios(tmp_path):
    command = [
        sys.executable, str(BENCHMARKS / "failures.py"), "--json", "--save", str(tmp_path),
        "--scenarios", "outage of 1 in 2;cut after output", "--contestants", "asyncrouter;asyncrouter, tuned",
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    document = json.loads(done.stdout)
    rows = {(row["scenario"], row["contestant"]): row for row in document["rows"]}
    outage = rows["outage of 1 in 2", "asyncrouter"]
    assert (outage["requests"], outage["answered"], outage["errors"]) == (20, 20, {})
    assert outage["upstream_calls"]["b"] == 20
    assert outage["upstream_calls"]["a"] >= 5
    cut, continued = rows["cut after output", "asyncrouter"], rows["cut after output", "asyncrouter, tuned"]
    assert cut["errors"] == {"StreamInterrupted": 20 - cut["answered"]}
    assert continued["answered"] == 20
    assert document["rival_is_better"] == []
    assert json.loads((tmp_path / "failures.json").read_text())["rows"] == document["rows"]
    assert "No rival took part." in (tmp_path / "failures.md").read_text()
    assert (tmp_path / "failures.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_name_is_told_with_those_that_are_known():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "failures.py"), "--scenarios", "outage"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("unknown scenario: outage; known: healthy; ")


def row_of(report, contestant, *, errors=0, calls=10, seconds=0.1):
    outcomes = [report.Outcome(seconds, None, "" if number >= errors else "Gone: away") for number in range(10)]
    row = report.Row("healthy", contestant)
    row.add(outcomes, {"a": calls})
    return row


@pytest.mark.parametrize(
    ("own", "rival", "columns"),
    [
        ({}, {}, []),
        ({"errors": 1}, {"calls": 50, "seconds": 9.0}, ["success"]),
        ({"calls": 50, "seconds": 9.0}, {"errors": 1}, []),
        ({"calls": 13}, {"calls": 10}, ["upstream calls"]),
        ({"calls": 11}, {"calls": 10}, []),
        ({"seconds": 0.2}, {"seconds": 0.1}, ["p50", "worst"]),
        ({"seconds": 0.119}, {"seconds": 0.1}, []),
        ({"seconds": 1.0}, {"seconds": 0.95}, []),
    ],
)
def test_where_the_rival_does_better_is_said(report, own, rival, columns):
    rows = [row_of(report, "asyncrouter", **own), row_of(report, "LiteLLM", **rival)]
    assert list(report.rival_is_better(rows)) == ([("healthy", "LiteLLM", columns)] if columns else [])
    assert ("does better in no scenario" in report.verdict(rows)) is not bool(columns)
