"""The circuit breaker: its rules one by one, and held against a model over random histories."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncrouter.state.breaker import ALWAYS, FLAKY, PROBE_RECHECK_S, SILENT, Breaker
from asyncrouter.types.deployments import BreakerSettings
from asyncrouter.types.metrics import BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(seed=0, **settings):
    return Breaker(BreakerSettings(**settings), random.Random(seed))  # noqa: S311 - repeatable


def probe(breaker, end="succeeded", now=None):
    """Send a probe as soon as one may go; return when that was."""
    now = breaker.ready_at if now is None else now
    getattr(breaker, end)(breaker.admit(now), now)
    return now


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


# ------------------------------------------------------------------ slow answers


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


# ------------------------------------------------------------------ forced probes


def test_a_pass_forces_a_probe_once_it_has_rested():
    breaker = opened(open_s=8.0)
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


# ------------------------------------------------------------------ against a model


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, ends, passes and time.

    The model knows rows only, of failures and of slow answers: ``min_calls`` is out of reach.
    """

    @initialize(
        failures=st.integers(1, 4),
        open_s=st.floats(0.5, 10.0),
        cap=st.floats(0.5, 40.0),
        ramp_s=st.sampled_from([0.0, 3.0]),
        seed=st.integers(0, 9),
    )
    def begin(self, failures, open_s, cap, ramp_s, seed):
        settings = {"failures": failures, "open_s": open_s, "open_cap_s": cap, "ramp_s": ramp_s}
        self.breaker = make(seed, slow_s=3.0, min_calls=10**9, **settings)
        self.failures, self.open_s, self.cap = failures, open_s, cap
        self.now = 1000.0
        self.state, self.generation, self.row, self.slow_row, self.openings = CLOSED, 0, 0, 0, 0
        self.out = []  # permits, each with the generation it was let in, and whether it is a probe
        self.until = self.opened_at = ALWAYS
        self.slow = False

    @property
    def probes(self):
        return [one for one in self.out if one[2]]

    @rule(passed=st.booleans())
    def admit(self, passed):
        ready_at = self.breaker.ready_at
        permit = self.breaker.admit(self.now, passed=passed)
        rested = self.now >= self.opened_at + self.open_s / 2
        if self.state is CLOSED:
            assert permit is not None
            self.out.append((permit, self.generation, False))
        elif passed and self.slow:
            assert permit == SILENT
            self.out.append((permit, ALWAYS, False))
        elif passed and (self.probes or not rested) and self.breaker.chance(self.now) > 0.0:
            assert permit == FLAKY
            self.out.append((permit, ALWAYS, False))
        elif self.probes or not (rested if passed else self.now >= ready_at):
            assert permit is None
        else:
            assert permit is not None
            self.state = HALF_OPEN
            self.out.append((permit, self.generation, True))
        if permit is None:
            assert self.breaker.ready_at >= ready_at

    @precondition(lambda self: self.out)
    @rule(place=st.integers(0, 99), end=st.sampled_from(["succeeded", "failed", "released", "slowly"]))
    def hand_back(self, place, end):
        permit, generation, is_probe = self.out.pop(place % len(self.out))
        before = self.breaker.ready_at
        if end == "slowly":
            self.breaker.took(permit, 9.0, self.now)
            self.breaker.succeeded(permit, self.now)
        else:
            getattr(self.breaker, end)(permit, self.now)
        if generation != self.generation:
            assert self.breaker.ready_at == before
        elif end == "slowly" and (is_probe or self.slow_row + 1 >= self.failures):
            self.open(slow=True)
        elif end in {"succeeded", "slowly"}:
            self.row = 0
            self.slow_row += end == "slowly"
            if is_probe:
                self.move(CLOSED)
                self.openings, self.until, self.slow, self.slow_row = 0, ALWAYS, False, 0
        elif end == "released":
            assert self.breaker.ready_at == (max(self.now, self.until) if is_probe else before)
        elif is_probe:
            self.open()
        else:
            self.row += 1
            if self.row >= self.failures:
                self.open()

    def open(self, *, slow=False):
        bound = min(self.cap, self.open_s * 2**self.openings)
        least, most = (max(self.until, self.now + seconds) for seconds in (bound / 2, bound))
        assert least - 1e-9 <= self.breaker.ready_at <= most + 1e-9
        assert self.breaker.ready_at >= self.until  # never shortened
        self.until, self.opened_at, self.slow = self.breaker.ready_at, self.now, slow
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
        assert self.breaker.passable is self.slow
        assert len(self.probes) <= 1
        assert self.breaker.is_probing is bool(self.probes)

    def teardown(self):
        """Whatever happened: once every permit is back, it recovers with a single success."""
        while self.out:
            self.hand_back(0, "released")
        self.now = max(self.now, self.breaker.ready_at)
        self.admit(passed=False)
        self.hand_back(0, "succeeded")
        assert self.breaker.state is CLOSED


TestAgainstTheModel = BreakerMachine.TestCase


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
