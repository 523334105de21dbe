"""The simulation behind the figures of ``adaptive`` runs: outcomes in, shares of the gap and a picture out."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_modules import benchmark

from asyncrouter.lab.outcomes import load

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "adaptive.py"
TEXTS = {"code": "Write a function that returns {}", "prose": "who was the emperor in the year {}"}


@pytest.fixture
def file(tmp_path):
    """Return the outcomes of two models of which each is good at one kind."""
    pytest.importorskip("asyncrouter_adaptive")
    chance = random.Random(0)  # noqa: S311 - no secret
    rows = [
        {"id": str(number), "prompt": TEXTS[kind].format(number), "category": kind,
         "one": float(chance.random() < (0.9 if kind == "code" else 0.3)),
         "other": float(chance.random() < (0.3 if kind == "code" else 0.9))}
        for number in range(200) for kind in TEXTS
    ]  # fmt: skip
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_models_of_which_each_is_good_at_one_kind(file, tmp_path):
    picture = tmp_path / "two.png"
    command = [sys.executable, str(SCRIPT), str(file), "--calls", "500", "--after", "250", "--seeds", "2", "--json",
               "--kinds", "named;found;some", "--some", "0.2", "--plot", str(picture)]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert [row["kinds"] for row in found["rows"]] == ["named", "found", "some"]
    for row in found["rows"]:
        assert row["gap"] > 0.2
        assert row["knows"]["mean"] > 0.8
        assert row["regret"]["mean"] < row["regret_of_the_best_fixed"]["mean"]
        assert row["decision_us"] > 0
    assert picture.stat().st_size > 10_000


@pytest.fixture
def small(monkeypatch):
    """Make the trained models small: the two kinds are easy to tell apart."""
    boosting = pytest.importorskip("asyncrouter_semantic.training.boosting")
    monkeypatch.setattr(boosting, "TREES", 5)


@pytest.mark.usefixtures("small")
def test_the_bound_is_near_all_where_the_text_tells_the_kinds(file, monkeypatch, capsys):
    with benchmark("adaptive") as module:
        monkeypatch.setattr(sys.modules["adaptive_estimators"], "FOLDS", 2)
        assert module.main([str(file), "--bound"]) == 0
    assert float(capsys.readouterr().out.split()[1]) > 0.95


@pytest.mark.usefixtures("small")
def test_the_rows_that_the_estimator_has_learned_from_are_no_calls(file, capsys):
    with benchmark("adaptive") as module:
        table, estimator = sys.modules["adaptive_estimators"].learned(load(file), 150, [])
        assert len(table) == 250
        assert estimator.seen(table.prompts) == 0
        options = ["--calls", "500", "--after", "0", "--seeds", "1", "--learn", "150", "--kinds", "found", "--json"]
        assert module.main([str(file), *options]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["knows"]["mean"] > 0.8
