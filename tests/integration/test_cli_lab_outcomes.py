"""``lab eval`` and ``lab score`` as users run them."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys

import pytest

from asyncrouter.cli.app import run
from asyncrouter.types.model_file import ModelFile


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def made_up(count, easy_from=0):
    """Return rows in which the strong model is worth its price for prompts of many words."""
    rows = []
    for number in range(count):
        words = 2 + number % 10
        is_hard = words > 6
        rows.append({
            "id": f"r{number}", "prompt": "word " * words + str(number), "category": f"c{number % 3}",
            "strong": 1.0 if number % 7 else 0.0, "weak": 0.0 if is_hard or number < easy_from else 1.0,
        })  # fmt: skip
    return rows


@pytest.fixture
def outcomes(tmp_path):
    def write(name="made-up.jsonl", count=60):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in made_up(count)), encoding="utf-8")
        return name

    return write


def lab(*arguments):
    return run(["lab", *arguments])


def test_the_table_has_a_line_for_every_estimator(outcomes, capsys):
    assert lab("eval", outcomes(), "--estimator", "demo") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:6]] == ["estimator", "random", "length", "heuristic", "demo", "oracle"]
    assert lines[1].split() == ["made-up.jsonl", "random", "0.500", "50.0%", "80.0%"]
    assert lines[6:] == [
        "in brackets: 95% of bootstrap samples",
        "heuristic: as it came; none of these rows",
        "demo: as it came; it does not tell what it has learned from",
    ]


def test_the_document_tells_figures_and_rows(outcomes, capsys):
    assert lab("eval", outcomes(), outcomes("more.jsonl", 30), "--estimator", "demo", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    first, second = told["files"]
    assert (first["file"], first["rows"], first["groups"]) == ("made-up.jsonl", 60, 3)
    assert first["strong"]["model"] == "strong"
    figures = first["estimators"]["demo"]
    low, high = figures["apgr_interval"]
    assert 0.5 < low < figures["apgr"] < high < first["estimators"]["oracle"]["apgr"] + 0.5
    both = (figures["apgr"] + second["estimators"]["demo"]["apgr"]) / 2
    assert told["macro"]["demo"]["apgr"] == pytest.approx(both)
    assert set(told["pooled"]) == set(first["estimators"])
    assert first["rows_learned_from"] == {"heuristic": 0, "demo": None}


def test_a_trainer_is_measured_on_rows_that_it_has_not_seen(outcomes, capsys):
    files = outcomes(), outcomes("more.jsonl", 45)
    ways = [word for way in ("own", "together") for word in ("--learn-from", way)]
    assert lab("eval", *files, "--trainer", "demo", *ways, "--own-labels", "20", "--folds", "3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["learned_from"]["demo:own:20"] == "20 rows at most out of 2 of 3 parts of the same file, prompts apart"
    for file in told["files"]:
        assert file["rows_learned_from"] == {"heuristic": 0, "demo:own:20": 0, "demo:together": 0}
        assert file["estimators"]["demo:own:20"]["apgr"] > 0.8


def test_a_model_is_trained_used_and_found_out(outcomes, tmp_path, capsys):
    file, other = outcomes(), outcomes("other.jsonl", 90)
    assert lab("train", file, "--trainer", "demo", "--out", "my.model") == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[1].split() == ["made-up.jsonl", "60", "3", "60", "strong", "weak"]
    assert "my.model: a model of demo" in output.err
    first = (tmp_path / "my.model").read_bytes()
    assert lab("train", file, "--trainer", "demo", "--out", "my.model") == 0
    assert (tmp_path / "my.model").read_bytes() == first
    capsys.readouterr()
    assert lab("eval", other, file, "--estimator", "my.model") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("my.model: as it came; HAD SEEN THE PROMPTS of 60 of other.jsonl, 60 of made-up.jsonl: its")


def test_many_models_with_prices_have_a_frontier_and_a_picture(tmp_path, capsys):
    able = {"big": 8, "mid": 6, "mini": 3}
    rows = [
        {"prompt": "x " * (number % 9 + 1) + str(number), **{model: int(number % 9 < up) for model, up in able.items()}}
        for number in range(90)
    ]
    lines = ["prompt,big,mid,mini", *("{prompt},{big},{mid},{mini}".format(**row) for row in rows)]
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "prices.json").write_text('{"big": 10, "mid": 2, "mini": 0.5}', encoding="utf-8")
    assert lab("eval", "m.csv", "--prices", "prices.json", "--plot", "curves.png", "--json") == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["strong"]["model"], file["weak"]["model"], file["models"]) == ("big", "mini", 3)
    random, length, oracle = (file["estimators"][name] for name in ("random", "length", "oracle"))
    assert random["aiq"] < length["aiq"] < oracle["aiq"]
    assert oracle["cost_at_best"] < length["cost_at_best"] < random["cost_at_best"]
    assert random["cost_at_best"] == pytest.approx(1.0)
    picture = (tmp_path / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_scores_come_in_the_order_of_the_file(tmp_path, is_gzipped):
    content = "".join(json.dumps({"id": f"p{n}", "prompt": "word " * n + "!"}) + "\n" for n in range(0, 9000, 7))
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(gzip.compress(content.encode()) if is_gzipped else content.encode())
    assert lab("score", str(file), "--estimator", "demo", "--out", "scores.csv") == 0
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as scores:
        rows = list(csv.DictReader(scores))
    assert [row["id"] for row in rows] == [f"p{n}" for n in range(0, 9000, 7)]
    assert [float(row["score"]) for row in rows] == [min(1.0, (n + 1) / 300) for n in range(0, 9000, 7)]


def test_a_trained_model_is_named_by_its_file(tmp_path):
    (tmp_path / "my.model").write_bytes(bytes(ModelFile("demo", b"4")))
    (tmp_path / "p.csv").write_text("id,prompt\na,one two\nb,one two three four five\n", encoding="utf-8")
    assert lab("score", "p.csv", "--estimator", "my.model", "--out", "out.csv") == 0
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "id,score\na,0.5\nb,1.0\n"


def test_what_fails_leaves_no_scores(tmp_path, capsys):
    lines = [json.dumps({"prompt": "x"})] * 5000 + ["{"]
    (tmp_path / "p.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "scores.csv").write_text("of before", encoding="utf-8")
    assert lab("score", "p.jsonl", "--estimator", "demo", "--out", "scores.csv") == 2
    assert "p.jsonl, line 5001: is no JSON" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl", "scores.csv"]
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") == "of before"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "Missing argument 'FILE..."),
        (["eval", "none.parquet"], "none.parquet: No such file or directory"),
        (["eval", "FILE", "--estimator", "demoo"], "unknown estimator 'demoo'; did you mean \"demo\"?"),
        (["eval", "FILE", "--estimator", "my.model"], "my.model: no such file; give an estimator's name, or a model"),
        (["eval", "FILE", "--estimator", "FILE"], "is no model file; `lab train` writes them"),
        (["eval", "FILE", "--strong", "huge"], "no model 'huge'; there are: strong, weak"),
        (["eval", "FILE", "--strong", "weak", "--weak", "strong"], "'weak' is not better than 'strong'; name another"),
        (["eval", "FILE", "--trainer", "demo", "--learn-from", "others"], "give two files or more"),
        (["eval", "FILE", "--trainer", "demo", "-o", "x"], "expected NAME=VALUE"),
        (["eval", "FILE", "--plot", "no/where.png"], "its folder does not exist"),
        (["train", "FILE", "--out", "no/my.model", "--trainer", "demo"], "its folder does not exist"),
        (
            ["train", "FILE", "--out", "my.model", "--trainer", "demmo"],
            "unknown trainer 'demmo'; did you mean \"demo\"?",
        ),
        (["train", "FILE", "--out", "my.model", "--trainer", "demo", "-o", "x=1"], "unknown key; known: none"),
        (["score", "FILE", "--estimator", "demo"], "Missing option '--out'"),
        (["score", "FILE", "--estimator", "demo", "--out", "no/where.csv"], "its folder does not exist"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(outcomes, capsys, arguments, message):
    file = outcomes()
    assert lab(*(file if one == "FILE" else one for one in arguments)) == 2
    assert message in capsys.readouterr().err


def test_the_command_line_loads_no_library_of_the_lab():
    code = """
import sys
from asyncrouter.cli.app import run
run(["lab", "eval", "--help"])
print(*{"numpy", "pyarrow", "sklearn", "matplotlib"} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
