"""Counts over a sliding window, against a list of everything that happened."""

from __future__ import annotations

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.window import SLICES, SlidingCounts

EVENTS = st.lists(
    st.tuples(st.floats(0.0, 12.0), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60
)  # seconds since the one before, first, second


@given(events=EVENTS, window_s=st.sampled_from([0.3, 1.0, 7.0, 30.0]), start=st.sampled_from([0.0, 0.05, 1e6]))
def test_it_counts_the_window_and_at_most_a_tenth_more(events, window_s, start):
    counts, seen, now = SlidingCounts(window_s), [], start
    for step, first, second in events:
        now += step
        counts.add(now, first=first, second=second)
        seen.append((now, first, second))
        totals = counts.totals(now)
        for place in (0, 1):
            within = sum(one[1 + place] for one in seen if now - one[0] < window_s * 0.999)
            at_most = sum(one[1 + place] for one in seen if now - one[0] <= window_s * (1 + 1 / SLICES) * 1.001)
            assert within <= totals[place] <= at_most


@pytest.mark.parametrize(
    ("later_s", "expected"), [(0.0, (1, 2)), (10.0, (1, 2)), (10.99, (1, 2)), (11.0, (0, 0)), (1000.0, (0, 0))]
)
def test_a_count_is_forgotten_a_window_later_or_a_tenth_of_it(later_s, expected):
    counts = SlidingCounts(10.0)
    counts.add(100.0, first=1, second=2)
    assert counts.totals(100.0 + later_s) == expected


def test_memory_is_constant():
    counts = SlidingCounts(10.0)
    for tenths in range(5000):
        counts.add(tenths / 10, first=1)
        assert counts._held <= SLICES + 1
    assert len(counts._numbers) == 3 * (SLICES + 2)
    assert counts.totals(499.9) == (110, 0)


def test_no_object_is_made_that_stays_for_a_slice():
    counts = SlidingCounts(10.0)
    counts.add(0.0, first=1)
    before = blocks()
    for second in range(1, 200):
        counts.add(float(second), first=1)
    assert blocks() - before < SLICES


def blocks() -> int:
    gc.collect()  # that empties the free lists of tuples and floats, which are blocks too
    return sys.getallocatedblocks()


def test_what_comes_before_the_latest_slice_counts_in_it():
    counts = SlidingCounts(10.0)
    for now in (5.0, 4.0, 5.0, 4.0) * 10:
        counts.add(now, first=1)
    assert counts.totals(15.0) == (40, 0)
    assert counts.totals(16.0) == (0, 0)


def test_clear_forgets_everything():
    counts = SlidingCounts(10.0)
    counts.add(1.0, first=3, second=4)
    counts.clear()
    assert counts.totals(1.0) == (0, 0)
    counts.add(1.0, second=1)
    assert counts.totals(1.0) == (0, 1)
