"""A secret is shown nowhere, and its value is cut out of texts."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.types.secrets import SHORTEST_REDACTED, Secret, redact

KEY = "sk-SENTINEL-0123456789"


@pytest.mark.parametrize("value", [KEY, lambda: KEY])
def test_only_reveal_shows_it(value, caplog):
    secret = Secret(value)
    assert secret.reveal() == KEY
    logging.getLogger("asyncrouter.test").warning("%s %r", secret, secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!s:>20}", pprint.pformat([secret]), f"{[secret]}",
             caplog.text, str(secret.__getstate__() if hasattr(secret, "__getstate__") else "")]  # fmt: skip
    assert not any("SENTINEL" in text for text in shown)
    assert not hasattr(secret, "__dict__")


def test_a_callable_is_asked_each_time():
    values = iter(["one", "two"])
    secret = Secret(lambda: next(values))
    assert (secret.reveal(), secret.reveal()) == ("one", "two")


@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_it_does_not_travel(travel):
    with pytest.raises(TypeError) as caught:
        travel(Secret(KEY))
    assert "SENTINEL" not in str(caught.value)


def test_every_occurrence_is_replaced():
    assert redact(f"{KEY}, Bearer {KEY}.", KEY) == "[redacted], Bearer [redacted]."
    assert redact("nothing here", KEY) == "nothing here"
    assert redact(f"{KEY} and other", KEY, "other") == "[redacted] and [redacted]"
    assert redact("as it is") == "as it is"


@pytest.mark.parametrize("order", [("abcd", "abcdefgh"), ("abcdefgh", "abcd")])
def test_of_two_that_begin_alike_nothing_is_left(order):
    assert redact("key=abcdefgh", *order) == "key=[redacted]"


def test_what_is_too_short_would_only_garble():
    assert redact("a cat sat", "a", "at", "", "cat") == "a cat sat"
    assert redact("a boat", "boat") == "a [redacted]"
    assert len("boat") == SHORTEST_REDACTED


@given(text=st.text(), secrets=st.lists(st.text(min_size=SHORTEST_REDACTED, max_size=12), max_size=3))
def test_no_secret_is_left(text, secrets):
    mixed = text + "".join(f"<{secret}>" for secret in secrets) + text
    found = redact(mixed, *secrets)
    for secret in secrets:
        assert f"<{secret}>" not in found or secret in "[redacted]"
