"""The router's log read back: ``lab replay`` and ``lab train`` on calls that a real router has made."""

from __future__ import annotations

import json
import random
from pathlib import Path

import anyio
import pytest

from asyncrouter.cli.app import run
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.lab.outcomes import load
from asyncrouter.router import Router
from asyncrouter.telemetry.outcomes import OutcomeLog
from asyncrouter.testing import FakeProvider
from asyncrouter.types.decisions import Selection

PRICES = {"mini": {"input": 1, "output": 2}, "big": {"input": 10, "output": 20}}


class Explorer:
    """The big one for half of the prompts, and now and then the other one."""

    @hookimpl
    def asyncrouter_select(self, estimate, candidates, state):
        usual = int(estimate.complexity >= 0.5)
        explores = state.random.random() < 0.25
        first = 1 - usual if explores else usual
        ordered = (candidates[first], candidates[1 - first])
        return Selection(deployments=ordered, reason="exploring", propensity=0.25 if explores else 0.75)


def config(provider, select, estimate="demo"):
    return {
        "router": {"default": "chat"},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": name, "price": price} for name, price in PRICES.items()},
        "groups": {"chat": {"deployments": list(PRICES), "select": select, "estimate": estimate}},
    }


def quality(deployment, words):
    return 0.9 if deployment == "big" else 0.95 - 0.8 * words / 300


async def traffic(path, calls, *, prompts, feedback=1.0, select=None):
    chance = random.Random(5)  # noqa: S311 - no secret
    log = OutcomeLog(path=path, prompts=prompts)
    async with Router.from_config(config(FakeProvider(), select or Explorer()), plugins=[log], seed=3) as router:
        for _ in range(calls):
            words = chance.randint(1, 300)
            reply = await router.generate("w " * words)
            if chance.random() < feedback:
                await router.feedback(reply, float(chance.random() < quality(reply.deployment, words)))


