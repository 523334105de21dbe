"""``lab simulate`` as users run it."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from asyncrouter.cli.app import run

SCENARIO = """
[deployments]
a = { provider = "simulated", model = "m" }
b = { provider = "simulated", model = "m" }

[groups.chat]
deployments = ["a", "b"]

[simulate]
duration_s = 10

[simulate.upstreams.a]
phases = [{ from_s = 3, to_s = 6, down = "503" }]

[variants.turns.groups.chat]
select = "round_robin"
"""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "tried.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return str(path)


def add(path, text):
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


def simulate(*arguments):
    return run(["lab", "simulate", *arguments])


def test_the_tables_go_to_standard_output_and_the_speed_to_standard_error(scenario, capsys):
    assert simulate("--config", scenario) == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[0].split() == ["tried", "turns"]
    assert re.search(r"^answered +100\.00% +100\.00%$", output.out, re.MULTILINE)
    assert [line for line in lines if line.startswith("upstream  ")] == 2 * [lines[lines.index("tried") + 1]]
    assert re.fullmatch(
        r"simulated [\d,]+ requests in \d+ s of virtual and \d+\.\d s of real time: [\d,]+ requests a minute, "
        r"[\d,]+ a minute of processor time\n",
        output.err,
    )


def test_one_document_the_same_in_every_process(scenario):
    documents = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "asyncrouter", "lab", "simulate", "--config", scenario, "--json"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        documents.add(done.stdout)
    (told,) = documents
    document = json.loads(told)
    assert (document["scenario"], document["seed"]) == ("tried", 0)
    assert [one["name"] for one in document["runs"]] == ["tried", "turns"]


def test_another_seed_a_shorter_time_fewer_requests(scenario, capsys):
    told = {}
    for options in ((), ("--seed", "5"), ("--duration", "5"), ("--requests", "20")):
        assert simulate("--config", scenario, "--json", *options) == 0
        document = json.loads(capsys.readouterr().out)
        told[options[:1]] = document["runs"][0] | {"seed": document["seed"]}
    assert told["--seed",]["seed"] == 5
    assert told["--seed",]["timeline"] != told[()]["timeline"]
    assert told["--duration",]["requests"] < 0.7 * told[()]["requests"]
    assert told["--requests",]["requests"] == 20


def test_an_ordinary_configuration_is_found_as_everywhere(tmp_path, capsys):
    (tmp_path / "asyncrouter.toml").write_text(
        '[deployments]\nx = { provider = "openai", model = "gpt-4o" }', encoding="utf-8"
    )
    assert simulate("--requests", "5", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["scenario"] == "configuration"
    assert list(document["runs"][0]["deployments"]) == ["x"]


def test_what_comes_with_the_package_is_listed_and_can_be_run(capsys):
    assert simulate("--list") == 0
    out = capsys.readouterr().out
    assert simulate("--list", "--json") == 0
    names = [one["name"] for one in json.loads(capsys.readouterr().out)]
    assert all(re.search(rf"^{name} +\S", out, re.MULTILINE) for name in names)
    assert simulate("--scenario", "outage", "--duration", "2") == 0
    assert "outage" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_faulty_scenario_ends_with_two_and_every_fault(scenario, capsys, as_json):
    add(scenario, "[variants.worse.simulate]\nlayer = 2\nseed = 'x'\n")
    assert simulate("--config", scenario, *["--json"] * as_json) == 2
    output = capsys.readouterr()
    faults = (
        "variants.worse.simulate.layer: unknown key; did you mean",
        "variants.worse.simulate.seed: expected a whole",
    )
    assert all(fault in output.err for fault in faults)
    if as_json:
        told = {one["path"] for one in json.loads(output.out)["error"]["faults"]}
        assert told == {fault.partition(":")[0] for fault in faults}


def test_a_router_that_cannot_be_made_ends_with_two(scenario, capsys):
    add(scenario, "[variants.worse.groups.chat]\nselect = 'prioritty'\n")
    assert simulate("--config", scenario) == 2
    assert "groups.chat.select: unknown selector 'prioritty'; did you mean" in capsys.readouterr().err


def test_a_configuration_beside_a_shipped_scenario_is_not_ignored(tmp_path, capsys, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text("")
    assert simulate("--scenario", "outage", "--config", str(path)) == 2
    assert "give --config or --scenario, not both" in capsys.readouterr().err
    monkeypatch.setenv("ASYNCROUTER_CONFIG", str(path))  # what is typed wins
    assert simulate("--scenario", "outage", "--duration", "2") == 0


def test_an_unknown_scenario_is_told_the_nearest(capsys):
    assert simulate("--scenario", "outrage") == 2
    assert "unknown scenario 'outrage'; did you mean \"outage\"?" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_picture_is_drawn(scenario, tmp_path, capsys):
    from matplotlib.image import imread

    add(scenario, "[variants.slow.simulate.upstreams.b]\nphases = [{ from_s = 1, to_s = 2, every_s = 3, slow = 4 }]\n")
    assert simulate("--config", scenario, "--plot", "course.png") == 0
    height, width, _ = imread(tmp_path / "course.png").shape
    assert width > height > 1000
    assert capsys.readouterr().out


def test_a_picture_needs_matplotlib(scenario, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    assert simulate("--config", scenario, "--plot", "course.png") == 2
    assert 'pip install "asyncrouter[lab]"' in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_an_error_told_in_a_line(scenario, tmp_path, capsys, monkeypatch):
    assert simulate("--config", scenario, "--plot", "nowhere/course.png") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "nowhere/course.png': its folder does not exist" in output.err
    (tmp_path / "taken.png").mkdir()
    assert simulate("--config", scenario, "--plot", "taken.png") == 2
    monkeypatch.setattr("asyncrouter.lab.simulation.plot.draw", mock.Mock(side_effect=OSError(28, "No space left")))
    assert simulate("--config", scenario, "--requests", "3", "--plot", "full.png") == 2
    output = capsys.readouterr()
    assert "answered" in output.out
    assert "No space left" in output.err


def test_without_a_picture_matplotlib_is_not_loaded(scenario):
    code = (
        "import sys; from asyncrouter.cli.app import run; code = run(sys.argv[1:]);"
        "assert code == 0 and not {'matplotlib', 'aiohttp'} & set(sys.modules)"
    )
    arguments = ["lab", "simulate", "--config", scenario, "--requests", "5"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


def on_terminal(*arguments, interrupt=False):
    """Run with standard error on a terminal; return the exit code, standard output and what the terminal showed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "asyncrouter", "lab", "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as child:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
                if interrupt and b"%" in shown:
                    child.send_signal(signal.SIGINT)
                    interrupt = False
        except OSError:  # how Linux says that the other side has closed
            pass
        out, _ = child.communicate()
    os.close(ours)
    return child.returncode, out, shown


def test_progress_is_shown_on_a_terminal_only(scenario):
    code, out, shown = on_terminal("--config", scenario, "--json")
    assert code == 0
    assert json.loads(out)["scenario"] == "tried"
    assert b"turns" in shown
    assert b"%" in shown


def test_an_interrupt_ends_it(scenario):
    code, out, shown = on_terminal("--config", scenario, "--duration", "1e9", interrupt=True)
    assert (code, out) == (130, b"")
    assert b"interrupted" in shown
    assert b"Traceback" not in shown
