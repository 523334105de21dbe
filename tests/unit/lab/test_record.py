"""What is counted, per step of the time line and in all."""

from __future__ import annotations

import random

import pytest

from asyncrouter.lab.simulation.arrivals import Bursts, Poisson, Steady
from asyncrouter.lab.simulation.record import RequestRecord, Steps, quantiles


class At:
    now = 0.0

    def __call__(self):
        return self.now


def test_steps_count_when_things_happen():
    at = At()
    steps = Steps(at, 2.0)
    for at.now in (0.0, 1.9, 2.0, 7.0):
        steps.add()
    assert steps.counts(5) == [2, 1, 0, 1, 0]
    assert steps.counts(2) == [2, 1]
    assert steps.most == 2
    assert Steps(at, 1.0).most == 0


def test_quantiles_are_by_nearest_rank():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert quantiles(values, (0.0, 0.2, 0.21, 0.5, 1.0)) == [1.0, 1.0, 2.0, 3.0, 5.0]
    assert quantiles([], (0.5, 0.9)) == [None, None]
    assert quantiles(range(1, 1001), (0.999,)) == [999]


def test_each_step_of_the_time_line_has_the_latencies_of_its_own_answers():
    at = At()
    record = RequestRecord(at, 1.0)
    began = record.arrived()
    at.now = 0.5
    record.ended(began, None, 1)
    at.now = 1.0
    record.close_step()
    at.now = 1.5
    record.ended(began, "DeadlineExceeded", 2)
    at.now = 2.0
    record.close_step()
    assert (record.p50_s, record.p95_s, record.slowest_s) == ([0.5, None], [0.5, None], [0.5, None])
    assert (record.answered, dict(record.errors), record.waits) == (1, {"DeadlineExceeded": 1}, 3)
    assert record.worst_s == 1.5
    assert record.failures.counts(2) == [0, 1]


def first(arrivals, count, seed=1):
    gaps = arrivals.gaps_s(random.Random(seed))  # noqa: S311 - no secret
    return [next(gaps) for _ in range(count)]


def test_steady_arrivals_are_evenly_spaced():
    assert first(Steady(per_s=4.0), 3) == [0.25, 0.25, 0.25]


def test_poisson_arrivals_have_their_rate_and_exponential_gaps():
    gaps = first(Poisson(per_s=20.0), 20_000)
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.05, rel=0.03)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, rel=0.05)  # 1 / e


def test_bursts_come_at_once_and_then_again():
    assert first(Bursts(size=3, every_s=5.0), 7) == [0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 5.0]
