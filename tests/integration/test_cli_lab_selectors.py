"""``lab eval --selector``: the real router decides the rows of a file, and learns from each after it was judged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from asyncrouter import Selection, hookimpl
from asyncrouter.cli.app import run
from asyncrouter.config.specs import StrategySpec
from asyncrouter.lab.evaluation.playing import Trial, play
from asyncrouter.lab.outcomes import Outcomes, load
from asyncrouter.types.deployments import Price
from asyncrouter.types.errors import BudgetExceeded
from asyncrouter.types.events import FeedbackGiven


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pair(tmp_path):
    """Rows in which the weak model does whatever has fewer than eight words."""
    rows = [
        {"id": str(number), "prompt": "word " * (words := 2 + number % 10) + str(number), "category": f"c{number % 3}",
         "strong": float(number % 7 > 0), "weak": float(words < 8)}
        for number in range(120)
    ]  # fmt: skip
    (tmp_path / "pair.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "pair.jsonl"


@pytest.fixture
def many(tmp_path):
    """Rows of three models with prices; the prompts that "big" alone can do are the long ones."""
    able = {"big": 9, "mid": 6, "mini": 4}
    lines = ["prompt,big,mid,mini"]
    for number in range(90):
        scores = ",".join(str(int(number % 9 < up)) for up in able.values())
        lines.append(f"{'word ' * (number % 9 + 1)}{number},{scores}")
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "m_prices.json").write_text('{"big": 10, "mid": 2, "mini": 0.5}', encoding="utf-8")
    return "m.csv"


def lab(*arguments):
    return run(["lab", "eval", *arguments])


def told(capsys):
    (file,) = json.loads(capsys.readouterr().out)["files"]
    return file


def test_a_selector_stands_in_the_table_with_its_point(pair, capsys):
    assert lab(pair, "--selector", "priority", "--selector", '{use = "priority"}') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:6]] == ["random", "length", "heuristic", "select=priority", "oracle"]
    apgr, cpt50, cpt80, quality, _, _, strong = lines[4].split()[2:]
    assert (apgr, cpt50, cpt80, strong) == ("0.500", "50.0%", "80.0%", "0.0%")  # all weak, and from there on lots
    assert quality == "0.600"
    told = "select=priority: learned from each row after it was decided, on estimates of heuristic"
    assert lines[-1] == told


def test_a_swept_option_makes_a_curve_as_good_as_its_estimator(pair, capsys):
    """With a threshold between any two scores the points are the corners of the estimator's own curve."""
    cuts = [round((2.5 + words) / 300, 6) for words in range(2, 12)]
    swept = f'{{use = "complexity", threshold = {{sweep = {cuts}}}}}'
    assert lab(pair, "--estimator", "demo", "--estimate", "demo", "--selector", swept, "--json") == 0
    file = told(capsys)
    name = "select=complexity (threshold swept)"
    for measure in ("apgr", "cpt50", "cpt80"):
        assert file["estimators"][name][measure] == pytest.approx(file["estimators"]["demo"][measure])
    low, high = file["estimators"][name]["apgr_interval"]
    assert low < file["estimators"][name]["apgr"] < high
    points = file["selectors"][name]
    assert [point["settings"] for point in points] == [f"threshold={cut}" for cut in cuts]
    shares = [point["strong_share"] for point in points]
    assert shares == sorted(shares, reverse=True)
    assert "quality" not in file["estimators"][name]


def test_of_many_models_a_selector_has_a_frontier_and_a_place_in_the_picture(many, tmp_path, capsys):
    swept = '{use = "complexity", cuts = [0.01, 0.025]}'
    assert lab(many, "--estimate", "demo", "--selector", swept, "--selector", "cost", "--plot", "c.png", "--json") == 0
    file = told(capsys)
    figures, cheapest = file["estimators"]["select=complexity cuts=[0.01, 0.025]"], file["estimators"]["select=cost"]
    assert file["estimators"]["random"]["aiq"] < figures["aiq"] < file["estimators"]["oracle"]["aiq"]
    assert "apgr" not in figures
    assert figures["cost_usd"] > cheapest["cost_usd"] > 0
    assert cheapest["quality"] == pytest.approx(4 / 9)
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_one_that_learns_comes_to_know_the_better_model(pair, capsys):
    pytest.importorskip("asyncrouter_adaptive")
    selector = '{use = "adaptive", explore = 10, regret = 1}'
    assert lab(pair, "--selector", selector, "--json") == 0
    (point,) = told(capsys)["selectors"]["select=adaptive explore=10, regret=1"]
    assert point["strong_share"] > 0.6
    assert lab(pair, "--selector", selector, "--json") == 0
    assert told(capsys)["selectors"]["select=adaptive explore=10, regret=1"] == [point]  # the same seed, the same run


