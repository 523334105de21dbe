"""The circuit breaker once it has opened: forced probes, other settings, calls that come back by turns or by chance."""

from __future__ import annotations

import pytest
from breakers import CLOSED, HALF_OPEN, OPEN, fail, make, opened, probe

from asyncrouter.state.breaker import ALWAYS, FLAKY, PROBE_RECHECK_S, SILENT
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import BreakerState

# ------------------------------------------------------------------ forced probes


def test_a_pass_forces_a_probe_once_it_has_rested():
    breaker = opened(open_s=8.0)
    assert (breaker.is_open, breaker.forcible_at) == (True, 4.0)
    assert not breaker.may_be_forced(3.999)
    assert breaker.admit(3.999, passed=True) is None
    assert breaker.admit(4.0) is None
    assert breaker.may_be_forced(4.0)
    permit = breaker.admit(4.0, passed=True)
    assert (breaker.state, breaker.is_probing) == (HALF_OPEN, True)
    assert not breaker.may_be_forced(100.0)
    assert breaker.admit(100.0, passed=True) is None
    breaker.succeeded(permit, 4.5)
    assert breaker.state is CLOSED
    assert not breaker.is_open
    assert not breaker.may_be_forced(100.0)


def test_a_forced_probe_never_shortens_the_time_that_was_left():
    breaker = opened(open_s=2.0, open_cap_s=64.0)
    for _ in range(5):
        probe(breaker, "failed")
    until, now = breaker.ready_at, breaker.opened_at + 1.0
    assert until - now > 20.0
    released = breaker.admit(now, passed=True)
    assert breaker.ready_at == until
    breaker.released(released, now)
    assert (breaker.state, breaker.ready_at) == (HALF_OPEN, until)
    assert breaker.admit(now) is None
    breaker.failed(breaker.admit(now, passed=True), now)
    assert breaker.ready_at >= until
    assert breaker.opened_at == now


def test_a_breaker_that_opens_again_for_less_keeps_the_longer_time():
    breaker = make(failures=1, open_s=40.0, open_cap_s=40.0)
    fail(breaker)
    until = breaker.ready_at
    assert until > 21.0  # later than any time drawn below
    breaker.adopt(BreakerSettings(failures=1, open_s=1.0, open_cap_s=1.0))
    breaker.failed(breaker.admit(20.0, passed=True), 20.0)
    assert breaker.ready_at == until


def test_other_settings_are_held_against_what_comes_after():
    breaker = make(failures=1000, min_calls=4, ratio=0.5, window_s=30.0)
    fail(breaker, 0.0, times=3)
    breaker.adopt(BreakerSettings(failures=1000, min_calls=4, ratio=0.5, window_s=60.0, slow_s=1.0, slow_ratio=0.5))
    fail(breaker, 0.0, times=3)
    assert breaker.state is CLOSED, "what came before was counted in another window"
    fail(breaker, 0.0)
    assert breaker.state is OPEN


def test_other_settings_are_held_against_how_long_answers_take():
    breaker = make(min_calls=2)
    breaker.adopt(BreakerSettings(min_calls=2, slow_s=1.0, slow_ratio=0.5))
    for _ in range(2):
        permit = breaker.admit(0.0)
        breaker.succeeded(permit, 0.0)
        breaker.took(permit, 9.0, 0.0)
    assert (breaker.state, breaker.passable) == (OPEN, True)


def test_the_same_settings_forget_nothing():
    breaker = make(failures=1000, min_calls=4, ratio=0.5)
    fail(breaker, 0.0, times=3)
    breaker.adopt(breaker.settings)
    fail(breaker, 0.0)
    assert breaker.state is OPEN


def test_without_anybody_who_counts_the_requests_a_ramp_lets_in_five_a_second():
    breaker = make(failures=1, ramp_s=10.0)
    fail(breaker)
    now = probe(breaker)
    turns = [breaker.take_turn(now) - now for _ in range(25)]
    assert turns[:5] == [0.0] * 5
    assert turns[-1] == pytest.approx(19 / 5.0, rel=0.15)


# ------------------------------------------------------------------ what is known, and what comes back


def test_it_has_answered_lately_until_a_failure_or_the_window_is_over():
    breaker = make(window_s=30.0)
    assert not breaker.has_answered_lately(0.0)
    breaker.succeeded(breaker.admit(0.0), 0.0)
    assert breaker.has_answered_lately(30.0)
    assert not breaker.has_answered_lately(30.1)
    fail(breaker, 1.0)
    assert not breaker.has_answered_lately(1.0)
    breaker.succeeded(breaker.admit(2.0), 2.0)
    assert breaker.has_answered_lately(2.0)


def test_the_end_of_a_probe_is_news_unless_it_failed():
    breaker = opened()
    assert not breaker.may_be_news
    permit = breaker.admit(breaker.ready_at)
    assert not breaker.may_be_news
    breaker.released(permit, 5.0)
    assert breaker.may_be_news
    probe(breaker)
    assert breaker.may_be_news


def test_calls_come_back_by_turns():
    breaker = make(failures=1, ramp_s=10.0)
    fail(breaker)
    now = probe(breaker)
    assert breaker.is_ramping
    for _ in range(5):
        assert breaker.ready_at == ALWAYS
        assert breaker.admit(now) is not None
    assert breaker.admit(now) is not None  # the first turn is now, the next one later
    assert breaker.ready_at > now
    turns = [breaker.take_turn(now) for _ in range(3)]
    assert now < turns[0] < turns[1] < turns[2] < breaker.ready_at
    assert breaker.admit(turns[0], passed=True) is not None  # whose turn it is takes no other
    after = breaker.ready_at
    assert breaker.admit(turns[1], passed=True) is not None
    assert breaker.ready_at == after


