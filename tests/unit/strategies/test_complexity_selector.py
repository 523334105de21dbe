from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.strategies.selectors.complexity import ComplexitySelector
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment


def select(selector, complexity, candidates):
    return selector.asyncrouter_select(Estimate(complexity=complexity), candidates)


def order(selector, complexity, candidates):
    return "".join(one.name for one in select(selector, complexity, candidates).deployments)


@pytest.mark.parametrize(
    ("complexity", "expected"), [(0.0, "wb"), (0.69, "wb"), (0.7, "bw"), (0.71, "bw"), (1.0, "bw")]
)
def test_two_deployments_and_the_shipped_threshold(deploy, complexity, expected):
    assert order(ComplexitySelector(), complexity, deploy("w", "b")) == expected


def test_below_the_threshold_the_candidates_are_taken_as_they_are(deploy):
    candidates = deploy("w", "b")
    assert select(ComplexitySelector(), 0.1, candidates).deployments is candidates


@pytest.mark.parametrize(
    ("complexity", "reason"),
    [
        (0.82, "complexity 0.82 >= 0.70"),
        (0.7, "complexity 0.70 >= 0.70"),
        (0.123, "complexity 0.12 < 0.70"),
        (0.6999, "complexity 0.6999 < 0.70"),
        (0.6994062415175304, "complexity 0.699 < 0.70"),
        (0.7 - 1e-16, "complexity 0.6999999999999998 < 0.70"),
        (0.7049, "complexity 0.70 >= 0.70"),
    ],
)
def test_the_reason_is_true_as_printed(deploy, complexity, reason):
    found = select(ComplexitySelector(threshold=0.7), complexity, deploy("w", "b"))
    assert (found.reason, found.propensity) == (reason, 1.0)


def test_a_finer_threshold_is_printed_whole(deploy):
    assert select(ComplexitySelector(threshold=0.705), 0.7049, deploy("w", "b")).reason == "complexity 0.70 < 0.705"


def test_a_third_tier_says_between_which_cuts(deploy):
    selector, candidates = ComplexitySelector(cuts=[0.3, 0.7]), deploy("a", "b", "c")
    assert select(selector, 0.2, candidates).reason == "complexity 0.20 < 0.30"
    assert select(selector, 0.3, candidates).reason == "0.30 <= complexity 0.30 < 0.70"
    assert select(selector, 0.9, candidates).reason == "complexity 0.90 >= 0.70"


@pytest.mark.parametrize(("complexity", "expected"), [(0.1, "abcd"), (0.9, "bcda")])
def test_one_threshold_parts_the_first_from_all_stronger(deploy, complexity, expected):
    assert order(ComplexitySelector(threshold=0.5), complexity, deploy("a", "b", "c", "d")) == expected


@pytest.mark.parametrize(("complexity", "expected"), [(0.1, "abcd"), (0.4, "bcda"), (0.6, "cdba"), (0.9, "dcba")])
def test_stronger_ones_follow_then_weaker_ones_from_the_strongest_down(deploy, complexity, expected):
    assert order(ComplexitySelector(cuts=[0.25, 0.5, 0.75]), complexity, deploy("a", "b", "c", "d")) == expected


