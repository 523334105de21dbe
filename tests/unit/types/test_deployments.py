"""Deployments and what they cost."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.types.deployments import ALL_CAPABILITIES, NEVER, Capability, Deployment, Limits, ModelGroup, Price

TOKENS = st.integers(0, 10**7)
PRICES = st.floats(0.0, 1000.0)


@given(input_price=PRICES, output_price=PRICES, tokens=st.tuples(TOKENS, TOKENS))
def test_a_cost_is_exact(input_price, output_price, tokens):
    exact = (Fraction(input_price) * tokens[0] + Fraction(output_price) * tokens[1]) / 10**6
    assert Price(input=input_price, output=output_price).cost_usd(*tokens) == pytest.approx(float(exact))


def test_cached_tokens_have_their_own_price():
    assert Price(input=2.0, output=8.0, cached_input=0.5).cost_usd(1_000_000, 0, 400_000) == pytest.approx(1.4)
    assert Price(input=2.0, output=8.0).cost_usd(1_000_000, 0, 400_000) == pytest.approx(2.0)
    assert Price(input=2.0, output=8.0, cached_input=0.0).cost_usd(1_000_000, 0, 1_000_000) == 0.0


def test_an_upstream_that_counts_cached_tokens_apart_costs_no_less_than_nothing():
    price = Price(input=2.0, output=8.0, cached_input=0.5)
    assert price.cost_usd(100_000, 0, 1_000_000) == pytest.approx(0.7)


def test_tokens_of_reasoning_have_their_own_price():
    assert Price(input=0.0, output=8.0, reasoning=2.0).cost_usd(0, 1_000_000, 0, 750_000) == pytest.approx(3.5)
    assert Price(input=0.0, output=8.0).cost_usd(0, 1_000_000, 0, 750_000) == pytest.approx(8.0)
    assert Price(input=0.0, output=8.0, reasoning=0.0).cost_usd(0, 1_000_000, 0, 1_000_000) == 0.0


def test_an_upstream_that_counts_reasoning_apart_is_paid_for_both():
    assert Price(input=0.0, output=8.0, reasoning=2.0).cost_usd(0, 100_000, 0, 1_000_000) == pytest.approx(2.8)


@given(cached=PRICES, reasoning=PRICES, tokens=st.tuples(TOKENS, TOKENS, TOKENS, TOKENS))
def test_no_cost_is_negative(cached, reasoning, tokens):
    assert Price(input=1.0, output=2.0, cached_input=cached, reasoning=reasoning).cost_usd(*tokens) >= 0.0


def test_a_deployment_can_be_a_key():
    one, same = (Deployment(name="a", provider="p", model="m", params={"temperature": 0}) for _ in range(2))
    assert one == same
    assert {one: 1}[same] == 1
    assert hash(ModelGroup(name="g", deployments=(one,), params={"a": []})) is not None
    assert one != Deployment(name="a", provider="p", model="m", limits=Limits(rpm=1))


def test_all_capabilities_are_all():
    named = {value for name, value in vars(Capability).items() if name.isupper()}
    assert named == ALL_CAPABILITIES


def test_never_is_after_everything():
    assert math.inf == NEVER
