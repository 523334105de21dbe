"""The circuit breaker's rules: closed, open, half-open."""

from __future__ import annotations

import pytest
from breakers import CLOSED, HALF_OPEN, OPEN, fail, make, opened, probe

from asyncrouter.state.breaker import PROBE_RECHECK_S

# ------------------------------------------------------------------ closed


def test_a_new_breaker_lets_calls_in():
    breaker = make()
    assert breaker.state is CLOSED
    assert breaker.ready_at < 0.0
    assert all(breaker.admit(now) is not None for now in (0.0, 0.0, 100.0))


@pytest.mark.parametrize("failing_probes", [0, 1])
def test_what_a_call_tells_that_began_before_it_opened_and_closed_again_is_not_heard(failing_probes):
    """Its permit is no other's, however often the breaker has opened and closed since."""
    breaker = make(failures=1)
    old = []
    for _ in range(4):
        old.append(breaker.admit(0.0))
        fail(breaker, 0.0)
        for _ in range(failing_probes):
            probe(breaker, "failed")
        now = probe(breaker)
        for permit in old:
            breaker.failed(permit, now)
        assert breaker.state is CLOSED


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


def test_a_refused_key_opens_it_at_once_for_all_but_those_with_a_pass():
    breaker = make(failures=5)
    breaker.failed(breaker.admit(0.0), 0.0, refused=True)
    assert (breaker.state, breaker.passable, breaker.is_failing) == (OPEN, True, True)
    assert 2.5 <= breaker.ready_at <= 5.0
    assert breaker.admit(1.0) is None
    permit = breaker.admit(1.0, passed=True)
    breaker.failed(permit, 1.0, refused=True)  # who comes with a pass tells nothing new
    assert breaker.ready_at <= 5.0
    permit = breaker.admit(breaker.ready_at)
    breaker.succeeded(permit, 5.0)
    assert (breaker.state, breaker.passable) == (CLOSED, False)


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
