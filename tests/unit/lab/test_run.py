"""The simulation as a whole: the real router over a simulated fleet, repeatable and within its bounds."""

from __future__ import annotations

import json
import textwrap

import pytest

from asyncrouter.lab.simulation.loading import load_scenarios
from asyncrouter.lab.simulation.report import deployments_table, document, runs_table
from asyncrouter.lab.simulation.run import simulate

FLEET = """
[deployments]
a = { provider = "simulated", model = "m", price = { input = 1.0, output = 2.0 } }
b = { provider = "simulated", model = "m", price = { input = 10.0, output = 20.0 } }

[groups.chat]
deployments = ["a", "b"]

[simulate]
duration_s = 30
prompts = { input_tokens = 100, output_tokens = 50 }

[simulate.upstreams."*"]
latency_s = 0.5
"""


@pytest.fixture
def tried(tmp_path):
    def tried(text="", **over):
        path = tmp_path / "tried.toml"
        path.write_text(FLEET + textwrap.dedent(text), encoding="utf-8")
        return document([simulate(scenario) for scenario in load_scenarios(path, **over)])["runs"]

    return tried


def test_a_healthy_fleet_answers_everything_at_its_own_pace(tried):
    (run,) = tried('[simulate.arrivals]\nkind = "steady"\nper_s = 2')
    assert (run["requests"], run["answered"], run["success"]) == (59, 59, 1.0)
    assert run["latency_s"] == {"p50": 0.5, "p95": 0.5, "p99": 0.5, "p99_9": 0.5, "worst": 0.5}
    assert (run["upstream_calls"], run["amplification"]) == (59, 1.0)
    assert run["cost_usd"] == pytest.approx(59 * (100 * 1.0 + 50 * 2.0) / 1e6)
    assert run["deployments"]["a"]["ends"] == {"ok": 59}
    assert run["deployments"]["b"]["calls"] == 0
    assert run["timeline"]["arrivals"][:3] == [1, 2, 2]
    assert sum(run["timeline"]["upstream_calls"]["a"]) == sum(run["timeline"]["answered"]) == 59
    assert run["timeline"]["latency_slowest_s"] == [None, *[0.5] * 30]
    assert run["duration_s"] == 30.0


def test_the_fallback_answers_in_an_outage_and_the_breaker_is_watched(tried):
    (run,) = tried('[simulate.upstreams.a]\nphases = [{ from_s = 10, to_s = 20, down = "500" }]')
    assert run["success"] == 1.0
    assert run["fallbacks"] == run["deployments"]["a"]["ends"]["500"] == run["deployments"]["a"]["calls_while_down"] > 0
    assert run["deployments"]["b"]["calls"] > 50
    first = run["breakers"][0]
    assert (first["deployment"], first["state"]) == ("a", "open")
    assert 10 < first["at_s"] < 12


def test_the_errors_are_counted_by_class(tried):
    _, run = tried(
        """
        [router]
        deadline_s = 2
        [variants.down.simulate.upstreams."*"]
        phases = [{ to_s = 99, down = "hang" }]
        """
    )
    assert run["success"] == 0.0
    assert sum(run["errors"].values()) == run["failed"] == run["requests"]
    assert "DeadlineExceeded" in run["errors"]
    assert run["latency_s"] == {"p50": None, "p95": None, "p99": None, "p99_9": None, "worst": 2.0}


def test_the_same_seed_tells_the_same_story_and_another_one_another(tried):
    text = (
        '[variants.more.simulate.upstreams."*"]\nlatency_s = { kind = "lognormal", median = 0.5 }\nfailure_rate = 0.3'
    )
    once, again, other = (tried(text, seed=seed) for seed in (1, 1, 2))
    assert json.dumps(once) == json.dumps(again)
    assert once[0]["timeline"]["arrivals"] != other[0]["timeline"]["arrivals"]
    assert once[1]["latency_s"] != other[1]["latency_s"]


def test_variants_meet_the_same_requests(tried):
    first, second = tried("[variants.other.groups.chat]\nselect = 'round_robin'")
    assert first["timeline"]["arrivals"] == second["timeline"]["arrivals"]
    assert second["deployments"]["b"]["calls"] == second["requests"] // 2


