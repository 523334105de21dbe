"""Extra attempts of a router inside of others: one share bounds all layers together, each has a floor of its own."""

from __future__ import annotations

import random

import pytest

from asyncrouter.engine.extras import OUTER, draw
from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import Fleet


class Still:
    """A clock that stands."""

    def now(self):
        return 1.0


def fleet(firsts):
    made = Fleet(Still(), random.Random(1), RetryBudget(0.2, 3))  # noqa: S311 - repeatable
    for _ in range(firsts):
        made.budget.first_attempt(made.now())
    return made


def share_left(one):
    return one.budget.share_left(one.now())


def test_an_extra_attempt_inside_counts_in_all_that_are_around_it():
    inner, middle, outer = fleet(50), fleet(20), fleet(10)
    token = OUTER.set((middle, outer))
    draw(inner)
    OUTER.reset(token)
    assert [share_left(one) for one in (inner, middle, outer)] == pytest.approx([9.0, 3.0, 1.0])
    draw(inner)
    assert [share_left(one) for one in (inner, middle, outer)] == pytest.approx([8.0, 3.0, 1.0])


def test_where_the_share_of_one_around_it_is_spent_its_own_floor_pays():
    inner, outer = fleet(50), fleet(4)
    token = OUTER.set((outer,))
    draw(inner)
    OUTER.reset(token)
    now = inner.now()
    assert inner.budget.floor_left(now, float("-inf"), 0) == pytest.approx(2.0)
