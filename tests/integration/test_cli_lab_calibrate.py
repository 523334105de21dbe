"""``lab calibrate`` as users run it."""

from __future__ import annotations

import json
import re

import pytest

from asyncrouter.cli.app import run


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Stand beside outcomes in which prompts of many words need the strong model, and prompts without outcomes."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "prompt": "word " * (number % 100 + 1),
            "strong": 1.0 if number % 11 else 0.0,
            "weak": float(number % 100 < 60),
        }
        for number in range(1200)
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "outcomes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    prompts = [json.dumps({"prompt": row["prompt"]}) for row in rows[:100]]
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    (tmp_path / "prices.json").write_text('{"strong": 8.0, "weak": 0.5}', encoding="utf-8")


def calibrate(*arguments):
    return run(["lab", "calibrate", "--estimator", "demo", *arguments])


def document(capsys, *arguments):
    assert calibrate(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_share_of_strong_calls_needs_prompts_alone(capsys):
    told = document(capsys, "prompts.jsonl", "--strong-share", "0.25")
    assert told["strong_share"] == 0.25
    low, high = told["threshold_interval"]
    assert low < 75 / 300 < told["threshold"] < 76 / 300 < high
    assert told["quality"] is None


def test_a_floor_of_quality_is_promised_and_told_in_words(capsys):
    told = document(capsys, "outcomes.jsonl", "--quality", "0.85")
    assert told["quality"] > told["quality_at_least"] >= 0.85
    assert 0.2 < told["strong_share"] < 0.4
    assert calibrate("outcomes.jsonl", "--quality", "0.85") == 0
    text = capsys.readouterr().out
    assert f'select = {{ use = "complexity", threshold = {told["threshold"]} }}' in text
    assert (
        "promised of prompts of the same kind: mean quality is 0.85 or more; at most 0.05 of such promises fail" in text
    )


def test_a_spend_needs_prices(capsys):
    told = document(capsys, "outcomes.jsonl", "--spend", "0.3", "--prices", "prices.json")
    assert 0.25 < told["spend_usd"] * 1000 <= 0.3
    assert calibrate("outcomes.jsonl", "--spend", "0.3") == 2
    assert "a spend needs the prices of both models: give --prices" in capsys.readouterr().err


def test_promises_are_checked(capsys):
    arguments = ("outcomes.jsonl", "--loss", "0.05", "--confidence", "0.8", "--check", "20", "--check-rows", "300")
    checked = document(capsys, *arguments)["checked"]
    assert (checked["calibrations"], checked["rows"]) == (20, 300)
    assert checked["broken_share"] <= checked["promised"]
    assert calibrate(*arguments) == 0
    assert re.search(r"^floor broken +\d+: \d+\.\d\d% \[", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["outcomes.jsonl"], "give one of --strong-share, --spend, --quality and --loss"),
        (["outcomes.jsonl", "--quality", "0.8", "--loss", "0.1"], "give one of"),
        (["outcomes.jsonl", "--quality", "0.99"], "is not proven even with all calls to the strong model: it has 0.9"),
        (["outcomes.jsonl", "--quality", "80"], "80.0 is not in the range"),
        (["outcomes.jsonl", "--strong-share", "0.3", "--check", "5"], "--check needs --quality or --loss"),
        (["prompts.jsonl", "--quality", "0.8"], "prompts.jsonl: no column of scores from 0 to 1"),
        (["none.jsonl", "--strong-share", "0.3"], "none.jsonl: No such file"),
    ],
)
def test_what_is_wrong_is_told(capsys, arguments, message):
    assert calibrate(*arguments) == 2
    assert message in capsys.readouterr().err
