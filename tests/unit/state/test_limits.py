"""Buckets of requests and tokens per minute, at exact times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.limits import COOLDOWN_CAP_S, Bucket, RateLimits, wait_s
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.deployments import Limits


def test_a_bucket_is_full_at_first_and_refills_evenly():
    bucket = Bucket(60.0, now=100.0)
    assert bucket.ready_at(60.0, 100.0) == 100.0
    bucket.take(60.0, 100.0)
    assert bucket.ready_at(1.0, 100.0) == 101.0
    assert bucket.ready_at(30.0, 100.0) == 130.0
    assert bucket.ready_at(30.0, 115.0) == 130.0
    assert bucket.ready_at(15.0, 115.0) == 115.0


def test_a_bucket_holds_no_more_than_a_minutes_worth():
    bucket = Bucket(60.0, now=0.0)
    bucket.take(10.0, 3600.0)
    assert bucket.ready_at(50.0, 3600.0) == 3600.0
    assert bucket.ready_at(51.0, 3600.0) == 3601.0
    bucket.take(-1000.0, 3600.0)
    bucket.take(60.0, 3600.0)
    assert bucket.ready_at(1.0, 3600.0) == 3601.0


def test_what_was_taken_too_much_is_waited_for():
    bucket = Bucket(60.0, now=0.0)
    bucket.take(180.0, 0.0)
    assert bucket.ready_at(0.0, 0.0) == 120.0
    assert bucket.ready_at(1.0, 0.0) == 121.0


def test_more_than_fits_counts_as_a_full_bucket():
    bucket = Bucket(60.0, now=0.0)
    assert bucket.ready_at(1_000_000.0, 0.0) == 0.0
    bucket.take(1.0, 0.0)
    assert bucket.ready_at(1_000_000.0, 0.0) == 1.0


def test_a_clock_that_begins_anew_takes_nothing_away():
    bucket = Bucket(60.0, now=1e6)
    assert bucket.ready_at(60.0, 5.0) == 5.0
    bucket.take(60.0, 5.0)
    assert bucket.ready_at(1.0, 5.0) == 6.0


def test_a_turn_after_others_is_told_by_what_has_come_in_since():
    bucket = Bucket(60.0, now=0.0)
    bucket.take(60.0, 0.0)
    assert [bucket.turn_at(ahead, 0.0) for ahead in (0, 4)] == [1.0, 5.0]
    assert [bucket.turn_at(ahead, 3.0) for ahead in (0, 4)] == [3.0, 5.0]


def test_a_turn_comes_the_sooner_the_higher_the_rate():
    bucket = Bucket(120.0, now=0.0)
    bucket.take(120.0, 0.0)
    assert [bucket.turn_at(ahead, 0.0) for ahead in (0, 3)] == [0.5, 2.0]


def test_a_turn_needs_no_token_to_be_left_but_none_to_be_owed():
    limits = RateLimits(Limits(tpm=60), 0.0)
    limits.reserve(60, 0.0)
    assert limits.turn_at(0.0) == 0.0
    limits.reserve(1, 0.0)
    assert limits.turn_at(0.0) == 1.0


def test_less_than_one_a_minute_works():
    limits = RateLimits(Limits(rpm=0.5), 0.0)
    assert limits.ready_at(0, 0.0) == 0.0
    limits.reserve(0, 0.0)
    assert limits.ready_at(0, 0.0) == 120.0


@given(
    per_minute=st.floats(0.01, 1e6),
    now=st.floats(0.0, 1e9),
    taken=st.floats(0.0, 5.0),
    amount=st.floats(0.0, 1.5),
)
def test_at_the_told_moment_it_is_ready(per_minute, now, taken, amount):
    """Exactly then, whatever the rounding: who waited is not sent away again."""
    bucket = Bucket(per_minute, now)
    bucket.take(taken * per_minute, now)
    ready_at = bucket.ready_at(amount * per_minute, now)
    assert now <= ready_at <= now + 60.0 * (taken + amount) + 1.0
    assert bucket.ready_at(amount * per_minute, ready_at) == ready_at


def test_a_rounded_last_digit_does_not_send_away_again():
    bucket = Bucket(1.0, 10.1)
    bucket.take(17.0, 10.1)
    ready_at = bucket.ready_at(1.0, 10.1)
    assert ready_at == pytest.approx(1030.1)
    assert bucket.ready_at(1.0, ready_at) == ready_at


@given(rpm=st.integers(1, 600), gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=100))
def test_who_waits_as_told_keeps_the_rate(rpm, gaps):
    limits, now, starts = RateLimits(Limits(rpm=rpm), 0.0), 0.0, []
    for gap in gaps:
        now = limits.ready_at(0, now + gap)
        limits.reserve(0, now)
        starts.append(now)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= rpm * (1 + (starts[last] - starts[first]) / 60.0) + 1e-6


# ------------------------------------------------------------------ both limits of a deployment


def test_no_limit_costs_nothing():
    limits = RateLimits(Limits(), 0.0)
    for _ in range(1000):
        limits.reserve(1e9, 5.0)
    limits.settle(1e9, 0.0, 5.0)
    assert limits.ready_at(1e9, 5.0) == 5.0


def test_the_later_of_the_two_decides():
    limits = RateLimits(Limits(rpm=6, tpm=600), 0.0)
    limits.reserve(600, 0.0)
    assert limits.ready_at(0, 0.0) == 0.0
    assert limits.ready_at(100, 0.0) == 10.0
    for _ in range(5):
        limits.reserve(0, 0.0)
    assert limits.ready_at(0, 0.0) == 10.0
    assert limits.ready_at(50, 0.0) == 10.0
    assert limits.ready_at(200, 0.0) == 20.0


def test_a_reservation_is_settled_to_what_was_used():
    limits = RateLimits(Limits(tpm=600), 0.0)
    limits.reserve(100, 0.0)
    limits.settle(100, 400, 0.0)
    assert limits.ready_at(600, 0.0) == 40.0
    limits.settle(400, 400, 0.0)
    assert limits.ready_at(600, 0.0) == 40.0


def test_a_failure_gives_its_tokens_back_but_not_its_request():
    limits = RateLimits(Limits(rpm=1, tpm=600), 0.0)
    limits.reserve(600, 0.0)
    limits.settle(600, 0, 0.0)
    assert limits.ready_at(600, 0.0) == 60.0
    assert RateLimits(Limits(tpm=600), 0.0).ready_at(600, 0.0) == 0.0


def test_requests_alone_settle_nothing():
    limits = RateLimits(Limits(rpm=1), 0.0)
    limits.reserve(600, 0.0)
    limits.settle(600, 0, 0.0)
    assert limits.ready_at(600, 0.0) == 60.0


# ------------------------------------------------------------------ what the upstream says


def left(requests=None, tokens=None):
    return Allowances(requests=requests, tokens=tokens)


def test_a_request_that_was_never_sent_is_handed_back():
    limits = RateLimits(Limits(rpm=1, tpm=600), 0.0)
    limits.reserve(600, 0.0)
    limits.hand_back(0.0)
    assert limits.ready_at(0, 0.0) == 0.0
    limits.hand_back(0.0)
    limits.reserve(0, 0.0)
    assert limits.ready_at(0, 0.0) == 60.0
    RateLimits(Limits(), 0.0).hand_back(0.0)


def test_one_request_is_handed_back_and_no_more():
    limits = RateLimits(Limits(rpm=2), 0.0)
    for _ in range(2):
        limits.reserve(0, 0.0)
    limits.hand_back(0.0)
    limits.reserve(0, 0.0)
    assert limits.ready_at(0, 0.0) == 30.0


def test_what_is_left_lowers_the_level_and_never_raises_it():
    limits = RateLimits(Limits(rpm=60, tpm=600), 0.0)
    limits.heed(left(Allowance(3), Allowance(100)), 0.0)
    assert limits.ready_at(200, 0.0) == 10.0
    for _ in range(3):
        limits.reserve(0, 0.0)
    assert limits.ready_at(0, 0.0) == 1.0
    limits.heed(left(Allowance(60), Allowance(600)), 0.0)
    assert limits.ready_at(0, 0.0) == 1.0
    assert limits.ready_at(200, 0.0) == 10.0
    limits.heed(left(), 0.0)
    RateLimits(Limits(), 0.0).heed(left(Allowance(0), Allowance(0)), 0.0)


def test_a_level_that_was_lowered_refills_at_the_configured_rate():
    limits = RateLimits(Limits(rpm=60), 0.0)
    limits.heed(left(Allowance(0)), 100.0)
    assert limits.ready_at(0, 100.0) == 101.0
    assert limits.ready_at(0, 101.0) == 101.0


def test_a_closed_limit_opens_at_the_latest_moment_told():
    limits = RateLimits(Limits(), 0.0)
    limits.close_until(20.0)
    limits.close_until(10.0)
    assert limits.ready_at(0, 5.0) == 20.0
    assert limits.ready_at(0, 30.0) == 30.0


def test_the_wait_is_the_longer_of_both_and_no_longer_than_a_cooldown():
    assert wait_s(left(), 100) == 0.0
    assert wait_s(left(Allowance(0, 30.0, 60)), 100) == 0.5
    assert wait_s(left(Allowance(0, 30.0, 60), Allowance(0, 60.0, 600)), 100) == 10.0
    assert wait_s(left(tokens=Allowance(0, 60.0, 600)), 0) == 0.1
    assert wait_s(left(Allowance(0, 86_400.0)), 100) == COOLDOWN_CAP_S == 300.0


@given(
    remaining=st.floats(0, 1e12), reset_s=st.floats(0, 86_400) | st.none(), limit=st.floats(0, 1e12) | st.none(),
    tokens=st.floats(0, 1e9),
)  # fmt: skip
def test_no_allowance_closes_a_deployment_for_longer_than_a_cooldown(remaining, reset_s, limit, tokens):
    allowance = Allowance(remaining, reset_s, limit)
    assert 0.0 <= wait_s(left(allowance, allowance), tokens) <= COOLDOWN_CAP_S


# ------------------------------------------------------------------ the line


def test_a_turn_comes_after_those_in_line():
    limits = RateLimits(Limits(rpm=60), 0.0)
    assert limits.turn_at(0.0) == 0.0
    for _ in range(60):
        limits.reserve(0, 0.0)
    assert [limits.turn_at(0.0), limits.turn_at(0.5), limits.turn_at(9.0)] == [1.0, 1.0, 9.0]
    for _ in range(70):
        limits.line.join(0.0, lambda: None)
    assert limits.turn_at(0.0) == 71.0 - 9.0
    assert RateLimits(Limits(tpm=60), 0.0).turn_at(5.0) == 5.0
    limits.close_until(300.0)
    assert limits.turn_at(0.0) == 300.0


def test_who_leaves_calls_who_is_first_then():
    limits, called = RateLimits(Limits(rpm=1, tpm=60), 0.0), []
    turns = [limits.line.join(came_at, lambda came_at=came_at: called.append(came_at)) for came_at in (3.0, 1.0, 2.0)]
    assert limits.line.first is turns[1]
    limits.leave(turns[1])
    assert (called, len(limits.line)) == ([2.0], 2)
    limits.leave(turns[0])
    limits.leave(turns[2])
    assert (called, limits.line.first) == ([2.0, 2.0], None)


def test_what_is_given_back_calls_the_first():
    limits, called = RateLimits(Limits(rpm=1, tpm=60), 0.0), []
    limits.reserve(60, 0.0)
    limits.line.join(0.0, lambda: called.append("called"))
    limits.settle(60, 60, 0.0)
    assert called == []
    limits.settle(60, 0, 0.0)
    limits.hand_back(0.0)
    assert called == ["called"] * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda limits: limits.reserve(10, 0.0),
        lambda limits: limits.settle(10, 20, 0.0),
        lambda limits: limits.hand_back(0.0),
        lambda limits: limits.heed(Allowances(), 0.0),
        lambda limits: limits.close_until(5.0),
    ],
    ids=["reserve", "settle", "hand back", "heed", "close"],
)
def test_whatever_may_move_the_next_is_told(change):
    moved = []
    change(RateLimits(Limits(rpm=10, tpm=1000), 0.0, lambda: moved.append(1)))
    assert moved == [1]