@pytest.mark.parametrize("complexity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("left", ["w", "b"])
def test_whoever_is_left_is_selected_whatever_the_complexity(deploy, complexity, left):
    assert order(ComplexitySelector(), complexity, deploy(left)) == left
    assert order(ComplexitySelector(tiers=[["w"], ["b"]]), complexity, deploy(left)) == left


def test_more_tiers_than_candidates_end_at_the_strongest(deploy):
    assert order(ComplexitySelector(cuts=[0.2, 0.4, 0.6]), 0.9, deploy("a", "b")) == "ba"


# ---------------------------------------------------------------- named tiers


def test_named_tiers_hold_while_candidates_are_filtered(deploy):
    selector = ComplexitySelector(threshold=0.5, tiers=[["m"], ["b", "c"]])
    m, b, c = deploy("m", "b", "c")
    assert order(selector, 0.9, (m, b, c)) == "bcm"
    assert order(selector, 0.1, (m, b, c)) == "mbc"
    assert order(selector, 0.9, (b, c)) == "bc"
    assert order(ComplexitySelector(threshold=0.5), 0.9, (b, c)) == "cb"
    assert order(selector, 0.9, (m,)) == "m"


def test_named_tiers_do_not_mind_the_candidates_order(deploy):
    selector = ComplexitySelector(cuts=[0.3, 0.6], tiers=[["a"], ["b"], ["c"]])
    for candidates in itertools.permutations(deploy("a", "b", "c")):
        assert [order(selector, value, candidates) for value in (0.1, 0.4, 0.9)] == ["abc", "bca", "cba"]


def test_those_that_no_tier_names_are_last_resorts(deploy):
    selector = ComplexitySelector(tiers=(("a",), ("b",)))
    assert order(selector, 0.9, deploy("x", "a", "b", "y")) == "baxy"


@given(
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True).map(sorted),
    complexity=st.floats(0, 1),
    count=st.integers(1, 6),
    named=st.booleans(),
)
def test_every_candidate_is_selected_once_and_tiers_rise_with_complexity(cuts, complexity, count, named):
    candidates = tuple(Deployment(name=str(n), provider="p", model="m") for n in range(count))
    tiers = [[str(n)] for n in range(len(cuts) + 1)] if named else None
    selector = ComplexitySelector(cuts=cuts, tiers=tiers)
    chosen = order(selector, complexity, candidates)
    assert sorted(chosen) == [one.name for one in candidates]
    expected = sum(cut <= complexity for cut in cuts)
    assert int(chosen[0]) == min(expected, count - 1)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"threshold": 1.5}, r"^threshold: expected a number from 0 to 1, not 1\.5$"),
        ({"threshold": "high"}, r"^threshold: expected a number from 0 to 1, not the string 'high'$"),
        ({"cuts": []}, r"^cuts: expected ascending numbers from 0 to 1, not an empty list$"),
        ({"cuts": 0.5}, r"^cuts: expected ascending numbers from 0 to 1, not 0\.5$"),
        ({"cuts": [0.5, "x"]}, r"^cuts: expected ascending numbers from 0 to 1, not a list$"),
        ({"cuts": [0.7, 0.3]}, r"^cuts: expected ascending numbers from 0 to 1, not the list \[0\.7, 0\.3\]$"),
        ({"cuts": [0.3, 0.3]}, r"^cuts: expected ascending numbers from 0 to 1, not the list \[0\.3, 0\.3\]$"),
        ({"cuts": [0.3, 1.3]}, r"^cuts: expected ascending numbers from 0 to 1, not the list \[0\.3, 1\.3\]$"),
        ({"cuts": [0.1, 0.9, 0.5, 0.95]}, r"^cuts: expected ascending "),
        ({"threshold": 0.5, "cuts": [0.5]}, r"^cuts: give a threshold or cuts, not both threshold=0\.5 and \[0\.5\]$"),
        ({"tiers": "mini"}, r"^tiers: expected a list of lists of names, weakest tier first, not the string 'mini'$"),
        ({"tiers": ["mini", "big"]}, r"^tiers\[0\]: expected a list of names, not the string 'mini'$"),
        ({"tiers": [["a"], []]}, r"^tiers\[1\]: expected at least one name, not an empty list$"),
        ({"tiers": [["a"], ["a"]]}, r"^tiers: names the string 'a' twice; remove one$"),
        ({"tiers": [["a"]]}, r"^tiers: expected 2 tiers for 1 cut points, not "),
        ({"tiers": []}, r"^tiers: expected 2 tiers for 1 cut points, not an empty list$"),
        ({"tiers": [["a"], ["b"]], "cuts": [0.2, 0.4]}, r"^tiers: expected 3 tiers for 2 cut points, not "),
    ],
)
def test_wrong_options_are_named_with_value_and_range(given_options, message):
    with pytest.raises(ValueError, match=message):
        ComplexitySelector(**given_options)
