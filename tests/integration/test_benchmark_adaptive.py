"""The simulation behind the figures of ``adaptive`` runs: outcomes in, shares of the gap and a picture out."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "adaptive.py"
TEXTS = {"code": "Write a function that returns {}", "prose": "who was the emperor in the year {}"}


def test_two_models_of_which_each_is_good_at_one_kind(tmp_path):
    pytest.importorskip("asyncrouter_adaptive")
    chance = random.Random(0)  # noqa: S311 - repeatable
    rows = [
        {"id": str(number), "prompt": TEXTS[kind].format(number), "category": kind,
         "one": float(chance.random() < (0.9 if kind == "code" else 0.3)),
         "other": float(chance.random() < (0.3 if kind == "code" else 0.9))}
        for number in range(200) for kind in TEXTS
    ]  # fmt: skip
    file, picture = tmp_path / "two.jsonl", tmp_path / "two.png"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, str(SCRIPT), str(file), "--calls", "500", "--after", "250", "--seeds", "2", "--json",
               "--plot", str(picture)]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert [row["kinds"] for row in found["rows"]] == ["named", "found"]
    for row in found["rows"]:
        assert row["gap"] > 0.2
        assert row["knows"]["mean"] > 0.8
        assert row["regret"]["mean"] < row["regret_of_the_best_fixed"]["mean"]
        assert row["decision_us"] > 0
    assert picture.stat().st_size > 10_000