def test_it_ends_after_so_many_requests(tried):
    (run,) = tried(requests=7)
    assert run["requests"] == 7
    assert run["duration_s"] < 5


def test_a_closed_loop_keeps_its_callers_busy(tried):
    (run,) = tried('[simulate.arrivals]\nkind = "closed"\ncallers = 4\nthink_s = 0.5')
    assert run["requests"] == run["answered"] == 4 * 30
    assert run["deployments"]["a"]["most_at_once"] == 4


def test_callers_who_are_refused_at_once_do_not_ask_for_ever(tried):
    _, run = tried(
        """
        [router]
        deadline_s = 1
        max_attempts = 1
        [variants.down.simulate.arrivals]
        kind = "closed"
        callers = 1
        [variants.down.simulate.upstreams."*"]
        phases = [{ to_s = 99, down = "refuse" }]
        """,
        duration_s=1.0,
    )
    assert 1 < run["requests"] <= 1000


def test_streams_are_answered_too(tried):
    _, run = tried(
        '[variants.streamed.simulate]\nprompts = { stream = 0.5 }\nupstreams = { "*" = { tokens_per_s = 50 } }'
    )
    assert run["success"] == 1.0
    assert run["first_output_s"]["p50"] == 0.5
    assert run["latency_s"]["p50"] > 0.5


def test_each_layer_is_a_router_of_its_own(tmp_path):
    path = tmp_path / "tried.toml"
    path.write_text(FLEET.replace("[simulate]", "[simulate]\nlayers = 3"), encoding="utf-8")
    (scenario,) = load_scenarios(path, requests=10)
    assert [one.total.calls for one in simulate(scenario).metrics] == [10, 10, 10]


def test_layers_stand_before_one_another(tried):
    _, run = tried("[variants.deep.simulate]\nlayers = 3\nprompts = { stream = 0.3 }")
    assert (run["layers"], run["success"], run["amplification"]) == (3, 1.0, 1.0)
    assert run["latency_s"]["p99_9"] == 0.5


def test_what_fails_behind_is_an_upstreams_failure_before(tried):
    _, run = tried(
        """
        [router]
        deadline_s = 5
        [variants.deep.simulate]
        layers = 2
        prompts = { stream = 0.3 }
        [variants.deep.simulate.upstreams."*"]
        phases = [{ to_s = 99, down = "500" }]
        """
    )
    assert run["success"] == 0.0
    assert run["upstream_calls"] < run["requests"]
    assert set(run["errors"]) <= {"AllAttemptsFailed", "NoDeploymentAvailable", "DeadlineExceeded"}


def test_progress_is_told_each_step(tmp_path):
    path = tmp_path / "tried.toml"
    path.write_text(FLEET, encoding="utf-8")
    (scenario,) = load_scenarios(path)
    told = []
    simulate(scenario, told.append)
    assert told[:3] == pytest.approx([1 / 30, 2 / 30, 3 / 30])
    assert told[-1] <= 1.0
    assert told == sorted(told)


def test_the_tables_show_each_run_beside_the_others(tried):
    text = '[variants.down.simulate.upstreams."*"]\nphases = [{ to_s = 10, down = "500" }]'
    runs = tried(text + "\n[variants.streamed.simulate.prompts]\nstream = 1")
    columns, rows = runs_table({"runs": runs})
    assert columns == ["", "tried", "down", "streamed"]
    cells = {row[0]: row[1:] for row in rows}
    assert {len(row) for row in rows} == {4}
    assert cells["answered"][0] == "100.00%"
    assert cells["latency p99.9"][0] == "500 ms"
    assert cells["failed"][0] == "0"
    assert cells["first output p95"] == ["-", "-", "500 ms"]
    columns, rows = deployments_table(runs[1])
    assert [row[0] for row in rows] == ["a", "b"]
    assert {len(row) for row in rows} == {len(columns)}
    assert " with 500" in rows[0][4]
    runs[1]["deployments"]["a"]["ends"] = {"429": 2, "503": 1000, "cancelled": 7, "ok": 5}
    _, rows = deployments_table(runs[1])
    assert rows[0][3:6] == ("5", "2 with 429, 1,000 with 503", "7")