def log_of(path, calls, **given):
    async def make():
        await traffic(path, calls, **given)

    anyio.run(make)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Make four hundred calls, with prompts, and tell how each went."""
    path = tmp_path_factory.mktemp("log") / "outcomes.sqlite"
    log_of(path, 400, prompts=True)
    return str(path)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tried(tmp_path):
    """Return the path of a configuration that asks the big one from another complexity on."""

    def write(threshold, **given):
        made = config({"kind": "openai", "base_url": "http://localhost:1"}, "priority", **given)
        made["groups"]["chat"]["select"] = {"use": "complexity", "threshold": threshold}
        (tmp_path / "tried.json").write_text(json.dumps(made), encoding="utf-8")
        return "tried.json"

    return write


def replay(capsys, *arguments):
    assert run(["lab", "replay", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_another_threshold_is_worth_what_it_would_have_been(log, tried, capsys):
    told = replay(capsys, log, "--config", tried(0.3))
    truth = sum(quality("big" if words / 300 >= 0.3 else "mini", words) for words in range(1, 301)) / 300
    for name in ("dr", "ips", "snips"):
        low, high = told["quality"][f"{name}_interval"]
        assert low < truth < high
    assert told["quality"]["difference"] == pytest.approx(told["quality"]["dr"] - told["quality"]["logged"])
    assert told["cost_usd"]["dr"] > told["cost_usd"]["logged"]
    assert (told["calls"], told["calls_with_quality"], told["warnings"]) == (400, 400, [])
    assert 100 < told["effective_calls"] < 400
    assert told["chosen"]["big"] == pytest.approx(400 * 0.7, abs=40)
    assert sum(told["logged"].values()) == 400


def test_each_call_has_a_chance_of_its_own(log, tried, capsys):
    file = Path(tried(0.3))
    made = json.loads(file.read_text(encoding="utf-8"))
    made["groups"]["chat"]["select"] = "weighted"
    file.write_text(json.dumps(made), encoding="utf-8")
    chosen = replay(capsys, log, "--config", str(file))["chosen"]
    assert chosen["big"] == pytest.approx(200, abs=40)
    assert chosen["big"] + chosen["mini"] == 400


def test_the_table_tells_the_same(log, tried, capsys):
    assert run(["lab", "replay", log, "--config", tried(0.3)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("as it was ")
    assert lines[-1].startswith("400 calls, ")


def test_the_policy_of_the_log_itself_is_fully_supported(tmp_path, tried, capsys):
    log_of(tmp_path / "plain.sqlite", 150, prompts=False, select={"use": "complexity", "threshold": 0.5})
    told = replay(capsys, "plain.sqlite", "--config", tried(0.5))
    assert (told["agreement"], told["effective_calls"], told["unsupported"]) == (1.0, 150.0, 0.0)
    assert told["quality"]["dr"] == pytest.approx(told["quality"]["logged"])
    assert told["warnings"] == ["the log holds no prompts: the estimates are those that were logged, not made anew"]


def test_what_the_log_cannot_tell_is_warned_of(tmp_path, tried, capsys):
    log_of(tmp_path / "plain.sqlite", 150, prompts=True, feedback=0.6, select={"use": "complexity", "threshold": 0.5})
    told = replay(capsys, "plain.sqlite", "--config", tried(0.1))
    assert told["unsupported"] == pytest.approx(0.4, abs=0.1)
    overlap, certain, unsaid = told["warnings"]
    assert overlap.startswith("poor overlap: 150 calls say as much as ")
    assert certain.startswith(("in 3", "in 4"))
    assert "nobody has said how well they went" in unsaid


def test_weights_can_be_clipped(log, tried, capsys):
    told = replay(capsys, log, "--config", tried(0.3), "--clip", "2")
    assert told["weights_clipped"] > 0
    assert any("weights were clipped at 2" in warning for warning in told["warnings"])


def test_outcomes_of_the_log_are_what_was_said(log):
    table = load(Path(log))
    assert len(table) == 400
    assert set(table.models) == {"mini", "big"}
    assert (table.strong, table.weak) == ("big", "mini")
    assert all(prompt.startswith("w ") for prompt in table.prompts)
    known = ~(table.scores != table.scores)
    assert (known.sum(axis=1) == 1).all()  # one was asked, the other not
    assert ((table.costs == table.costs) == known).all()


def test_a_model_is_trained_on_the_log(log, capsys):
    assert run(["lab", "train", log, "--trainer", "demo", "--out", "my.model"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["outcomes.sqlite", "400", "400", "0", "big", "mini"]


@pytest.mark.parametrize("command", [["calibrate", "--strong-share", "0.5"], ["score", "--out", "scores.csv"]])
def test_a_log_of_which_nobody_has_said_anything_has_prompts(tmp_path, command):
    log_of(tmp_path / "silent.sqlite", 20, prompts=True, feedback=0.0)
    assert run(["lab", *command, "silent.sqlite", "--estimator", "demo"]) == 0
    if command[0] == "score":
        assert len((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()) == 1 + 20


@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "--strong-share", "0.5"],
        ["calibrate", "--quality", "0.5"],
        ["score", "--out", "scores.csv"],
        ["eval"],
    ],
)
def test_estimators_are_asked_of_no_log_without_prompts(tmp_path, command, capsys):
    log_of(tmp_path / "plain.sqlite", 20, prompts=False)
    assert run(["lab", *command, "plain.sqlite", "--estimator", "demo"]) == 2
    assert "plain.sqlite: holds no prompts" in capsys.readouterr().err


def test_calls_without_a_prompt_teach_nothing_beside_others(tmp_path, capsys):
    for prompts in (True, False):
        log_of(tmp_path / "mixed.sqlite", 30, prompts=prompts)
    assert run(["lab", "train", "mixed.sqlite", "--trainer", "demo", "--out", "my.model"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["mixed.sqlite", "30"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"estimate": "heuristic"},
            "the log holds no prompts, and its estimates are those of 'demo', not of 'heuristic'",
        ),
        ({"group": "other"}, "holds no decided call of the group 'other'"),
        ({"rename": "talk"}, "calls to the group 'chat'; the configuration has: talk"),
        ({"add": "huge"}, "the configuration asks huge, whom the log never asked first"),
    ],
)
def test_what_cannot_be_replayed_is_told(tmp_path, tried, capsys, change, message):
    log_of(tmp_path / "plain.sqlite", 5, prompts=False)
    file = tmp_path / tried(0.3, **({"estimate": change["estimate"]} if "estimate" in change else {}))
    made = json.loads(file.read_text(encoding="utf-8"))
    if "rename" in change:
        made["groups"] = {change["rename"]: made["groups"]["chat"]}
        made["router"]["default"] = change["rename"]
    if "add" in change:
        made["deployments"][change["add"]] = {"provider": "fake", "model": "huge"}
        made["groups"]["chat"] |= {"deployments": ["huge", "mini"], "select": "priority"}
    file.write_text(json.dumps(made), encoding="utf-8")
    group = ["--group", change["group"]] if "group" in change else []
    assert run(["lab", "replay", "plain.sqlite", "--config", file.name, *group]) == 2
    assert message in capsys.readouterr().err
