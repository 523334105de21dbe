"""The shared retry budget: a share of the first attempts, a floor of those under way, and a time to live."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.budgets import TTL_S, RetryBudget


def withdraw(budget, now):
    """Do what an extra attempt does: ask, and count it where it is allowed."""
    allowed = budget.allows(now)
    if allowed:
        budget.draw(now)
    return allowed


def granted(budget, now, most=100_000):
    """Withdraw until it refuses; return how many were allowed."""
    count = 0
    while count < most and withdraw(budget, now):
        count += 1
    return count


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.29, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("firsts", [0, 1, 4, 5, 99, 100, 10_000])
def test_the_share_allows_n_times_p(share, firsts):
    budget = RetryBudget(share, floor=0)
    for _ in range(firsts):
        budget.first_attempt(50.0)
    assert granted(budget, 50.0) == pytest.approx(math.floor(share * firsts), abs=1)
    assert not budget.allows(50.0)


@pytest.mark.parametrize("floor", [0, 1, 3])
def test_the_floor_bounds_how_many_run_at_once_beyond_the_share(floor):
    budget = RetryBudget(0.2, floor)
    assert granted(budget, 0.0) == floor
    if floor:
        budget.hand_back()
        assert granted(budget, 0.0) == 1
        assert not withdraw(budget, 0.0)


def test_the_share_counts_beside_the_floor():
    budget = RetryBudget(0.2, floor=3)
    for _ in range(100):
        budget.first_attempt(0.0)
    assert granted(budget, 0.0) == 20
    for _ in range(20):
        budget.hand_back()
    assert granted(budget, 0.0) == 3  # the share is spent for the next seconds, the floor is there for the quiet ones


def test_a_first_attempt_counts_for_its_time_to_live():
    budget = RetryBudget(1.0, floor=0)
    budget.first_attempt(100.0)
    assert budget.allows(100.0 + TTL_S)
    assert not budget.allows(100.0 + TTL_S * 1.11)


def test_what_was_withdrawn_is_forgotten_too():
    budget = RetryBudget(1.0, floor=0)
    budget.first_attempt(0.0)
    assert withdraw(budget, 0.0)
    assert not withdraw(budget, 9.0)
    budget.first_attempt(20.0)
    assert withdraw(budget, 20.0)


def test_a_refusal_takes_nothing():
    budget = RetryBudget(0.5, floor=0)
    budget.first_attempt(0.0)
    assert not any(withdraw(budget, 0.0) for _ in range(10))
    budget.first_attempt(0.0)
    assert withdraw(budget, 0.0)


def test_asking_takes_nothing():
    budget = RetryBudget(0.2, floor=1)
    assert all(budget.allows(0.0) for _ in range(10))
    assert withdraw(budget, 0.0)


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["first", "first", "withdraw", "hand back"]), st.floats(0.0, 3.0)), max_size=300
)


@given(share=st.floats(0.0, 1.0), floor=st.integers(0, 3), operations=OPERATIONS)
def test_never_more_than_the_share_of_all_first_attempts_but_for_the_floor(share, floor, operations):
    """A storm of any shape: the share holds over the whole run, and the floor's bounds at every moment."""
    budget, now, running = RetryBudget(share, floor), 1000.0, 0
    firsts, extra, beyond_the_floor = [], [], 0

    def in_the_last(seconds, moments):
        return sum(moment > now - seconds for moment in moments)

    for operation, step_s in operations:
        now += step_s
        if operation == "first":
            budget.first_attempt(now)
            firsts.append(now)
        elif operation == "hand back":
            if running:
                budget.hand_back()
                running -= 1
        elif withdraw(budget, now):
            beyond_the_floor += running >= floor
            running += 1
            extra.append(now)
            assert in_the_last(TTL_S, extra) <= max(share * in_the_last(TTL_S * 1.11, firsts), floor * TTL_S)
        assert beyond_the_floor <= share * len(firsts)


@pytest.mark.parametrize("rate", [1, 10, 100, 1000])
def test_attempts_that_fail_at_once_do_not_slip_under_the_floor(rate):
    """Nothing is ever under way here; every request would like to be retried five times."""
    budget, attempts = RetryBudget(0.2, floor=3), 0
    for number in range(20 * rate):
        now = number / rate
        budget.first_attempt(now)
        attempts += 1
        for _ in range(5):
            if withdraw(budget, now):
                budget.hand_back()
                attempts += 1
    assert attempts <= 20 * (rate + max(0.2 * rate * 1.1, 3 * 1.5))
    assert attempts >= 20 * (rate + min(5 * rate, max(0.2 * rate * 0.9, 3 * 0.9)))


def test_an_attempt_may_be_counted_that_is_not_allowed_and_keeps_others_back():
    budget = RetryBudget(0.2, floor=1)
    for _ in range(3):
        budget.draw(0.0)
    assert budget.under_way == 3
    for _ in range(2):
        budget.hand_back()
    assert not budget.allows(0.0)
    budget.hand_back()
    assert budget.under_way == 0
    assert budget.allows(0.0)


def test_the_demand_is_that_of_the_last_seconds():
    budget = RetryBudget(0.2, floor=3)
    assert budget.demand(0.0) == 0.0
    for _ in range(50):
        budget.first_attempt(1.0)
    budget.draw(1.0)
    assert budget.demand(2.0) == 50 / TTL_S
    assert budget.demand(1.0 + 1.2 * TTL_S) == 0.0


@pytest.mark.parametrize("floor", [1, 3])
def test_the_floor_lets_so_many_begin_a_second_on_average(floor):
    budget = RetryBudget(0.2, floor)
    begun = 0
    while withdraw(budget, 0.0):
        budget.hand_back()
        begun += 1
    assert begun == floor * TTL_S


def test_another_share_and_floor_hold_from_then_on():
    budget = RetryBudget(0.2, floor=3)
    for _ in range(100):
        budget.first_attempt(0.0)
    budget.adopt(0.1, 0)
    assert granted(budget, 0.0) == 10
    budget.adopt(0.1, 2)
    for _ in range(10):
        budget.hand_back()
    assert granted(budget, 0.0) == 2
