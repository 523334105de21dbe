"""The limit that latency finds: exact numbers, and bounds that nothing breaks."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.gradient import ANSWERS, CEILING, FLOOR, LOW_WINDOWS, WINDOWS, Gradient


class Paced:
    """A gradient with a clock that the answers push forward."""

    def __init__(self, ceiling=CEILING):
        self.gradient = Gradient(ceiling)
        self.now = 100.0

    def answer(self, seconds, in_flight=None, *, dropped=False):
        started_at, self.now = self.now, self.now + seconds
        in_flight = self.gradient.limit if in_flight is None else in_flight
        self.gradient.ended(started_at, self.now, in_flight, dropped=dropped)

    def window(self, seconds, in_flight=None):
        """Give as many answers as make a window; return the limit that comes of them."""
        for _ in range(max(ANSWERS, self.gradient.limit)):
            self.answer(seconds, in_flight)
        return self.gradient.limit

    def grown_to(self, limit):
        """Return this after its limit has grown to at least *limit* on answers of one second."""
        self.window(1.0)
        while self.gradient.limit < limit:
            self.window(1.0)
        return self


def test_the_numbers_are_those_that_are_told():
    assert (FLOOR, CEILING, ANSWERS, WINDOWS, LOW_WINDOWS) == (3, 1000, 20, 20, 5)


def test_it_begins_at_the_floor_and_measures_there_first():
    paced = Paced()
    assert (paced.gradient.limit, paced.window(1.0)) == (FLOOR, FLOOR)


def test_it_grows_while_answers_are_as_fast_as_the_least():
    paced = Paced()
    paced.window(1.0)
    # 1.25·3 + √3.75 = 5.69, 1.25·5 + √6.25 = 8.75, 10 + √10 = 13.2, 16.25 + √16.25 = 20.3, 25 + √25 = 30
    assert [paced.window(1.0) for _ in range(5)] == [5, 8, 13, 20, 30]


@pytest.mark.parametrize(
    ("median_s", "limit"),
    [
        (1.25, 24),  # 20 + √20
        (1.6, 19),  # 0.78125·20 = 15.625, + √15.625
        (2.0, 16),  # 12.5 + √12.5
        (9.0, 13),  # no less than half: 10 + √10
        (0.5, 46),  # no more than twice: 40 + √40
        (0.0, 46),
    ],
)
def test_the_next_limit_is_the_formulas(median_s, limit):
    assert Paced().grown_to(20).window(median_s) == limit


def test_where_more_calls_only_wait_it_settles():
    """The answers of a deployment that takes ten at once: 1.25·10 + √12.5."""
    paced = Paced().grown_to(100)
    limits = [paced.window(max(1.0, paced.gradient.limit / 10)) for _ in range(WINDOWS - 10)]
    assert limits[-3:] == [16, 16, 16]


def test_the_median_is_what_counts():
    paced = Paced().grown_to(20)
    for seconds in [1.0] * 11 + [50.0] * 9:
        paced.answer(seconds)
    assert paced.gradient.limit == 30
    for seconds in [1.0] * 15 + [2.5] * 15:  # of an even number the upper one
        paced.answer(seconds)
    assert paced.gradient.limit == 18  # 15 + √15


def test_it_does_not_grow_while_less_than_half_of_it_is_used():
    paced = Paced().grown_to(20)
    assert paced.window(1.0, in_flight=9) == 20
    assert paced.window(1.6, in_flight=9) == 19
    assert paced.window(1.0, in_flight=10) == 28
    assert Paced().grown_to(20).window(1.0, in_flight=10) == 30


def test_the_ceiling_is_kept():
    assert [Paced(6).grown_to(6).window(1.0), Paced(1).window(1.0), Paced(2).window(9.0)] == [6, 1, 2]


def test_answers_of_calls_that_began_under_another_limit_do_not_count():
    paced = Paced().grown_to(20)
    for _ in range(100):
        paced.gradient.ended(paced.now - 1.0, paced.now + 50.0, 20, dropped=False)
    assert paced.gradient.limit == 20
    assert paced.window(1.0) == 30


def test_but_they_tell_how_many_were_under_way():
    paced = Paced().grown_to(20)
    paced.gradient.ended(paced.now - 1.0, paced.now, 15, dropped=False)
    assert paced.window(1.0, in_flight=1) == 30


# ------------------------------------------------------------------ calls that are one too many


def test_a_dropped_call_lowers_it_by_a_tenth_once():
    paced = Paced().grown_to(20)
    before = paced.now
    paced.answer(1.0, dropped=True)
    assert paced.gradient.limit == 18
    for _ in range(17):
        paced.gradient.ended(before, paced.now, 20, dropped=True)
    assert paced.gradient.limit == 18
    paced.answer(1.0, dropped=True)
    assert paced.gradient.limit == 16


def test_a_dropped_call_begins_the_window_anew():
    paced = Paced().grown_to(20)
    for _ in range(19):
        paced.answer(1.0)
    paced.answer(1.0, dropped=True)
    paced.answer(1.0)
    assert paced.gradient.limit == 18
    for _ in range(19):
        paced.answer(1.0)
    assert paced.gradient.limit == 27  # 22.5 + √22.5


def test_dropped_calls_do_not_bring_it_below_the_floor():
    paced = Paced()
    for _ in range(20):
        paced.answer(1.0, dropped=True)
    assert paced.gradient.limit == FLOOR


# ------------------------------------------------------------------ measuring anew


def settled():
    """Return a gradient that holds 16 calls against a capacity of 10, at the last window before it measures."""
    paced = Paced()
    paced.window(1.0)
    for _ in range(WINDOWS - 1):
        paced.window(max(1.0, paced.gradient.limit / 10))
    assert paced.gradient.limit == 16
    return paced


def test_after_so_many_windows_the_least_is_measured_with_half_the_calls():
    paced = settled()
    assert paced.window(1.6) == 8
    assert paced.window(1.1, in_flight=8) == 16
    assert paced.window(1.1 * 1.6) == 16


def test_what_is_measured_replaces_the_least():
    """Longer prompts: everything takes twice as long, and that is no overload."""
    paced = settled()
    paced.window(1.6)
    paced.window(2.0, in_flight=8)
    assert [paced.window(2.0) for _ in range(2)] == [24, 35]


def test_with_few_calls_under_way_it_measures_with_half_of_those():
    paced = Paced().grown_to(20)
    for _ in range(WINDOWS - 5):
        paced.window(1.0, in_flight=9)
    assert paced.window(1.0, in_flight=9) == 4
    assert paced.window(1.0, in_flight=4) == 20


def test_a_dropped_call_while_measuring_lowers_what_is_gone_back_to():
    paced = settled()
    paced.window(1.6)
    paced.answer(1.0, dropped=True)
    assert paced.gradient.limit == 8
    assert paced.window(1.0, in_flight=8) == 14


def test_at_the_floor_it_measures_soon():
    """The least was measured on short prompts; long ones keep the limit at the floor until it is measured anew."""
    paced = Paced()
    paced.window(0.1)
    assert [paced.window(10.0) for _ in range(LOW_WINDOWS)] == [FLOOR] * LOW_WINDOWS
    paced.window(10.0)
    assert [paced.window(10.0) for _ in range(3)] == [5, 8, 13]


def test_windows_at_the_floor_count_in_a_row_only():
    paced = Paced()
    paced.window(1.0)
    for _ in range(2):
        assert [paced.window(10.0) for _ in range(LOW_WINDOWS - 1)] == [FLOOR] * (LOW_WINDOWS - 1)
        assert [paced.window(1.0), paced.window(10.0), paced.window(10.0)] == [5, 4, FLOOR]
    assert paced.window(1.0) == 5  # still held against the first least


# ------------------------------------------------------------------ whatever happens


@given(
    ceiling=st.integers(1, 50),
    events=st.lists(
        st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.integers(0, 80), st.booleans(), st.integers(1, 60)),
        max_size=60,
    ),
)
def test_it_stays_between_floor_and_ceiling(ceiling, events):
    gradient, now = Gradient(ceiling), 0.0
    for passed, took, in_flight, dropped, times in events:
        now += passed
        for _ in range(times):
            gradient.ended(now - took, now, in_flight, dropped=dropped)
            assert min(FLOOR, ceiling) <= gradient.limit <= ceiling


def upstream(gradient, capacity, *, seconds, calls=300, sigma=0.5, seed=1):
    """Keep *calls* waiting for a deployment that works on ``capacity(now)`` at once, first come first served.

    Answers take exp(N(0, sigma²)) seconds of work.  Yields (now, limit, seconds since the call began) of each answer.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable
    now, held, line, work = 0.0, 0, [], []
    while now < seconds:
        while held < min(gradient.limit, calls):
            held += 1
            line.append(now)
        while line and len(work) < capacity(now):
            work.append((now + math.exp(dice.gauss(0.0, sigma)), line.pop(0)))
        work.sort(reverse=True)
        now, started_at = work.pop()
        gradient.ended(started_at, now, held, dropped=False)
        held -= 1
        yield now, gradient.limit, now - started_at


