"""Latency quantiles against exact ones, and the smoothed mean."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.latency import RELATIVE_ERROR, SHORTEST_S, SMOOTHING, LatencyHistogram, smoothed
from asyncrouter.types.metrics import LatencyQuantiles

DURATIONS = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200)


def histogram(durations):
    made = LatencyHistogram()
    for duration_s in durations:
        made.observe(duration_s)
    return made


@given(durations=DURATIONS, q=st.floats(0.0, 1.0))
def test_a_quantile_is_right_within_the_relative_error(durations, q):
    exact = sorted(durations)[math.floor(q * (len(durations) - 1))]
    assert histogram(durations).quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-9))


@given(durations=DURATIONS)
def test_quantiles_rise_with_their_share(durations):
    found = histogram(durations)
    values = [found.quantile(q / 20) for q in range(21)]
    assert values == sorted(values)
    assert found.count == len(durations)


def test_it_is_none_before_the_first():
    assert LatencyHistogram().quantile(0.5) is None
    assert LatencyHistogram().quantiles() == LatencyQuantiles(p50=None, p95=None, p99=None)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, 1e-9])
def test_what_is_shorter_than_the_shortest_counts_as_that(duration_s):
    assert histogram([duration_s]).quantile(0.5) == pytest.approx(SHORTEST_S, rel=RELATIVE_ERROR)


def test_the_three_quantiles_of_metrics():
    found = histogram(range(1, 101)).quantiles()
    assert found.p50 == pytest.approx(50, rel=0.051)
    assert found.p95 == pytest.approx(95, rel=0.051)
    assert found.p99 == pytest.approx(99, rel=0.051)


def test_memory_is_constant():
    found = histogram(1e-6 * 1.001**step for step in range(23_000))  # a microsecond to three hours
    assert len(found._buckets) <= 235


def test_the_smoothed_mean_follows_the_newest():
    assert smoothed(None, 3.0) == 3.0
    assert smoothed(1.0, 2.0) == 1.0 + SMOOTHING
    mean = None
    for _ in range(100):
        mean = smoothed(mean, 7.0)
    assert mean == pytest.approx(7.0)


@given(values=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50))
def test_the_smoothed_mean_stays_between_the_extremes(values):
    mean = None
    for value in values:
        mean = smoothed(mean, value)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
