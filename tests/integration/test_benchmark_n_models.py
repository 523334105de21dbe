"""The benchmark of choosing among many models runs, and its figures are what they say."""

from __future__ import annotations

import json
import sys

import pytest
from benchmark_modules import benchmark

pytest.importorskip("numpy")
pytest.importorskip("asyncrouter_cost")


@pytest.fixture
def n_models():
    with benchmark("n_models") as module:
        yield module


@pytest.fixture
def outcomes(tmp_path):
    """Two models of equal price, each right on one half of the prompts, and a cheap one that is always wrong."""
    lines = [
        {
            "prompt": f"def f{n}(x): return {n}" if n % 2 else f"Who was king number {n}, and where did he live?",
            "coder": n % 2,
            "talker": 1 - n % 2,
            "idler": 0,
        }
        for n in range(120)
    ]
    file = tmp_path / "made_up.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "made_prices.json").write_text('{"coder": 1.0, "talker": 1.1, "idler": 0.1}', encoding="utf-8")
    return file


def test_it_measures_and_saves(n_models, outcomes, tmp_path, monkeypatch, capsys):
    command = ["n_models.py", str(outcomes), "--seeds", "2", "--save", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    n_models.main()
    (file,) = json.loads((tmp_path / "out/n_models.json").read_text(encoding="utf-8"))["files"]
    assert file["rows"] == 120
    assert file["above_random_in_every_seed"]
    assert file["reaches"]
    for seed in file["seeds"]:
        assert seed["aiq"] > file["random_aiq"] + 0.1
        assert (
            0.3 < seed["cost_at_best"] < 0.7
        )  # every second prompt has to be answered, and half of them go for nothing
        assert seed["held_out_quality"] > -0.1
    assert (tmp_path / "out/n_models.png").stat().st_size > 10_000
    assert (tmp_path / "out/n_models.md").read_text(encoding="utf-8") in capsys.readouterr().out + "\n"


def test_without_prices_it_says_so(n_models, outcomes, monkeypatch):
    (outcomes.parent / "made_prices.json").unlink()
    monkeypatch.setattr(sys, "argv", ["n_models.py", str(outcomes)])
    with pytest.raises(SystemExit, match="no price of any model; give --prices"):
        n_models.main()
