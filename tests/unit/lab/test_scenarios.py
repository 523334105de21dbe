"""Each shipped scenario shows what its first line promises, with the real router."""

from __future__ import annotations

import functools

import pytest

from asyncrouter.lab.simulation.loading import load_scenarios, shipped
from asyncrouter.lab.simulation.report import document
from asyncrouter.lab.simulation.run import simulate


@functools.cache
def runs_of(name, **over):
    """Return each run of the shipped scenario *name* by its own name; it is simulated once."""
    scenarios = load_scenarios(shipped()[name], **over)
    return {run["name"]: run for run in document([simulate(scenario) for scenario in scenarios])["runs"]}


def calls(run, deployment, begin_s, end_s):
    """Return the calls that reached a deployment's upstream from *begin_s* to *end_s*."""
    return sum(run["timeline"]["upstream_calls"][deployment][begin_s:end_s])


def share(run, deployment, begin_s, end_s):
    every = sum(calls(run, name, begin_s, end_s) for name in run["deployments"])
    return calls(run, deployment, begin_s, end_s) / every


def test_outage_every_call_is_answered_and_traffic_comes_back():
    run = runs_of("outage")["outage"]
    assert run["success"] == 1.0
    assert run["failed"] == 0
    assert run["amplification"] < 1.02
    assert share(run, "mini", 0, 60) == 1.0
    assert share(run, "mini", 65, 120) < 0.01
    assert share(run, "mini", 150, 180) == 1.0  # within 30 s of the recovery


def test_flapping_most_calls_keep_away_and_none_is_lost():
    run = runs_of("flapping")["flapping"]
    assert run["success"] == 1.0
    assert run["amplification"] < 1.05
    assert run["deployments"]["a"]["calls_while_down"] < 0.05 * run["requests"]


def test_brown_out_traffic_leaves_within_thirty_seconds():
    runs = runs_of("brown-out")
    plain, slow_calls, latency = (runs[name] for name in ("brown-out", "slow-calls", "latency"))
    assert {run["success"] for run in runs.values()} == {1.0}
    assert share(plain, "a", 90, 120) == 1.0
    assert share(slow_calls, "a", 0, 60) == 1.0
    assert share(slow_calls, "a", 90, 120) < 0.02
    assert share(slow_calls, "a", 165, 180) == 1.0  # and it comes back
    assert share(latency, "a", 0, 60) > 0.2
    assert share(latency, "a", 90, 120) < 0.08  # it looks at the others with one request in twenty


def test_standstill_the_silent_deployment_is_left_within_seconds():
    runs = runs_of("standstill")
    plain, slow_calls, latency = (runs[name] for name in ("standstill", "slow-calls", "latency"))
    assert plain["deployments"]["a"]["calls_while_down"] > 500
    assert share(latency, "a", 0, 60) > 0.4
    assert share(latency, "a", 65, 90) < 0.08  # it looks at the others with one request in twenty
    assert latency["success"] == 1.0
    assert max(run["latency_s"]["p95"] for run in (slow_calls, latency)) < plain["latency_s"]["p95"] / 20


def test_rate_limit_squeeze_the_provider_is_kept_at_its_limit():
    runs = runs_of("rate-limit-squeeze")
    for run in runs.values():
        assert run["success"] == 1.0
        assert run["deployments"]["a"]["ends"]["ok"] > 0.97 * 6 * 600  # a full bucket, and five minutes of refilling
    assert runs["rate-limit-squeeze"]["deployments"]["a"]["ends"]["429"] < 0.1 * runs["told"]["requests"]
    assert "429" not in runs["told"]["deployments"]["a"]["ends"]


def test_retry_storm_three_layers_do_not_multiply():
    run = runs_of("retry-storm")["retry-storm"]
    assert run["layers"] == 3
    assert run["success"] == 0.0
    assert 0 < run["upstream_calls"] <= 1.2 * run["requests"]


def test_heavy_tail_hedging_cuts_the_slowest_thousandth_tenfold_for_five_per_cent_more():
    runs = runs_of("heavy-tail", requests=10_000)
    plain, hedged = runs["heavy-tail"], runs["hedged"]
    assert plain["latency_s"]["p99_9"] == 2.0
    assert hedged["latency_s"]["p99_9"] <= plain["latency_s"]["p99_9"] / 10
    assert hedged["upstream_calls"] <= 1.05 * plain["upstream_calls"]


def test_thundering_herd_no_second_outage_follows():
    run = runs_of("thundering-herd", duration_s=150.0)["thundering-herd"]
    assert run["success"] == 1.0
    states = [one["state"] for one in run["breakers"] if one["at_s"] > 90]
    assert states[-1] == "closed"
    assert "open" not in states[states.index("closed") :]
    assert "503" not in run["deployments"]["only"]["ends"]
    busiest = max(sum(run["timeline"]["upstream_calls"]["only"][step : step + 5]) / 5 for step in range(90, 150))
    assert busiest < 2 * 50


@pytest.mark.parametrize("name", shipped())
def test_each_scenario_can_be_tried_shortened(name):
    for run in document([simulate(scenario) for scenario in load_scenarios(shipped()[name], duration_s=5.0)])["runs"]:
        assert run["requests"] == run["answered"] + run["failed"] > 50
        for one in run["deployments"].values():
            assert sum(one["ends"].values()) == one["calls"]