class Watched:
    """Asks the weak model, and notes what it is asked and told."""

    def __init__(self):
        self.course = []

    @hookimpl
    def asyncrouter_select(self, request, candidates):
        self.course.append(("asked", request.messages[0]["content"]))
        return Selection(deployments=candidates)

    @hookimpl
    def asyncrouter_observe(self, event):
        if isinstance(event, FeedbackGiven):
            self.course.append(("told", event.score))


class Broke:
    """Has money for the first three calls."""

    def __init__(self):
        self.calls = 0

    @hookimpl
    def asyncrouter_select(self, candidates):
        self.calls += 1
        if self.calls > 3:
            raise BudgetExceeded("nothing is left")
        return Selection(deployments=candidates[:2], parallel=2)


def trial(select, table, **prices):
    return Trial(select=StrategySpec(instance=select), estimate=StrategySpec(use="heuristic"), table=table,
                 prices={name: Price(input=price, output=price) for name, price in prices.items()})  # fmt: skip


def test_each_row_is_decided_before_it_is_learned_in_an_order_drawn_by_lot(pair, tmp_path):
    table, watched, shares = load(tmp_path / pair), Watched(), []
    course = play(trial(watched, table), seed=1, progress=shares.append)
    asked, learned = watched.course[::2], watched.course[1::2]
    assert {what for what, _ in asked} == {"asked"}
    order = [table.prompts.index(prompt) for _, prompt in asked]
    assert sorted(order) == list(range(120)) != order
    assert learned == [("told", float(table.of("weak")[row])) for row in order]
    assert course.qualities.tolist() == table.of("weak").tolist()
    assert shares == [1.0]


def test_every_attempt_is_paid_for_and_a_refused_call_is_worth_nothing():
    rows = 10
    table = Outcomes(
        ids=tuple(map(str, range(rows))), prompts=tuple(f"hello {row}" for row in range(rows)), groups=("g",) * rows,
        sources=("f",) * rows, models=("dear", "cheap"), scores=np.ones((rows, 2)),
        costs=np.full((rows, 2), [3e-6, 1e-6]), strong="dear", weak="cheap",
    )  # fmt: skip
    course = play(trial(Broke(), table, dear=3.0, cheap=1.0), seed=0, progress=lambda _share: None)
    assert sorted(course.qualities) == [0.0] * 7 + [1.0] * 3
    assert sorted(course.costs) == pytest.approx([0.0] * 7 + [4e-6] * 3)
    assert sorted(course.chosen)[:7] == [-1] * 7


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("priorty", "unknown selector 'priorty'; did you mean \"priority\"?"),
        ("{threshold = 0.5}", 'expected a name, or a table such as {use = "complexity", threshold = 0.5}'),
        ("{use = ", "expected a name, or a table such as"),
        ('{use = "complexity", treshold = 0.5}', "unknown key"),
        ('{use = "x", a = {sweep = [1]}, b = {sweep = [2]}}', "unknown selector 'x'"),
        ('{use = "cost", a = {sweep = [1]}, b = {sweep = [2]}}', "a and b are swept; sweep one option at a time"),
    ],
)
def test_what_is_wrong_with_a_selector_is_told(pair, capsys, selector, message):
    assert lab(pair, "--selector", selector) == 2
    assert message in capsys.readouterr().err


def test_rows_that_do_not_tell_of_the_whole_fleet_are_left_out(tmp_path, capsys):
    lines = ['{"prompt": "one", "strong": 1, "weak": 0}', '{"prompt": "two", "strong": 1}']
    (tmp_path / "half.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert lab("half.jsonl", "--selector", "priority", "--json") == 0
    (point,) = told(capsys)["selectors"]["select=priority"]
    assert point["rows"] == 1
