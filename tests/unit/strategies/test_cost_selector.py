"""The cheapest first, by prices and expected tokens; among many the same without a look at each."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncrouter.strategies.hull import Hull
from asyncrouter.strategies.selectors.cost import CostSelector
from asyncrouter.strategies.standings import FEW
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment, Price
from asyncrouter.types.ranking import Ranking


def names(selection):
    return "".join(one.name for one in selection.deployments)


def priced(**prices):
    return tuple(
        Deployment(name=name, provider="p", model="m", price=Price(input=price[0], output=price[1]) if price else None)
        for name, price in prices.items()
    )


PROMPT_HEAVY = Estimate(complexity=0.5, input_tokens=10_000, output_tokens=10)


def test_cost_orders_by_expected_cost_and_unknown_prices_last(fleet):
    candidates = priced(u=None, a=(5.0, 15.0), b=(0.15, 0.6), c=(0.15, 0.6))
    found = CostSelector().asyncrouter_select(PROMPT_HEAVY, candidates, fleet())
    assert names(found) == "bcau"
    assert found.reason == "expected cost 0.00151 USD"


def test_cost_weighs_input_and_output(fleet):
    candidates, selector = priced(i=(5.0, 5.0), o=(1.0, 20.0)), CostSelector()
    answer_heavy = Estimate(complexity=0.5, input_tokens=10, output_tokens=10_000)
    assert names(selector.asyncrouter_select(PROMPT_HEAVY, candidates, fleet())) == "oi"
    assert names(selector.asyncrouter_select(answer_heavy, candidates, fleet())) == "io"


def test_what_answers_take_is_believed_before_the_default_and_a_mere_bound(fleet):
    candidates, selector = priced(i=(5.0, 5.0), o=(1.0, 20.0)), CostSelector()
    short = fleet(i={"output_tokens": 10.0}, o={"output_tokens": 10.0})
    bounded = Estimate(complexity=0.5, input_tokens=10_000, output_tokens=64_000)
    assert names(selector.asyncrouter_select(bounded, candidates, fleet())) == "io"
    assert names(selector.asyncrouter_select(bounded, candidates, short)) == "oi"
    unknown = Estimate(complexity=0.5, input_tokens=100)
    assert names(selector.asyncrouter_select(unknown, candidates, fleet())) == "io"
    assert names(selector.asyncrouter_select(unknown, candidates, short)) == "oi"


def test_the_default_output_is_an_option(fleet):
    unknown, candidates = Estimate(complexity=0.5, input_tokens=100), priced(i=(5.0, 5.0), o=(1.0, 20.0))
    assert names(CostSelector(output_tokens=0).asyncrouter_select(unknown, candidates, fleet())) == "oi"
    with pytest.raises(ValueError, match=r"^output_tokens: expected a whole number of 0 or more, not -1$"):
        CostSelector(output_tokens=-1)


def test_without_any_price_the_order_stays(fleet):
    found = CostSelector().asyncrouter_select(PROMPT_HEAVY, priced(a=None, b=None), fleet())
    assert (names(found), found.reason) == ("ab", "no price known: configured order")


# ---------------------------------------------------------------- among many


QUARTERS = st.integers(0, 12).map(lambda number: number / 4)
"""Prices whose costs have no rounding errors: ties are ties."""
POINTS = st.lists(st.tuples(QUARTERS, QUARTERS), max_size=30)


@example(points=[(2.0, 2.0), (1.0, 3.0), (3.0, 1.0)], n=1, m=1)  # the one in the middle of a line
@settings(max_examples=300, deadline=None)
@given(points=POINTS, n=st.integers(1, 40), m=st.integers(1, 40))
def test_the_hull_knows_the_least_sum_and_the_lowest_place_of_several(points, n, m):
    hull = Hull((first, second, place) for place, (first, second) in enumerate(points))
    sums = [(n * first + m * second, place) for place, (first, second) in enumerate(points)]
    assert hull.least(n, m) == min(sums, default=(math.inf, -1))


def test_the_hull_of_many_has_few_corners():
    chance = random.Random(1)  # noqa: S311 - repeatable
    hull = Hull((chance.random(), chance.random(), place) for place in range(10_000))
    assert len(hull._corners) < 60


OFFERS = st.lists(
    st.tuples(st.none() | st.tuples(QUARTERS, QUARTERS), st.none() | st.integers(0, 40)),
    min_size=FEW + 1,
    max_size=FEW + 12,
)


@settings(max_examples=300, deadline=None)
@given(
    offers=OFFERS,
    asked=st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 30)), min_size=1, max_size=4),
    default=st.integers(0, 20),
)
def test_the_order_of_many_is_that_of_a_sort(offers, asked, default):
    candidates = tuple(
        Deployment(name=f"{n}.", provider="p", model="m", price=price and Price(input=price[0], output=price[1]))
        for n, (price, _) in enumerate(offers)
    )
    state = FakeFleet({f"{n}.": FakeView(output_tokens=usual) for n, (_, usual) in enumerate(offers)})
    selector = CostSelector(output_tokens=default)
    for tokens, forecast in asked:
        found = selector.asyncrouter_select(
            Estimate(complexity=0.5, input_tokens=tokens, output_tokens=forecast), candidates, state
        )
        costs = {}
        for one, (price, usual) in zip(candidates, offers, strict=True):
            known = [length for length in (forecast, usual) if length is not None]
            costs[one.name] = tokens * price[0] + min(known, default=default) * price[1] if price else math.inf
        wanted = sorted(candidates, key=lambda one: costs[one.name])
        assert found.first is wanted[0]
        assert list(found.deployments) == wanted


def moving(count):
    """A fleet whose lengths and time are set as it goes."""
    views, moment = {}, [0.0]

    class Fleet:
        def now(self):
            return moment[0]

        def __getitem__(self, name):
            return views.setdefault(name, Lengths())

    class Lengths:
        output_tokens = None

    many = tuple(
        Deployment(name=f"{n}.", provider="p", model="m", price=Price(input=1.0, output=1.0)) for n in range(count)
    )
    return many, Fleet(), moment


def test_lengths_are_looked_at_again_after_a_thousandth_of_a_second_for_each():
    candidates, state, moment = moving(FEW + 2)
    selector, unknown = CostSelector(), Estimate(complexity=0.5, input_tokens=10)
    assert selector.asyncrouter_select(unknown, candidates, state).first.name == "0."
    state["3."].output_tokens = 10
    moment[0] = 0.0009 * len(candidates)
    assert selector.asyncrouter_select(unknown, candidates, state).first.name == "0."
    moment[0] = 0.0011 * len(candidates)
    found = selector.asyncrouter_select(unknown, candidates, state)
    assert (found.first.name, found.reason) == ("3.", "expected cost 2e-05 USD")
    assert isinstance(found.order, Ranking)


def test_another_fleet_is_looked_at_at_once():
    candidates, state, _ = moving(FEW + 2)
    _, other, _ = moving(FEW + 2)
    other["4."].output_tokens = 1
    selector, unknown = CostSelector(), Estimate(complexity=0.5, input_tokens=10)
    firsts = [selector.asyncrouter_select(unknown, candidates, one).first.name for one in (state, other, state)]
    assert firsts == ["0.", "4.", "0."]


def test_without_any_price_the_order_of_many_stays(deploy):
    candidates = deploy(*map(str, range(FEW + 1)))
    found = CostSelector().asyncrouter_select(PROMPT_HEAVY, candidates, FakeFleet())
    assert (found.deployments, found.reason) == (candidates, "no price known: configured order")