def medians(answers, first, last):
    """Return the median limit and the median time of an answer between two moments."""
    seen = sorted((limit, took) for now, limit, took in answers if first <= now < last)
    return seen[len(seen) // 2][0], sorted(took for _, took in seen)[len(seen) // 2]


@pytest.mark.parametrize("capacity", [5, 10, 40, 100])
@pytest.mark.parametrize("seed", range(3))
def test_an_overload_is_held_near_the_capacity(capacity, seed):
    answers = list(upstream(Gradient(CEILING), lambda _now: capacity, seconds=600.0, seed=seed))
    limit, took = medians(answers, 200.0, 600.0)
    assert capacity <= limit <= 2 * capacity
    assert took <= 2.0
    served = sum(now >= 200.0 for now, _, _ in answers) / 400.0
    assert served >= 0.9 * capacity / math.exp(0.125)  # the mean of the work


@pytest.mark.parametrize("seed", range(3))
def test_it_follows_a_capacity_that_breaks_down_and_comes_back(seed):
    gradient = Gradient(CEILING)
    answers = list(upstream(gradient, lambda now: 8 if 400.0 <= now < 800.0 else 40, seconds=1200.0, seed=seed))
    limits = [medians(answers, first, first + 200.0)[0] for first in (200.0, 600.0, 1000.0)]
    assert 40 <= limits[0] <= 80
    assert 8 <= limits[1] <= 16
    assert 40 <= limits[2] <= 80
    assert medians(answers, 600.0, 800.0)[1] <= 2.0
