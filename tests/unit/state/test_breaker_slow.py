"""The circuit breaker and answers that are slow, or are awaited for too long."""

from __future__ import annotations

import pytest
from breakers import CLOSED, HALF_OPEN, OPEN, fail, make, opened, probe

from asyncrouter.state.breaker import SILENT
from asyncrouter.types.deployments import BreakerSettings


def slow(breaker, times, now=0.0, latency_s=9.0):
    for _ in range(times):
        permit = breaker.admit(now)
        breaker.took(permit, latency_s, now)
        breaker.succeeded(permit, now)


def test_so_many_slow_answers_in_a_row_open_it():
    breaker = make(slow_s=3.0, failures=5)
    slow(breaker, 4)
    slow(breaker, 1, latency_s=1.0)
    slow(breaker, 4)
    fail(breaker)  # tells nothing of the speed
    assert breaker.state is CLOSED
    slow(breaker, 1)
    assert (breaker.state, breaker.passable) == (OPEN, True)


def test_too_large_a_share_of_slow_answers_opens_it():
    breaker = make(slow_s=3.0, slow_ratio=0.5, min_calls=20)
    for _ in range(9):
        slow(breaker, 1, latency_s=1.0)
        slow(breaker, 1)
    slow(breaker, 1, latency_s=1.0)
    assert breaker.state is CLOSED
    slow(breaker, 1)
    assert (breaker.state, breaker.passable) == (OPEN, True)
    assert 2.5 <= breaker.ready_at <= 5.0


def test_an_answer_in_just_the_time_allowed_is_not_slow():
    breaker = make(slow_s=3.0, min_calls=1)
    slow(breaker, 50, latency_s=3.0)
    assert breaker.state is CLOSED
    slow(breaker, 50, latency_s=3.001)
    assert breaker.state is OPEN


def test_what_is_awaited_for_too_long_is_slow_before_it_ends():
    breaker = make(slow_s=3.0, failures=5)
    for call in range(6):
        breaker.awaits(call, breaker.admit(0.0), 0.1 * call)
    assert breaker.forgets(5)  # it has answered
    breaker.look(3.0)
    assert breaker.forgets(4)
    breaker.awaits(4, breaker.admit(0.4), 0.4)
    breaker.look(3.35)
    assert breaker.state is CLOSED  # four of them, and the fifth in a tenth of a second
    assert not breaker.forgets(0), "it has been counted"
    breaker.look(3.45)
    assert (breaker.state, breaker.passable) == (OPEN, True)


def test_a_probe_that_is_awaited_for_too_long_has_failed():
    breaker = make(slow_s=3.0, failures=1)
    slow(breaker, 1)
    now = breaker.ready_at
    breaker.awaits("probe", breaker.admit(now), now)
    breaker.look(now + 3.0)
    assert breaker.is_probing
    breaker.look(now + 3.1)
    assert (breaker.state, breaker.is_probing) == (OPEN, False)


def test_without_a_bound_nothing_is_too_slow():
    breaker = make(slow_s=3.0, failures=1)
    breaker.awaits("call", breaker.admit(0.0), 0.0)
    breaker.adopt(BreakerSettings())
    breaker.look(1.0)
    assert breaker.state is CLOSED
    assert not breaker.forgets("call")


def test_what_was_heard_of_it_is_known_for_its_window():
    breaker = make(window_s=30.0)
    assert breaker.is_unknown(0.0)
    breaker.released(breaker.admit(0.0), 0.0)
    assert not breaker.is_unknown(30.0)
    assert breaker.is_unknown(30.1)
    assert not breaker.has_answered_lately(30.0)
    breaker.spoke_at = 40.0
    assert breaker.has_answered_lately(70.0)
    assert not breaker.is_unknown(70.0)
    fail(breaker, 41.0)
    assert not breaker.has_answered_lately(41.0)


def test_it_is_back_while_it_ramps_and_answers():
    breaker = opened(ramp_s=10.0, open_s=5.0)
    assert not breaker.is_back(5.0)
    closed_at = probe(breaker)
    assert breaker.is_back(closed_at)
    assert not breaker.is_back(closed_at + 10.0)
    breaker.settings = BreakerSettings(failures=5)
    fail(breaker, closed_at + 1.0)
    assert breaker.state is CLOSED
    assert not breaker.is_back(closed_at + 1.0)


def test_the_share_of_slow_answers_is_one_of_the_window():
    breaker = make(slow_s=3.0, window_s=30.0, failures=1000)
    slow(breaker, 100, now=0.0, latency_s=1.0)
    slow(breaker, 30, now=20.0)
    assert breaker.state is CLOSED
    slow(breaker, 1, now=40.0)
    assert breaker.state is OPEN


def test_without_a_bound_no_answer_is_slow():
    breaker = make()
    slow(breaker, 100, latency_s=1e6)
    assert breaker.state is CLOSED


def test_slow_answers_and_failures_are_counted_apart():
    breaker = make(slow_s=3.0, failures=10, min_calls=20)
    slow(breaker, 9)
    fail(breaker, times=8)
    assert breaker.state is CLOSED


def test_a_slow_probe_opens_it_again_and_a_quick_one_closes_it():
    breaker = make(slow_s=3.0, min_calls=1, open_s=5.0)
    slow(breaker, 1)
    now = breaker.ready_at
    permit = breaker.admit(now)
    breaker.took(permit, 9.0, now)
    assert (breaker.state, breaker.passable) == (OPEN, True)
    assert 5.0 <= breaker.ready_at - now <= 10.0
    breaker.succeeded(permit, now + 1.0)
    assert breaker.state is OPEN
    now = breaker.ready_at
    permit = breaker.admit(now)
    breaker.took(permit, 1.0, now)
    assert breaker.state is HALF_OPEN
    breaker.succeeded(permit, now)
    assert (breaker.state, breaker.passable) == (CLOSED, False)
    slow(breaker, 1, now=now, latency_s=1.0)
    assert breaker.state is CLOSED  # what was slow before is forgotten


def test_how_long_an_old_call_took_changes_nothing():
    breaker = make(slow_s=3.0, min_calls=1)
    early = breaker.admit(0.0)
    slow(breaker, 1)
    before = breaker.ready_at
    breaker.took(early, 9.0, 1.0)
    assert breaker.ready_at == before


def test_where_nothing_else_is_left_what_is_only_slow_lets_calls_pass():
    breaker = make(slow_s=3.0, min_calls=1)
    slow(breaker, 1)
    assert breaker.admit(0.0) is None
    permits = [breaker.admit(0.0, passed=True) for _ in range(3)]
    assert permits == [SILENT] * 3
    for end, permit in zip(("succeeded", "failed", "released"), permits, strict=True):
        before = breaker.ready_at
        getattr(breaker, end)(permit, 1.0)
        breaker.took(permit, 99.0, 1.0)
        assert (breaker.state, breaker.ready_at) == (OPEN, before)
    now = breaker.ready_at
    fail(breaker, now)
    assert not breaker.passable
    assert breaker.admit(now, passed=True) is None


@pytest.mark.parametrize("end", ["succeeded", "failed", "released"])
def test_however_a_call_ends_something_has_been_heard(end):
    breaker = make(window_s=30.0)
    getattr(breaker, end)(breaker.admit(0.0), 50.0)
    assert not breaker.is_unknown(80.0)
    assert breaker.is_unknown(80.1)
