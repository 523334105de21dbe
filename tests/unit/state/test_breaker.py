"""The circuit breaker: its rules one by one, and held against a model over random histories."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncrouter.state.breaker import PROBE_RECHECK_S, Breaker
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(seed=0, **settings):
    return Breaker(BreakerSettings(**settings), random.Random(seed))  # noqa: S311 - repeatable


def fail(breaker, now=0.0, times=1):
    for _ in range(times):
        breaker.failed(breaker.admit(now), now)


def opened(now=0.0, **settings):
    breaker = make(failures=1, **settings)
    fail(breaker, now)
    return breaker


# ------------------------------------------------------------------ closed


def test_a_new_breaker_lets_calls_in():
    breaker = make()
    assert breaker.state is CLOSED
    assert breaker.ready_at < 0.0
    assert all(breaker.admit(now) is not None for now in (0.0, 0.0, 100.0))


def test_so_many_failures_in_a_row_open_it():
    breaker = make(failures=3)
    fail(breaker, times=2)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN
    assert breaker.admit(0.0) is None


def test_a_success_ends_the_row_and_a_neutral_end_does_not():
    breaker = make(failures=3)
    fail(breaker, times=2)
    breaker.released(breaker.admit(0.0), 0.0)
    assert breaker.state is CLOSED
    breaker.succeeded(breaker.admit(0.0), 0.0)
    fail(breaker, times=2)
    assert breaker.state is CLOSED
    breaker.released(breaker.admit(0.0), 0.0)
    fail(breaker)
    assert breaker.state is OPEN


def alternate(breaker, pairs, now=0.0):
    for _ in range(pairs):
        breaker.succeeded(breaker.admit(now), now)
        fail(breaker, now)


def test_too_large_a_share_of_failures_opens_it():
    breaker = make(failures=100, ratio=0.5, min_calls=20)
    alternate(breaker, 9)
    breaker.succeeded(breaker.admit(0.0), 0.0)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN


def test_a_share_under_the_ratio_does_not():
    breaker = make(failures=100, ratio=0.5, min_calls=20)
    for _ in range(100):
        alternate(breaker, 1)
        breaker.succeeded(breaker.admit(0.0), 0.0)
    assert breaker.state is CLOSED


def test_few_calls_say_nothing_about_the_share():
    breaker = make(failures=100, ratio=0.1, min_calls=20)
    fail(breaker, times=19)
    assert breaker.state is CLOSED
    fail(breaker)
    assert breaker.state is OPEN


def test_the_share_is_one_of_the_window():
    breaker = make(failures=100, ratio=0.5, min_calls=20, window_s=30.0)
    alternate(breaker, 9, now=0.0)
    alternate(breaker, 9, now=40.0)
    assert breaker.state is CLOSED
    alternate(breaker, 1, now=50.0)
    assert breaker.state is OPEN


# ------------------------------------------------------------------ open


def test_it_stays_open_for_half_its_bound_to_the_whole_of_it():
    waits = []
    for seed in range(500):
        breaker = opened(now=100.0, seed=seed, open_s=8.0)
        waits.append(breaker.ready_at - 100.0)
    assert min(waits) >= 4.0
    assert max(waits) <= 8.0
    assert min(waits) < 4.2
    assert max(waits) > 7.8
    assert sum(waits) / len(waits) == pytest.approx(6.0, abs=0.2)


def test_its_time_doubles_up_to_the_cap_and_begins_anew_after_a_success():
    breaker, now, bounds = opened(open_s=5.0, open_cap_s=20.0), 0.0, []
    for _ in range(6):
        bounds.append(breaker.ready_at - now)
        now = breaker.ready_at
        fail(breaker, now)
    for found, bound in zip(bounds, (5.0, 10.0, 20.0, 20.0, 20.0, 20.0), strict=True):
        assert bound / 2 <= found <= bound
    now = breaker.ready_at
    breaker.succeeded(breaker.admit(now), now)
    fail(breaker, now)
    assert 2.5 <= breaker.ready_at - now <= 5.0


def test_a_cap_under_the_time_is_a_cap():
    breaker = opened(open_s=50.0, open_cap_s=2.0)
    assert 1.0 <= breaker.ready_at <= 2.0


def test_a_thousand_openings_overflow_nothing():
    breaker = opened(open_s=5.0, open_cap_s=20.0)
    for _ in range(1100):
        fail(breaker, breaker.ready_at)
    assert breaker.state is OPEN


def test_calls_from_before_it_opened_change_nothing():
    breaker = make(failures=1)
    early = [breaker.admit(0.0) for _ in range(3)]
    fail(breaker)
    ready_at = breaker.ready_at
    breaker.succeeded(early[0], 1.0)
    breaker.failed(early[1], 1.0)
    breaker.released(early[2], 1.0)
    assert (breaker.state, breaker.ready_at) == (OPEN, ready_at)


# ------------------------------------------------------------------ half-open


def test_one_probe_at_a_time():
    breaker = opened()
    now = breaker.ready_at
    assert breaker.admit(now - 0.001) is None
    assert breaker.state is OPEN
    probe = breaker.admit(now)
    assert probe is not None
    assert breaker.state is HALF_OPEN
    assert breaker.admit(now) is None
    assert breaker.admit(now + 1000.0) is None


def test_while_a_probe_is_out_it_is_never_told_to_be_ready_for_long():
    """A slow probe: whoever looks in vain puts the next look off, so nobody takes a past moment for an open door."""
    breaker = opened()
    now = breaker.ready_at
    assert breaker.admit(now) is not None
    for _ in range(50):
        assert breaker.ready_at == now + PROBE_RECHECK_S
        now = breaker.ready_at
        assert breaker.admit(now) is None
        assert breaker.admit(now + 0.5) is None
        assert breaker.ready_at == now + PROBE_RECHECK_S


def test_a_probe_that_succeeds_closes_it():
    breaker = opened()
    now = breaker.ready_at
    breaker.succeeded(breaker.admit(now), now)
    assert breaker.state is CLOSED
    assert breaker.ready_at < 0.0
    assert breaker.admit(now) is not None


def test_a_probe_that_fails_opens_it_again():
    breaker = opened(open_s=5.0, open_cap_s=20.0)
    now = breaker.ready_at
    fail(breaker, now)
    assert breaker.state is OPEN
    assert 5.0 <= breaker.ready_at - now <= 10.0


def test_a_probe_given_back_lets_the_next_one_in_at_once():
    breaker = opened()
    now = breaker.ready_at
    first = breaker.admit(now)
    breaker.released(first, now + 0.25)
    assert (breaker.state, breaker.ready_at) == (HALF_OPEN, now + 0.25)
    second = breaker.admit(now + 0.25)
    assert second not in {None, first}


@pytest.mark.parametrize("again", ["succeeded", "failed", "released"])
def test_a_probe_is_handed_back_once(again):
    breaker = opened()
    now = breaker.ready_at
    first = breaker.admit(now)
    breaker.released(first, now)
    getattr(breaker, again)(first, now)
    assert breaker.state is HALF_OPEN
    second = breaker.admit(now)
    getattr(breaker, again)(first, now)
    assert breaker.admit(now) is None
    breaker.succeeded(second, now)
    assert breaker.state is CLOSED


def test_old_failures_are_forgotten_when_it_closes():
    breaker = make(failures=100, ratio=0.5, min_calls=4)
    alternate(breaker, 2)
    assert breaker.state is OPEN
    now = breaker.ready_at
    breaker.succeeded(breaker.admit(now), now)
    fail(breaker, now, times=3)
    assert breaker.state is CLOSED
    fail(breaker, now)
    assert breaker.state is OPEN


def test_a_thousand_probes_cancelled_do_not_wedge_it():
    breaker = opened()
    now = breaker.ready_at
    for _ in range(1000):
        breaker.released(breaker.admit(now), now)
        now += 0.01
    breaker.succeeded(breaker.admit(now), now)
    assert breaker.state is CLOSED


# ------------------------------------------------------------------ against a model


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, ends and time.  The model knows rows of failures only: ``min_calls`` is out of reach."""

    @initialize(
        failures=st.integers(1, 4), open_s=st.floats(0.5, 10.0), cap=st.floats(0.5, 40.0), seed=st.integers(0, 9)
    )
    def begin(self, failures, open_s, cap, seed):
        self.breaker = make(seed, failures=failures, open_s=open_s, open_cap_s=cap, min_calls=10**9)
        self.failures, self.open_s, self.cap = failures, open_s, cap
        self.now = 1000.0
        self.state, self.generation, self.row, self.openings = CLOSED, 0, 0, 0
        self.out = []  # permits, each with the generation it was let in, and whether it is a probe
        self.opened_at = None

    @property
    def probes(self):
        return [one for one in self.out if one[2]]

    @rule()
    def admit(self):
        ready_at = self.breaker.ready_at
        permit = self.breaker.admit(self.now)
        if self.state is CLOSED:
            assert permit is not None
            self.out.append((permit, self.generation, False))
        elif self.probes or self.now < ready_at:
            assert permit is None
            assert self.breaker.ready_at > self.now
        else:
            assert permit is not None
            self.state = HALF_OPEN
            self.out.append((permit, self.generation, True))

    @precondition(lambda self: self.out)
    @rule(place=st.integers(0, 99), end=st.sampled_from(["succeeded", "failed", "released"]))
    def hand_back(self, place, end):
        permit, generation, is_probe = self.out.pop(place % len(self.out))
        before = self.breaker.ready_at
        getattr(self.breaker, end)(permit, self.now)
        if generation != self.generation:
            assert self.breaker.ready_at == before
        elif end == "succeeded":
            self.row = 0
            if is_probe:
                self.move(CLOSED)
                self.openings = 0
        elif end == "released":
            assert self.breaker.ready_at == (self.now if is_probe else before)
        elif is_probe:
            self.open()
        else:
            self.row += 1
            if self.row >= self.failures:
                self.open()

    def open(self):
        bound = min(self.cap, self.open_s * 2**self.openings)
        assert bound / 2 <= self.breaker.ready_at - self.now + 1e-9
        assert self.breaker.ready_at - self.now <= bound + 1e-9
        self.openings += 1
        self.move(OPEN)

    def move(self, state):
        self.state, self.row = state, 0
        self.generation += 1

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.breaker.ready_at > self.now)
    @rule()
    def wait_until_ready(self):
        self.now = self.breaker.ready_at

    @invariant()
    def agrees_with_the_model(self):
        assert self.breaker.state is self.state
        assert len(self.probes) <= 1
        assert self.state is not CLOSED or self.breaker.ready_at < self.now

    def teardown(self):
        """Whatever happened: once every permit is back, it recovers with a single success."""
        while self.out:
            self.hand_back(0, "released")
        self.now = max(self.now, self.breaker.ready_at)
        self.admit()
        self.hand_back(0, "succeeded")
        assert self.breaker.state is CLOSED


TestAgainstTheModel = BreakerMachine.TestCase