def test_once_its_time_is_over_and_nobody_waits_all_calls_pass():
    breaker = make(failures=1, ramp_s=10.0)
    fail(breaker)
    now = probe(breaker)
    for _ in range(20):
        breaker.take_turn(now + 9.9)
    assert breaker.take_turn(now + 10.0) > now + 10.0  # somebody waits
    assert breaker.is_ramping
    now = breaker.ready_at
    assert breaker.take_turn(now) == now
    assert (breaker.is_ramping, breaker.ready_at) == (False, ALWAYS)
    assert breaker.take_turn(now) == now


def test_without_a_ramp_all_calls_are_back_at_once():
    breaker = make(failures=1, ramp_s=0.0)
    fail(breaker)
    now = probe(breaker)
    assert not breaker.is_ramping
    assert all(breaker.admit(now) is not None for _ in range(1000))
    assert breaker.ready_at == ALWAYS


def test_a_breaker_that_began_again_hears_neither_old_calls_nor_silent_ones():
    breaker = make(failures=1)
    old = [breaker.admit(0.0)]
    for _ in range(3):
        breaker.renew(0.0)
        for permit in (*old, SILENT):
            breaker.failed(permit, 0.0)
        assert breaker.state is CLOSED
        old.append(breaker.admit(0.0))


def test_it_may_open_while_calls_come_back():
    breaker = make(failures=1, ramp_s=10.0)
    fail(breaker)
    now = probe(breaker)
    fail(breaker, now)
    assert (breaker.state, breaker.is_ramping) == (OPEN, False)
    assert breaker.ready_at > now


def test_another_upstream_begins_without_a_past():
    breaker = make(failures=1)
    fail(breaker)
    breaker.renew(1.0)
    assert (breaker.state, breaker.is_ramping, breaker.ready_at) == (CLOSED, False, ALWAYS)
    assert not breaker.has_answered_lately(1.0)


# ------------------------------------------------------------------ flaky


def flaky_breaker(good, bad, *, now=10.0):
    """Return a breaker that is open after so many successes and failures."""
    breaker = make(failures=3)
    for _ in range(good):
        breaker.succeeded(breaker.admit(now), now)
    for _ in range(bad):
        breaker.failed(breaker.admit(now), now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_the_chance_of_a_flaky_upstream_is_googles_throttle():
    assert flaky_breaker(good=9, bad=3).chance(10.0) == 1.0
    assert flaky_breaker(good=1, bad=3).chance(10.0) == pytest.approx(1 - (4 - 2) / 5)
    assert flaky_breaker(good=0, bad=3).chance(10.0) == 0.0


def test_who_has_not_answered_for_open_s_has_no_chance():
    breaker = flaky_breaker(good=9, bad=3)
    assert breaker.chance(15.0) == 1.0
    assert breaker.chance(15.1) == 0.0


def test_a_call_let_through_by_chance_counts_and_changes_no_state():
    breaker = flaky_breaker(good=2, bad=3)
    permit = breaker.admit(11.0, passed=True)
    assert permit is not None
    before = breaker.ready_at
    breaker.succeeded(permit, 12.0)
    assert (breaker.state, breaker.ready_at, breaker.answered_at) == (BreakerState.OPEN, before, 12.0)
    better = breaker.chance(12.0)
    for _ in range(5):
        breaker.failed(permit, 12.0)
    assert 0.0 < breaker.chance(12.0) < better
    assert breaker.state is BreakerState.OPEN
    breaker.released(permit, 12.0)
    assert breaker.ready_at == before
    assert breaker.admit(12.0) is None


def test_a_probe_that_fails_opens_it_however_it_had_opened():
    """For its ratio, say, with hardly a failure in a row."""
    breaker = make(failures=1000, min_calls=4, ratio=0.5, window_s=1.0)
    for _ in range(2):
        breaker.succeeded(breaker.admit(0.0), 0.0)
        fail(breaker, 0.0)
    assert breaker.state is OPEN
    probe(breaker, "failed", 100.0)
    assert breaker.state is OPEN
    assert breaker.ready_at > 100.0 + PROBE_RECHECK_S


@pytest.mark.parametrize(("end", "good", "bad"), [("succeeded", 2, 3), ("failed", 1, 4)])
def test_a_call_let_through_by_chance_counts_as_one(end, good, bad):
    breaker = flaky_breaker(good=1, bad=3)
    getattr(breaker, end)(FLAKY, 10.0)
    assert breaker.chance(10.0) == pytest.approx(1 - (good + bad - 2 * good) / (good + bad + 1))


def test_a_breaker_that_lets_calls_back_by_turns_has_no_chance_to_give():
    breaker = make(failures=1, ramp_s=10.0)
    fail(breaker)
    now = probe(breaker)
    assert breaker.is_ramping
    assert breaker.chance(now) == 0.0


def test_one_that_goes_on_failing_is_down_and_no_longer_flaky():
    breaker = flaky_breaker(good=99, bad=3)
    permit = breaker.admit(10.0, passed=True)
    for _ in range(2):
        breaker.failed(permit, 10.0)
        assert breaker.chance(10.0) == 1.0
    breaker.failed(permit, 10.0)
    assert breaker.chance(10.0) == 0.0
    breaker.succeeded(permit, 10.0)
    assert breaker.chance(10.0) == 1.0
