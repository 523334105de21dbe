"""The choreography, over servers in memory: who is asked when, what is counted, and how it ends."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json

import anyio
import attrs
import pytest

from asyncrouter.cli.app import run as command
from asyncrouter.examples.demo import main as demo
from asyncrouter.examples.demo.conduct import CONCURRENCY, conduct
from asyncrouter.examples.demo.prompts import load_tasks
from asyncrouter.examples.demo.record import Way
from asyncrouter.testing.script import Fail, Reply, Stream
from asyncrouter.types.errors import ConfigError, ConnectionFailed, InvalidRequest, StreamInterrupted

TASKS = load_tasks()


def conducted(servers, tasks=TASKS, show=lambda _progress: None):
    return anyio.run(conduct, tasks, servers, show)


def test_no_prompt_is_lost_though_a_server_stops(servers):
    run = conducted(servers)
    assert run.lost == ()
    assert [call.task for call in run.calls] == list(TASKS)
    assert servers["local-small"].history == ["start", "stop", "start"]
    assert servers["local-large"].history == ["start"]
    assert all(server.closed for server in servers.values())
    assert run.concurrency == CONCURRENCY
    assert 0 < run.outage.stopped_s <= run.outage.told_to_start_s <= run.outage.ready_s <= run.duration_s
    assert run.outage.deployment == "small"


def test_calls_meet_the_outage_and_fall_back(servers):
    run = conducted(servers)
    assert run.failed_attempts
    assert {attempt.deployment for attempt in run.failed_attempts} == {"small"}
    assert all(isinstance(attempt.error, ConnectionFailed) for attempt in run.failed_attempts)
    assert run.count(Way.FELL_BACK) >= 1
    assert run.count(Way.LOST) == 0
    assert sum(map(run.count, Way)) == len(TASKS)
    fallen = [call for call in run.calls if call.way is Way.FELL_BACK]
    assert {call.response.deployment for call in fallen} == {"large"}


def test_a_stream_that_breaks_off_begins_anew_elsewhere(servers):
    servers["local-small"].play(
        lambda request, _deployment, _number: Stream(["a", "b"], cut_after=1) if request.stream else Reply()
    )
    run = conducted(servers)
    assert run.lost == ()
    interrupted = [call for call in run.calls if isinstance(call.attempts[0].error, StreamInterrupted)]
    assert interrupted
    assert {(call.response.deployment, call.response.text) for call in interrupted} == {("large", "ok")}


def test_reserved_prompts_wait_until_the_server_runs_again(servers):
    run = conducted(servers)
    began = [run.seconds(call.attempts[0].started_at) for call in run.calls if call.task.reserved]
    assert min(began) >= run.outage.ready_s


def test_what_is_shown_grows_to_the_end(servers):
    seen = []
    conducted(servers, show=lambda progress: seen.append(attrs.evolve(progress)))
    assert [one.ended for one in seen] == sorted(one.ended for one in seen)
    assert seen[-1].ended == seen[-1].total == len(TASKS)
    assert seen[-1].failed_attempts > 0
    states = [one.server for one in seen]
    assert [state for before, state in zip(["", *states], states) if state != before] == [  # noqa: B905
        "starting",
        "running",
        "stopped",
        "starting",
        "running",
    ]


def test_a_prompt_without_an_answer_is_lost_and_the_exit_code_says_so(servers, tmp_path, capsys):
    def refuse_the_third(request, _deployment, _number):
        text = request.messages[-1]["content"]
        return Fail(InvalidRequest) if text == TASKS[2].text else Reply()

    for server in servers.values():
        server.play(refuse_the_third)
    assert demo.run(tmp_path, as_json=False, servers=servers) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "lost: 1" in lines
    assert "no answer, or more than one: prompt 3" in lines
    assert any(line.split()[:1] == ["3"] and "LOST" in line for line in lines)


def test_when_nobody_answers_all_are_lost(servers, tmp_path, capsys):
    for server in servers.values():
        server.play(Fail(InvalidRequest))
    assert demo.run(tmp_path, as_json=True, servers=servers) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["lost"] == document["prompts"] == len(TASKS)
    assert document["latency_s"] == {"p50": None, "p95": None}
    assert document["calls"][0]["error"]
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_a_server_that_does_not_start_again_is_the_error(servers):
    servers["local-small"]._may_restart = False
    with pytest.raises(ConnectionFailed, match="does not start"):
        conducted(servers)


def test_the_json_document_is_all_that_is_printed(servers, tmp_path, capsys):
    assert demo.run(tmp_path / "new" / "out", as_json=True, servers=servers) == 0
    output = capsys.readouterr()
    assert output.err == ""
    document = json.loads(output.out)
    assert document["lost"] == 0
    assert document["plot"] == str(tmp_path / "new" / "out" / "demo.png")
    assert [call["number"] for call in document["calls"]] == [task.number for task in TASKS]
    assert document["calls"][1]["complexity"] >= 0.7
    assert document["calls"][1]["attempts"][0]["started_s"] >= 0


def test_without_matplotlib_the_rest_goes_on(servers, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert demo.run(tmp_path, as_json=True, servers=servers) == 0
    output = capsys.readouterr()
    assert output.err == 'no plot: matplotlib is missing; run: pip install "asyncrouter[demo]"\n'
    assert json.loads(output.out)["plot"] is None
    assert list(tmp_path.iterdir()) == []
    assert demo.run(tmp_path, as_json=False, servers={n: type(s)() for n, s in servers.items()}) == 0
    assert "plot:" not in capsys.readouterr().out


def test_without_the_local_provider_the_cure_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    assert command(["demo", "--out", str(tmp_path)]) == 2
    assert "pip install asyncrouter-local" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named_before_anything_runs(servers, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--out.*file.*name another"):
        demo.run(tmp_path / "file" / "out", as_json=True, servers=servers)
    assert not servers["local-small"].history
