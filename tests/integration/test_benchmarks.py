"""Every benchmark runs, in a tiny form, and its results can be printed, drawn and saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = {
    "overhead": [
        "--rounds",
        "1",
        "--calls",
        "8",
        "--concurrency",
        "1",
        "4",
        "--polling",
        "--contestants",
        "asyncrouter",
    ],
    "streaming": ["--rounds", "1", "--calls", "16", "--firsts", "1", "--contestants", "asyncrouter"],
    "scale": ["--rounds", "1", "--calls", "2", "--deployments", "2", "100", "--selectors", "priority", "weighted"],
    "memory": ["--requests", "400"],
    "plugins": ["--rounds", "1", "--calls", "2", "--hooks", "transform", "retry", "around_attempt_stream"],
    "startup": ["--rounds", "1"],
}
COUNTS = {"overhead": 6, "streaming": 6, "scale": 4, "memory": 4, "plugins": 12}
"""Rows that the tiny form has; ``startup`` has one for each library that is installed."""


@pytest.mark.parametrize("name", TINY)
def test_it_runs_in_a_tiny_form(name, tmp_path):
    command = [
        sys.executable, str(BENCHMARKS / f"{name}.py"), *TINY[name],
        "--json", "--save", str(tmp_path), "--plot", str(tmp_path / "p.png"),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) == document
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert document["versions"]["asyncrouter"]
    keys = [column["key"] for column in document["columns"]]
    assert len(document["rows"]) == COUNTS.get(name, len(document["rows"])) > 0
    for row in document["rows"]:
        assert row.keys() <= set(keys)
        assert all(row[key] > 0 for key in ("median", "least", "decision", "call") if key in row)


def test_who_is_not_known_is_told():
    command = [sys.executable, str(BENCHMARKS / "overhead.py"), "--contestants", "nobody"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("unknown contestant: nobody; known: aiohttp as written, aiohttp tuned, asyncrouter")
