"""What hedges go by: the budget of extra attempts, and the pace of each deployment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.state.budgets import TTL_S
from asyncrouter.state.hedges import HedgeBudget, Paces
from asyncrouter.state.latency import LEAST_SAMPLES


def spent(budget, most=1000):
    """Spend until it refuses; return how many were allowed."""
    count = 0
    while count < most and budget.spend():
        count += 1
    return count


def test_nothing_is_there_before_it_was_earned():
    assert spent(HedgeBudget(1.0)) == 0


@pytest.mark.parametrize("every_s", [0.001, 0.5, 60.0, 3600.0])
def test_twenty_requests_earn_one_hedge_however_rare_they_are(every_s):
    budget = HedgeBudget(0.05)
    for number in range(19):
        budget.first_attempt(number * every_s)
        assert not budget.spend()
    budget.first_attempt(19 * every_s)
    assert spent(budget) == 1


def test_a_quiet_day_pays_for_one_hedge_only():
    budget = HedgeBudget(0.05)
    for number in range(1000):
        budget.first_attempt(60.0 * number)
    assert spent(budget) == 1


def test_a_busy_router_keeps_what_ten_seconds_have_earned():
    budget = HedgeBudget(0.05)
    for number in range(100_000):
        budget.first_attempt(0.01 * number)
    assert spent(budget) == pytest.approx(0.05 * TTL_S / 0.01, rel=0.11)


def test_what_is_handed_back_may_be_spent_again():
    budget = HedgeBudget(1.0)
    budget.first_attempt(0.0)
    assert budget.spend()
    budget.hand_back()
    assert spent(budget) == 1


def test_a_share_of_nothing_allows_nothing():
    budget = HedgeBudget(0.0)
    for number in range(1000):
        budget.first_attempt(float(number))
    assert spent(budget) == 0


@given(
    share=st.floats(0.0, 1.0),
    operations=st.lists(st.tuples(st.booleans(), st.floats(0.0, 30.0)), max_size=300),
)
def test_never_more_hedges_than_the_share_of_the_first_attempts(share, operations):
    budget, now, firsts, hedges = HedgeBudget(share), 0.0, 0, 0
    for is_first, step_s in operations:
        now += step_s
        if is_first:
            budget.first_attempt(now)
            firsts += 1
        else:
            hedges += budget.spend()
        assert hedges <= share * firsts + 1e-6


def test_paces_keep_deployments_and_streams_apart():
    paces = Paces(0.95)
    for _ in range(LEAST_SAMPLES):
        paces.observe("a", 1.0, 0.0, streamed=False)
        paces.observe("a", 0.1, 0.0, streamed=True)
    paces.observe("b", 7.0, 0.0, streamed=False)
    assert paces.delay_s("a", 0.0, streamed=False) == pytest.approx(1.0, rel=0.11)
    assert paces.delay_s("a", 0.0, streamed=True) == pytest.approx(0.1, rel=0.11)
    assert paces.delay_s("b", 0.0, streamed=False) is None
    assert paces.delay_s("c", 0.0, streamed=False) is None
