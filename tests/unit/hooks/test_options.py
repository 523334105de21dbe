from __future__ import annotations

import math

import attrs
import pytest

from asyncrouter.hooks import options
from asyncrouter.types.errors import ConfigError, ConfigFault

ACCEPTED = [
    (options.number(), -0.5),
    (options.number(0, 1), 0),
    (options.number(0, 1), 1.0),
    (options.number(1), 10**9),
    (options.whole(), -3),
    (options.whole(0), 0),
    (options.whole(2, 16), 16),
    (options.positive, 1e-9),
    (options.not_negative, 0),
    (options.share, 1),
    (options.ratio, 1),
    (options.flag, False),
    (options.text, "a"),
    (options.table, {}),
    (options.one_of("a", "b"), "b"),
    (options.weights, {"a": 0, "b": 2.5}),
]
REFUSED = [
    (options.number(), math.inf, "expected a number, not inf"),
    (options.number(), 10**400, "expected a number, not a number that large"),
    (options.number(0, 1), -0.1, "expected a number from 0 to 1, not -0.1"),
    (options.number(0, 1), 1.5, "expected a number from 0 to 1, not 1.5"),
    (options.number(0, 1), math.nan, "expected a number from 0 to 1, not nan"),
    (options.number(0, 1), "0.5", "expected a number from 0 to 1, not the string '0.5'"),
    (options.number(0, 1), None, "expected a number from 0 to 1, not nothing"),
    (options.number(0, 1), True, "expected a number from 0 to 1, not the boolean true"),
    (options.number(1), 0.5, "expected a number of 1 or more, not 0.5"),
    (options.whole(), 1.0, "expected a whole number, not 1.0"),
    (options.whole(0), -1, "expected a whole number of 0 or more, not -1"),
    (options.whole(2, 16), 17, "expected a whole number from 2 to 16, not 17"),
    (options.whole(0), True, "expected a whole number of 0 or more, not the boolean true"),
    (options.positive, 0, "expected a positive number, not 0"),
    (options.ratio, 0, "expected a number over 0 and up to 1, not 0"),
    (options.flag, 1, "expected true or false, not 1"),
    (options.text, 1, "expected a string, not 1"),
    (options.text, " ", "is empty"),
    (options.table, [], "expected a table, not an empty list"),
    (options.one_of("a"), 1, "expected a, not 1"),
    (options.one_of("a", "b"), 1, "expected a or b, not 1"),
    (options.one_of("first", "best", "all"), "bset", "expected first, best or all, not the string 'bset'"),
    (options.weights, 3, "expected a table of names and numbers, not 3"),
]


@pytest.mark.parametrize(("check", "value"), ACCEPTED)
def test_what_is_accepted(check, value):
    assert options.faults_in(value, "x", check) == ()


@pytest.mark.parametrize(("check", "value", "message"), REFUSED)
def test_a_fault_names_option_range_and_value(check, value, message):
    [fault] = options.faults_in(value, "x", check)
    assert (fault.path, fault.message) == ("x", message)


def test_the_nearest_known_word_is_the_cure():
    [fault] = options.faults_in("bset", "take", options.one_of("first", "best"))
    assert fault.cure == 'did you mean "best"?'


def test_weights_name_the_wrong_one():
    [fault] = options.faults_in({"a": 1, "b": -1}, "weights", options.weights)
    assert str(fault) == "weights.b: expected a number of 0 or more, not -1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([0.7, 0.3], "the list [0.7, 0.3]"),
        ((), "an empty list"),
        ([1] * 9, "a list"),
        (["sk-123"], "a list"),
        ({"a": 1}, "a table"),
        ("sk-123", "a string"),
        ("x" * 41, "a string"),
        (object(), "an object of type object"),
    ],
)
def test_a_value_is_shown_where_it_cannot_be_a_secret(value, shown):
    assert options.described(value) == shown


def test_a_text_under_a_secrets_name_is_not_shown():
    assert options.described("hunter2", "password") == "a string"


def test_names_become_a_tuple():
    assert options.names(["a", "b"], "groups") == ("a", "b")
    assert options.names(["a"], "groups", ("a", "b")) == ("a",)


@pytest.mark.parametrize("value", ["a", ["a", ""], ["a", 1], {"a"}, None])
def test_names_are_a_list_of_texts(value):
    with pytest.raises(ConfigError, match=r"^groups: expected a list of names, not "):
        options.names(value, "groups")


def test_names_are_different():
    with pytest.raises(ConfigError, match=r"^groups: names the string 'a' twice; remove one$"):
        options.names(["a", "a"], "groups")


def test_each_unknown_name_has_its_place():
    with pytest.raises(ConfigError) as caught:
        options.names(["b", "c", "d"], "checks", ("a", "b"))
    assert [fault.path for fault in caught.value.faults] == ["checks[1]", "checks[2]"]


def test_all_faults_are_told_at_once():
    faults = [ConfigFault("a", "is wrong"), ConfigFault("b", "is wrong too")]
    with pytest.raises(ConfigError, match="a: is wrong\nb: is wrong too"):
        options.refuse(iter(faults))
    options.refuse(())


def test_checks_serve_attrs_classes():
    @attrs.frozen(kw_only=True)
    class Sample:
        share: float = attrs.field(default=0.5, validator=options.number(0, 1))

    with pytest.raises(ConfigError, match=r"^share: expected a number from 0 to 1, not 2$"):
        Sample(share=2)
