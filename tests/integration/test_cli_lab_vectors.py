"""The loop without prompts: the log keeps vectors, ``lab train`` learns from them, ``lab replay`` decides by them."""

from __future__ import annotations

import json
import random
import sqlite3

import anyio
import pytest

from asyncrouter import Selection, hookimpl
from asyncrouter.cli.app import run
from asyncrouter.router import Router
from asyncrouter.telemetry.outcomes import OutcomeLog, read_calls
from asyncrouter.testing import FakeProvider

semantic = pytest.importorskip("asyncrouter_semantic")

ASKED = {
    "sums": "A farm has {} hens and each lays {} eggs a week. How many eggs are there in total after {} weeks?",
    "talk": "Write a short and friendly note to my neighbour {} about the {} parcels that came on day {}.",
}
QUALITY = {"sums": {"mini": 0.2, "big": 0.9}, "talk": {"mini": 0.9, "big": 0.5}}
"""Not what the shipped model expects, so that only what the log tells can help."""


class Explorer:
    """Asks one of two at random."""

    @hookimpl
    def asyncrouter_select(self, candidates, state):
        first = state.random.randrange(2)
        return Selection(deployments=(candidates[first], candidates[1 - first]), propensity=0.5)


def config(provider, select, model="default"):
    return {
        "router": {"default": "chat"},
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": name} for name in ("mini", "big")},
        "groups": {"chat": {"deployments": ["mini", "big"], "select": select,
                            "estimate": {"use": "semantic", "model": model}}},
    }  # fmt: skip


async def traffic(path, calls, *, vectors):
    chance = random.Random(5)  # noqa: S311 - no secret
    log = OutcomeLog(path=path, vectors=vectors)
    async with Router.from_config(config(FakeProvider(), Explorer()), plugins=[log], seed=3) as router:
        for _ in range(calls):
            kind = chance.choice(("sums", "talk"))
            prompt = ASKED[kind].format(*(chance.randint(2, 99) for _ in range(3)))
            reply = await router.generate(prompt)
            await router.feedback(reply, float(chance.random() < QUALITY[kind][reply.deployment]))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "outcomes.sqlite"
    anyio.run(lambda: traffic(path, 500, vectors=True))
    return path


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("ASYNCROUTER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def tried(tmp_path, model, threshold=0.5):
    provider = {"kind": "openai", "base_url": "http://localhost:1"}
    made = config(provider, {"use": "complexity", "threshold": threshold}, model)
    (tmp_path / "tried.json").write_text(json.dumps(made), encoding="utf-8")
    return "tried.json"


def test_what_a_log_without_prompts_teaches_is_used_and_replayed(log, tmp_path, capsys):
    assert run(["lab", "train", str(log), "--out", "my.model"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "500"
    first = (tmp_path / "my.model").read_bytes()
    assert run(["lab", "train", str(log), "--out", "my.model"]) == 0
    assert (tmp_path / "my.model").read_bytes() == first
    capsys.readouterr()

    found = {}
    for model in ("default", "my.model"):
        file = tried(tmp_path, model)
        for kind, text in ASKED.items():
            assert run(["explain", text.format("nine", "seven", "six"), "--config", file, "--json"]) == 0
            found[model, kind] = json.loads(capsys.readouterr().out)["estimate"]["complexity"]
        assert run(["lab", "replay", str(log), "--config", file, "--json"]) == 0
        found[model] = json.loads(capsys.readouterr().out)
    assert found["my.model", "sums"] > 0.5 > found["my.model", "talk"]
    assert found["default", "sums"] < found["default", "talk"]
    learned, shipped = found["my.model"]["quality"], found["default"]["quality"]
    low, high = learned["dr_interval"]
    assert low < 0.9 < high  # the best for each kind
    assert shipped["dr"] < low
    assert found["my.model"]["chosen"]["big"] == pytest.approx(250, abs=40)


def test_the_log_holds_numbers_and_no_text(log):
    calls = list(read_calls(log))
    assert {len(call.features) for call in calls} == {54}
    assert all(abs(value) < 10 for call in calls for value in call.features)
    assert all(call.messages is None for call in calls)
    with sqlite3.connect(log) as database:
        dumped = "\n".join(map(str, database.execute("select * from calls limit 20")))
    assert "parcels" not in dumped
    assert "hens" not in dumped


def test_without_vectors_there_is_nothing_to_learn_from(tmp_path, capsys):
    anyio.run(lambda: traffic(tmp_path / "bare.sqlite", 30, vectors=False))
    assert run(["lab", "train", "bare.sqlite", "--out", "my.model"]) == 2
    assert "let the router log them, [outcomes] prompts = true, or vectors" in capsys.readouterr().err


def test_vectors_of_another_model_are_refused(log, tmp_path, capsys):
    rows = [{"prompt": text.format(number, number, number), "category": kind, "strong": 1.0, "weak": number % 2}
            for number in range(80) for kind, text in ASKED.items()]  # fmt: skip
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert run(["lab", "train", "own.jsonl", "--prior", "none", "--out", "other.model"]) == 0
    assert run(["lab", "train", str(log), "--prior", "other.model", "--out", "my.model"]) == 2
    assert "the log's vectors have 54 numbers, those of this prior " in capsys.readouterr().err
    assert run(["lab", "train", str(log), "--out", "my.model"]) == 0
    assert run(["lab", "train", str(log), "--prior", "my.model", "--out", "again.model"]) == 0
