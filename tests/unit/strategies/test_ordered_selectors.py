from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncrouter.strategies.selectors.ordered import PrioritySelector, RoundRobinSelector, WeightedSelector
from asyncrouter.testing.fleet import FakeFleet
from asyncrouter.types.deployments import Deployment


def names(selection):
    return [one.name for one in selection.deployments]


def test_priority_keeps_the_order(deploy):
    candidates = deploy("a", "b", "c")
    found = PrioritySelector().asyncrouter_select(candidates)
    assert found.deployments is candidates
    assert (found.propensity, found.reason) == (1.0, "configured order")


# ---------------------------------------------------------------- weighted


def weigh(*weights):
    return tuple(Deployment(name=str(n), provider="p", model="m", weight=weight) for n, weight in enumerate(weights))


def test_weighted_draws_in_proportion(fleet):
    candidates, state, selector = weigh(1, 2, 7), fleet(seed=1), WeightedSelector()
    firsts = Counter(names(selector.asyncrouter_select(candidates, state))[0] for _ in range(3000))
    assert firsts["0"] / 3000 == pytest.approx(0.1, abs=0.03)
    assert firsts["1"] / 3000 == pytest.approx(0.2, abs=0.03)
    assert firsts["2"] / 3000 == pytest.approx(0.7, abs=0.03)


def test_weighted_draws_the_second_among_those_left(fleet):
    candidates, state, selector = weigh(1, 2, 7), fleet(seed=2), WeightedSelector()
    orders = [names(selector.asyncrouter_select(candidates, state)) for _ in range(3000)]
    seconds = Counter(order[1] for order in orders if order[0] == "2")
    assert seconds["1"] / seconds.total() == pytest.approx(2 / 3, abs=0.04)


def test_weighted_draws_the_rest_among_those_left_too(fleet):
    candidates, state, selector = weigh(4, 1, 3, 2), fleet(seed=5), WeightedSelector()
    orders = [names(selector.asyncrouter_select(candidates, state)) for _ in range(6000)]
    thirds = Counter(order[2] for order in orders if order[:2] == ["0", "2"])
    assert thirds["3"] / thirds.total() == pytest.approx(2 / 3, abs=0.04)
    assert thirds.keys() == {"1", "3"}


def test_weighted_draws_the_same_whoever_reads_the_rest(fleet):
    candidates, read, unread = weigh(1, 2, 3), fleet(seed=6), fleet(seed=6)
    selector = WeightedSelector()
    firsts = [names(selector.asyncrouter_select(candidates, read))[0] for _ in range(20)]
    kept = [selector.asyncrouter_select(candidates, unread) for _ in range(20)]
    assert [one.first.name for one in kept] == firsts
    assert [names(one) for one in kept] == [
        names(selector.asyncrouter_select(candidates, again)) for again in [fleet(seed=6)] for _ in range(20)
    ]


def test_weighted_is_repeatable(deploy, fleet):
    candidates = deploy("a", "b", "c", "d")
    first, second = (
        [names(WeightedSelector().asyncrouter_select(candidates, state)) for _ in range(5)]
        for state in (fleet(seed=3), fleet(seed=3))
    )
    assert first == second


@example(weights=[0.0, 5e-324], seed=0)  # so small that its draw is infinite
@given(weights=st.lists(st.floats(0, 1000), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_weighted_is_a_permutation_with_the_firsts_share(weights, seed):
    candidates = weigh(*weights)
    found = WeightedSelector().asyncrouter_select(candidates, FakeFleet(seed=seed))
    assert sorted(names(found)) == sorted(one.name for one in candidates)
    total = sum(weights)
    expected = found.deployments[0].weight / total if total else 1.0
    assert found.propensity == pytest.approx(expected)
    worthless = [not one.weight for one in found.deployments]
    assert worthless == sorted(worthless)


def test_a_tiny_weight_is_no_last_resort(fleet):
    found = WeightedSelector().asyncrouter_select(weigh(0.0, 5e-324), fleet())
    assert (names(found), found.propensity) == (["1", "0"], 1.0)


def test_weight_nought_is_a_last_resort_in_order(fleet):
    found = WeightedSelector().asyncrouter_select(weigh(0, 1, 0), fleet())
    assert names(found) == ["1", "0", "2"]
    assert found.propensity == 1.0


def test_without_any_weight_the_order_stays(fleet):
    found = WeightedSelector().asyncrouter_select(weigh(0, 0), fleet())
    assert (names(found), found.propensity) == (["0", "1"], 1.0)


def test_weights_by_name_replace_the_deployments_own(fleet):
    found = WeightedSelector(weights={"0": 0, "1": 3}).asyncrouter_select(weigh(5, 0, 1), fleet())
    assert names(found)[-1] == "0"
    assert found.propensity == {"1": 0.75, "2": 0.25}[names(found)[0]]
    assert found.reason == f"drawn with probability {found.propensity:.2f}"


def test_weights_are_checked():
    with pytest.raises(ValueError, match=r"^weights\.a: expected a number of 0 or more, not -2$"):
        WeightedSelector(weights={"a": -2})


# ---------------------------------------------------------------- round robin


def test_round_robin_rotates(deploy):
    candidates, selector = deploy("a", "b", "c"), RoundRobinSelector()
    orders = ["".join(names(selector.asyncrouter_select(candidates))) for _ in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_round_robins_share_nothing(deploy):
    candidates = deploy("a", "b")
    first, second = RoundRobinSelector(), RoundRobinSelector()
    first.asyncrouter_select(candidates)
    assert names(second.asyncrouter_select(candidates)) == ["a", "b"]


def test_round_robin_stays_fair_while_candidates_come_and_go(deploy):
    a, b, c = deploy("a", "b", "c")
    selector = RoundRobinSelector()
    sets = [(a, b, c), (a, c), (a, b, c), (b, c), (a, b, c), (a, b, c)]
    assert "".join(names(selector.asyncrouter_select(one))[0] for one in sets) == "acbcab"


def test_one_that_was_away_gets_one_turn_not_all_it_missed(deploy):
    a, b = deploy("a", "b")
    selector = RoundRobinSelector()
    for _ in range(10):
        selector.asyncrouter_select((a,))
    assert "".join(names(selector.asyncrouter_select((a, b)))[0] for _ in range(4)) == "baba"


@given(
    present=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=30),
)
def test_round_robin_never_passes_over_who_waited_longest(present):
    candidates = weigh(*[1] * 5)
    selector, last = RoundRobinSelector(), dict.fromkeys("01234", -1)
    for turn, places in enumerate(present):
        chosen = names(selector.asyncrouter_select(tuple(candidates[place] for place in sorted(places))))
        assert sorted(chosen) == sorted(map(str, places))
        assert last[chosen[0]] == min(last[name] for name in chosen)
        last[chosen[0]] = turn


@pytest.mark.parametrize("selector", [PrioritySelector, WeightedSelector, RoundRobinSelector])
def test_options_are_by_name_and_fixed(selector):
    with pytest.raises(TypeError):
        selector({})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        selector().weights = {}
