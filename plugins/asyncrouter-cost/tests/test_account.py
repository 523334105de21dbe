"""An account: what is spent within any period, what is set aside, and how dear money grows."""

from __future__ import annotations

import math

import pytest
from asyncrouter_cost import books as books_module
from asyncrouter_cost.account import Account
from asyncrouter_cost.books import Books
from asyncrouter_cost.ledger import Ledger
from asyncrouter_cost.options import Budget
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.types.request import Request

HOUR = 3600.0


def request(agent=None, **metadata):
    return Request(messages=[], agent=agent, metadata=metadata)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_what_is_spent_comes_back_after_the_period():
    account = Account(1.0, HOUR)
    account.spend(0.75, 100.0)
    assert account.left_usd(100.0 + HOUR - 1) == pytest.approx(0.25)
    assert account.left_usd(100.0 + HOUR + HOUR / 60) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0.0, 2000.0), st.floats(0.0, 1.0)), max_size=60))
def test_within_no_period_is_more_spent_than_the_limit(steps):
    """Whoever spends no more than what is left stays below the limit in every period, wherever it begins."""
    account, now, spent = Account(2.0, HOUR), 0.0, []
    for wait_s, usd in steps:
        now += wait_s
        if usd <= account.left_usd(now):
            account.spend(usd, now)
            spent.append((now, usd))
    for start, _ in spent:
        assert math.fsum(usd for at, usd in spent if start <= at < start + HOUR) <= 2.0 + 1e-9


def test_memory_is_bounded():
    account = Account(1.0, HOUR)
    for second in range(0, 100_000, 7):
        account.spend(1e-6, float(second))
    assert len(account._slices) <= 61


def test_money_set_aside_is_not_left():
    account = Account(1.0, HOUR)
    account.reserve(0.4)
    account.reserve(0.1)
    assert account.left_usd(0.0) == pytest.approx(0.5)
    account.release(0.4)
    account.release(0.1)
    assert account.left_usd(0.0) == 1.0


def test_money_grows_dearer_ahead_of_time_and_cheaper_by_it():
    account = Account(1.0, HOUR)
    assert account.urgency(0.0) == 0.0
    account.spend(0.1, 0.0)
    assert account.urgency(0.0) == pytest.approx(2.0)
    assert 0.5 < account.urgency(HOUR / 10) < 2.0
    assert account.urgency(HOUR) == 0.0
    account.reserve(0.2)
    assert account.urgency(HOUR) == pytest.approx(2.0)  # it is a tenth behind


def test_who_spends_as_time_allows_pays_what_it_costs():
    account = Account(1.0, HOUR)
    for second in range(3600):
        account.spend(0.9 / 3600, float(second))
        assert account.urgency(float(second)) < 0.01


@pytest.mark.parametrize("needed", [0.7, 3.0, 6.0])
def test_the_price_settles_where_the_money_lasts(needed):
    """Callers who spend less by the logarithm of the price: the whole pace at *needed*, and much more at no price."""
    account, spent = Account(1.0, HOUR), []
    for second in range(3 * 3600):
        rate = 0.95 / 3600 * math.exp(needed - account.urgency(float(second)))
        account.spend(min(rate, account.left_usd(float(second))), float(second))
        spent.append(account.spent_usd(float(second)))
        assert account.left_usd(float(second)) > 0.0
    assert account.urgency(3 * HOUR) == pytest.approx(needed, abs=0.2)
    assert spent[-1] == pytest.approx(0.95, abs=0.04)


# ------------------------------------------------------------------ whose account


def test_whose_money_it_is():
    budgets = (
        Budget(usd=1.0, per="hour"),
        Budget(usd=0.5, per="hour", by="agent"),
        Budget(usd=0.25, per="hour", by="metadata.team", only="red"),
    )
    ledger = Ledger(budgets, Clock(), Books())
    ledger.settle(ledger.reserve(request("recon", team="red"), 0.2), 0.2)
    assert ledger.shortage(request("recon", team="red"), 0.1) == (budgets[2], pytest.approx(0.05))
    assert ledger.shortage(request("recon", team="blue"), 0.4) == (budgets[1], pytest.approx(0.3))
    assert ledger.shortage(request("other", team="blue"), 0.4) is None
    assert ledger.shortage(request("other"), 0.9) == (budgets[0], pytest.approx(0.8))
    assert ledger.shortage(request(), 0.7) == (budgets[1], 0.5)
    assert ledger.shortage(request("other"), 0.5) is None


def test_accounts_are_bounded_and_newcomers_share_one(monkeypatch):
    monkeypatch.setattr(books_module, "MOST_ACCOUNTS", 100)
    clock, books = Clock(), Books()
    ledger = Ledger((Budget(usd=1.0, per="hour", by="metadata.user"),), clock, books)
    for number in range(100):
        ledger.settle(ledger.reserve(request(user=number), 0.5), 0.5)
    for number in (100, 101):
        ledger.settle(ledger.reserve(request(user=number), 0.4), 0.4)
    assert ledger.shortage(request(user=102), 0.3) is not None
    assert ledger.shortage(request(user=7), 0.4) is None
    clock.now = 2 * HOUR
    assert ledger.shortage(request(user=103), 0.9) is None
    assert len(books) == 1
