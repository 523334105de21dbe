"""Latency quantiles against exact ones, and the smoothed mean."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.latency import (
    LEAST_SAMPLES,
    LONGEST_S,
    REFRESH_S,
    RELATIVE_ERROR,
    SHORTEST_S,
    SMOOTHING,
    SPAN_S,
    LatencyHistogram,
    RecentQuantile,
    smoothed,
)
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


@pytest.mark.parametrize(
    ("duration_s", "counted_s"),
    [(0.0, SHORTEST_S), (-1.0, SHORTEST_S), (1e-9, SHORTEST_S), (1e6, LONGEST_S), (math.inf, LONGEST_S)],
)
def test_what_is_beyond_the_bounds_counts_as_they_do(duration_s, counted_s):
    assert histogram([duration_s]).quantile(0.5) == pytest.approx(counted_s, rel=RELATIVE_ERROR * (1 + 1e-9))


def test_the_three_quantiles_of_metrics():
    found = histogram(range(1, 101)).quantiles()
    assert found.p50 == pytest.approx(50, rel=0.051)
    assert found.p95 == pytest.approx(95, rel=0.051)
    assert found.p99 == pytest.approx(99, rel=0.051)


def test_memory_is_constant():
    found = histogram(1e-6 * 1.001**step for step in range(25_400))  # a microsecond to a day
    assert len(found._counts) == len(LatencyHistogram()._counts) == 255
    assert min(found._counts) > 0


@given(first=DURATIONS, second=DURATIONS, q=st.floats(0.0, 1.0))
def test_a_sum_of_histograms_is_the_histogram_of_both(first, second, q):
    both = histogram(first) + histogram(second)
    assert both.count == len(first) + len(second)
    assert both.quantile(q) == histogram(first + second).quantile(q)


class about(float):  # noqa: N801 - reads like pytest.approx
    """Equal to what lies in the same bucket, at its upper end."""

    def __eq__(self, other):
        return self * (1 - 1e-9) <= other <= self * (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)

    __hash__ = None


def seen(durations, *, q=0.5, every_s=0.1):
    """Return a recent quantile that has seen *durations* one after another, and the moment of the last."""
    quantile, now = RecentQuantile(q), 0.0
    for duration_s in durations:
        now += every_s
        quantile.observe(duration_s, now)
    return quantile, now


def test_a_recent_quantile_is_believed_from_the_twentieth_duration_on():
    quantile, now = seen([1.0] * (LEAST_SAMPLES - 1))
    assert quantile.value(now) is None
    quantile.observe(1.0, now)
    assert quantile.value(now) == about(1.0)


def test_it_forgets_what_is_older_than_two_spans():
    quantile, now = seen([9.0] * 100 + [1.0] * 201, q=1.0)
    assert quantile.value(now) == about(1.0)


def test_however_many_come_the_last_span_counts():
    quantile, now = seen([9.0] * 50 + [1.0] * 500, q=1.0, every_s=SPAN_S / 600)
    assert quantile.value(now) == about(9.0)


def test_but_not_what_it_needs_where_answers_are_rare():
    quantile, now = seen([2.0] * 25, every_s=60.0)
    assert quantile.value(now) == about(2.0)
    quantile.observe(3.0, now + 3600.0)
    assert quantile.value(now + 3600.0) == about(2.0)


@given(steps=st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(1e-3, 1e3)), min_size=LEAST_SAMPLES, max_size=200))
def test_it_lies_within_the_last_forty_or_the_last_two_spans(steps):
    quantile, now, kept = RecentQuantile(0.95), 0.0, []
    for step_s, duration_s in steps:
        now += step_s
        quantile.observe(duration_s, now)
        kept.append((now, duration_s))
    recent = [duration for moment, duration in kept[:-40] if now - moment <= 2 * SPAN_S + 30.0]
    recent += [duration for _, duration in kept[-40:]]
    assert about(min(recent)) <= quantile.value(now)
    assert quantile.value(now) <= max(recent) * 1.11


@given(duration_s=st.floats(1e-6, 1e4))
def test_of_durations_that_are_all_the_same_none_is_longer(duration_s):
    quantile, now = seen([duration_s] * LEAST_SAMPLES)
    assert quantile.value(now) >= duration_s * (1 - 1e-12)


def test_it_is_computed_anew_every_few_seconds():
    quantile, now = seen([1.0] * 50)
    assert quantile.value(now) == about(1.0)
    for _ in range(200):
        quantile.observe(5.0, now)
    assert quantile.value(now + REFRESH_S * 0.99) == about(1.0)
    assert quantile.value(now + REFRESH_S) == about(5.0)


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
