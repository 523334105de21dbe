from __future__ import annotations

import math
from types import SimpleNamespace

import attrs
import pytest

from asyncrouter.strategies import options


def check(validator, value, name="x"):
    validator(None, SimpleNamespace(name=name), value)


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0])
def test_number_accepts_its_range(value):
    check(options.number(0, 1), value)


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, math.inf, "0.5", None, True])
def test_number_names_option_range_and_value(value):
    with pytest.raises(ValueError, match=f"^threshold: expected a number from 0 to 1, not {value!r}$"):
        check(options.number(0, 1), value, "threshold")


def test_number_without_upper_bound_says_so():
    check(options.number(1), 10**9)
    with pytest.raises(ValueError, match=r"^factor: expected a number of 1 or more, not 0\.5$"):
        check(options.number(1), 0.5, "factor")


@pytest.mark.parametrize("value", [-1, 1.0, True, "3"])
def test_whole_refuses_the_rest(value):
    check(options.whole(0), 0)
    with pytest.raises(ValueError, match=f"^n: expected a whole number of 0 or more, not {value!r}$"):
        check(options.whole(0), value, "n")


def test_flag_is_a_bool_only():
    check(options.flag, False)
    with pytest.raises(ValueError, match=r"^jitter: expected true or false, not 1$"):
        check(options.flag, 1, "jitter")


def test_names_become_a_tuple():
    assert options.group_names(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize("value", ["a", ["a", ""], ["a", 1], {"a"}, None])
def test_names_are_a_list_of_texts(value):
    with pytest.raises(ValueError, match=r"^groups: expected a list of names, not "):
        options.group_names(value)


def test_names_are_different():
    with pytest.raises(ValueError, match=r"^groups: expected every name once, not \['a', 'a'\]$"):
        options.group_names(["a", "a"])


def test_weights_name_the_wrong_one():
    check(options.weights, {"a": 0, "b": 2.5})
    with pytest.raises(ValueError, match=r"^weights\.b: expected a number of 0 or more, not -1$"):
        check(options.weights, {"a": 1, "b": -1}, "weights")
    with pytest.raises(ValueError, match=r"^weights\.b: expected a number of 0 or more, not 'x'$"):
        check(options.weights, {"b": "x"}, "weights")
    with pytest.raises(ValueError, match=r"^weights: expected a table of names and numbers, not 3$"):
        check(options.weights, 3, "weights")


def test_validators_serve_attrs_classes():
    @attrs.frozen(kw_only=True)
    class Sample:
        share: float = attrs.field(default=0.5, validator=options.number(0, 1))

    with pytest.raises(ValueError, match=r"share: expected a number from 0 to 1, not 2"):
        Sample(share=2)
