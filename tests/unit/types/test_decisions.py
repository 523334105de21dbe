"""Decisions are checked when they are made, so that a plugin's mistake is found where it is made."""

from __future__ import annotations

import math

import attrs
import pytest

from asyncrouter.types.decisions import Decision, Estimate, Fallback, GiveUp, Ranked, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment

A = Deployment(name="a", provider="p", model="m")


@pytest.mark.parametrize("complexity", [0, 0.0, 0.5, 1, 1.0])
def test_a_complexity_from_0_to_1(complexity):
    assert Estimate(complexity=complexity).complexity == complexity


@pytest.mark.parametrize("complexity", [-0.001, 1.001, math.nan, math.inf, -math.inf])
def test_any_other_complexity_is_refused(complexity):
    with pytest.raises(ValueError, match="complexity: expected a number from 0 to 1, not"):
        Estimate(complexity=complexity)


def test_a_selection_names_a_deployment():
    assert Selection(deployments=(A,)) == Selection(deployments=(A,), propensity=1.0, parallel=1, reason="")
    with pytest.raises(ValueError, match=r"deployments: .* return None to decline"):
        Selection(deployments=())
    assert Selection(deployments=[A]).deployments == (A,)
    with pytest.raises(TypeError):
        Selection(deployments=A)


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.001, math.nan, math.inf])
def test_a_propensity_is_a_probability(propensity):
    with pytest.raises(ValueError, match="propensity"):
        Selection(deployments=(A,), propensity=propensity)


@pytest.mark.parametrize("propensity", [5e-324, 0.5, 1.0])
def test_every_probability_but_nought_is_a_propensity(propensity):
    assert Selection(deployments=(A,), propensity=propensity).propensity == propensity


@pytest.mark.parametrize("parallel", [0, -1])
def test_a_race_has_at_least_one_runner(parallel):
    with pytest.raises(ValueError, match="parallel: expected 1 or more"):
        Selection(deployments=(A,), parallel=parallel)


def test_what_is_taken_of_several_answers_is_a_known_word():
    with pytest.raises(ValueError, match="take: expected one of first, best, majority, not 'last'"):
        Selection(deployments=(A,), take="last")


@pytest.mark.parametrize("delay_s", [-0.001, math.nan, -math.inf])
def test_a_delay_is_not_negative(delay_s):
    with pytest.raises(ValueError, match="delay_s: expected 0 or more seconds"):
        Retry(delay_s)


def test_a_delay_may_be_nought_or_for_ever():
    assert (Retry(0).delay_s, Retry(math.inf).delay_s) == (0, math.inf)


def test_a_fallback_goes_to_one_place():
    assert Fallback(deployment=A).group is None
    assert Fallback(group="other").deployment is None
    for fields in ({}, {"deployment": A, "group": "other"}):
        with pytest.raises(ValueError, match="a deployment or a group, and not both"):
            Fallback(**fields)


def test_decisions_compare_by_what_they_say():
    assert GiveUp("no") == GiveUp("no") != GiveUp("never")
    assert Verdict(True, 0.5) == Verdict(accept=True, score=0.5)
    ranked = Ranked(rank=1, deployment="a", model="m", expected_cost_usd=None, ready=True, reason="")
    decision = Decision(group="chat", estimate=Estimate(complexity=0.5), selection=None, ranking=(ranked,))
    assert attrs.evolve(decision) == decision
    assert decision.fallbacks == ()
