"""The shared retry budget: a share of the first attempts, a floor of those under way, and a time to live."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.budgets import GIVEN_BACK_S, TTL_S, RetryBudget

NEVER = float("-inf")


def allows(budget, now, answered_at=NEVER, alone=0):
    """Whether one more is allowed: by the share, or by the floor."""
    return max(budget.share_left(now), budget.floor_left(now, answered_at, alone)) >= 1.0


def wait_s(budget, now, answered_at=NEVER, alone=0):
    """How long one more is waited for, by default though nobody ever answered."""
    return budget.wait_s(now, answered_at, alone)


def draw(budget, now, answered_at=NEVER):
    """Count one, allowed or not, for which the share pays where it can."""
    budget.draw(now, answered_at, shared=budget.share_left(now) >= 1.0)


def withdraw(budget, now, answered_at=math.inf, alone=0):
    """Do what an extra attempt does: ask, and count it where it is allowed.  By default somebody always answers."""
    allowed = allows(budget, now, answered_at, alone)
    if allowed:
        draw(budget, now, answered_at)
    return allowed


def granted(budget, now, answered_at=math.inf, alone=0):
    """Withdraw until it refuses; return how many were allowed."""
    count = 0
    while withdraw(budget, now, answered_at, alone):
        count += 1
    return count


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.29, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("firsts", [0, 1, 4, 5, 99, 100, 10_000])
def test_the_share_allows_n_times_p(share, firsts):
    budget = RetryBudget(share, floor=0)
    for _ in range(firsts):
        budget.first_attempt(50.0)
    assert granted(budget, 50.0) == pytest.approx(math.floor(share * firsts), abs=1)
    assert not allows(budget, 50.0)


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
    assert allows(budget, 100.0 + TTL_S)
    assert not allows(budget, 100.0 + TTL_S * 1.11)


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
    assert all(allows(budget, 0.0) for _ in range(10))
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
        draw(budget, 0.0)
    for _ in range(2):
        budget.hand_back()
    assert not allows(budget, 0.0, math.inf)
    budget.hand_back()
    assert allows(budget, 0.0, math.inf)


def test_the_demand_is_that_of_the_last_seconds():
    budget = RetryBudget(0.2, floor=3)
    assert budget.demand(0.0) == 0.0
    for _ in range(50):
        budget.first_attempt(1.0)
    draw(budget, 1.0)
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


# ---------------------------------------------------------------- in vain


def in_vain(budget, now, answered_at=NEVER, alone=0):
    """Withdraw until it refuses, each attempt ending at once; return how many were allowed."""
    count = 0
    while withdraw(budget, now, answered_at, alone):
        budget.hand_back()
        count += 1
    return count


@pytest.mark.parametrize("firsts", [2, 10, 100, 1000])
def test_while_nobody_answers_there_are_the_share_and_one_floor(firsts):
    budget = RetryBudget(0.2, floor=3)
    for _ in range(firsts):
        budget.first_attempt(0.0)
    assert in_vain(budget, 0.0) + in_vain(budget, 1.9) <= 0.2 * firsts + 3


def test_while_nobody_answers_the_floor_allows_one_in_two_seconds():
    budget = RetryBudget(0.2, floor=3)
    assert in_vain(budget, 0.0) == 3
    assert wait_s(budget, 0.0) == pytest.approx(GIVEN_BACK_S)
    assert wait_s(budget, 0.5) == pytest.approx(1.5)
    assert [in_vain(budget, moment) for moment in (1.9, 2.0, 3.9, 4.0, 6.0)] == [0, 1, 0, 1, 1]
    assert in_vain(budget, 30.0) == 3


def test_an_answer_makes_the_floor_whole():
    budget = RetryBudget(0.2, floor=3)
    assert in_vain(budget, 5.0) == 3
    assert not allows(budget, 6.0, 4.9)
    assert wait_s(budget, 6.0, 4.9) > 0.0
    assert wait_s(budget, 6.0, 5.5) == 0.0
    assert in_vain(budget, 6.0, answered_at=5.5) == 3


def test_a_request_that_is_alone_may_have_more_in_vain():
    budget = RetryBudget(0.2, floor=3)
    budget.first_attempt(0.0)
    assert in_vain(budget, 0.0, alone=5) == 5
    assert wait_s(budget, 0.0, alone=5) == pytest.approx(GIVEN_BACK_S)
    budget.first_attempt(0.0)
    assert in_vain(budget, 2.0, alone=5) == 0  # there are two now


def test_what_the_share_pays_for_is_not_in_vain():
    budget = RetryBudget(0.2, floor=3)
    for _ in range(10):
        budget.first_attempt(0.0)
    assert [withdraw(budget, 0.0, NEVER) for _ in range(2)] == [True, True]
    assert in_vain(budget, 0.0) == 3


def test_what_another_budget_has_allowed_counts_for_the_share_alone():
    budget = RetryBudget(0.2, floor=3)
    for _ in range(10):
        budget.first_attempt(0.0)
    budget.count(0.0)
    budget.count(0.0)
    assert budget.share_left(0.0) == 0.0
    assert in_vain(budget, 0.0) == 3


@pytest.mark.parametrize("floor", [0, 1])
def test_what_is_no_matter_of_time_is_not_waited_for(floor):
    budget = RetryBudget(0.0, floor)
    for _ in range(10):
        draw(budget, 0.0)
        budget.hand_back()
    assert wait_s(budget, 0.0) == math.inf
    assert budget.has_floor == bool(floor)


def test_two_seconds_give_one_back_to_the_last_digit():
    for number in range(300):
        budget, now = RetryBudget(0.2, floor=3), number * 0.37 + 0.1
        assert in_vain(budget, now) == 3
        assert in_vain(budget, now + GIVEN_BACK_S) == 1
        assert in_vain(budget, now + 2 * GIVEN_BACK_S) == 1


def test_an_answer_at_the_moment_of_the_attempt_is_one():
    budget = RetryBudget(0.2, floor=3)
    assert in_vain(budget, 5.0) == 3
    assert in_vain(budget, 5.0, answered_at=5.0) == 30 - 3


@pytest.mark.parametrize(("shared", "left"), [(True, 3), (False, 2)])
def test_who_pays_may_be_told(shared, left):
    budget = RetryBudget(0.2, floor=3)
    budget.draw(0.0, NEVER, shared=shared)
    budget.hand_back()
    assert in_vain(budget, 0.0) == left
