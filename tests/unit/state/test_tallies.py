"""Counters, and the snapshots made of them."""

from __future__ import annotations

import pytest

from asyncrouter.state.tallies import CALLS, NUMBERS, Tally
from asyncrouter.types.metrics import AgentMetrics
from asyncrouter.types.trace import AttemptKind


@pytest.mark.parametrize(
    ("kind", "counter"),
    [
        (AttemptKind.FIRST, None),
        (AttemptKind.RETRY, "retries"),
        (AttemptKind.FALLBACK, "fallbacks"),
        (AttemptKind.CASCADE, "cascades"),
        (AttemptKind.HEDGE, "hedges"),
    ],
)
def test_each_kind_of_attempt_has_its_counter(kind, counter):
    tally = Tally()
    tally.count_kind(kind)
    tally.count_kind(kind)
    assert {name: count for name, count in tally.named().items() if count} == ({counter: 2} if counter else {})


def test_every_kind_is_known():
    assert len(AttemptKind) == 5


def test_usage_and_cost_add_up():
    tally = Tally()
    tally.count_usage(10, 5, 0.25)
    tally.count_usage(1, 2, 0.0)
    tally.count_usage(0, 0, 0.5)
    assert (tally.named()["input_tokens"], tally.named()["output_tokens"], tally.cost_usd) == (11, 7, 0.75)


def test_the_snapshot_holds_every_count_and_does_not_follow():
    tally = Tally()
    for place in range(len(NUMBERS)):
        tally.counts[place] = place + 1
    tally.count_usage(0, 0, 0.5)
    tally.latency.observe(2.0)
    snapshot = tally.as_agent()
    told = {name: getattr(snapshot, name, None) for name in NUMBERS}
    assert told == {name: None if name == "rejected" else place for place, name in enumerate(NUMBERS, start=1)}
    assert snapshot.cost_usd == 0.5
    assert snapshot.latency_s.p50 == pytest.approx(2.0, rel=0.06)
    tally.counts[CALLS] += 1
    assert snapshot.calls == 1


def test_a_new_tally_is_an_empty_snapshot():
    assert Tally().as_agent() == AgentMetrics()
