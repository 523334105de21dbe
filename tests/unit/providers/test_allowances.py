"""What is read from the rate-limit headers of upstreams, and that nothing in them can do harm."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncrouter.providers.allowances import LONGEST_S, MOST, parse_allowances
from asyncrouter.types.allowances import Allowance, Allowances

NOW = 1_750_000_000.0
DATE = "Sun, 15 Jun 2025 15:06:40 GMT"
"""The same moment."""


def openai(what="requests", *, remaining="0", reset="20s", limit="60"):
    return {
        f"x-ratelimit-limit-{what}": limit,
        f"x-ratelimit-remaining-{what}": remaining,
        f"x-ratelimit-reset-{what}": reset,
    }


def anthropic(what="requests", *, remaining="0", reset="2025-06-15T15:07:00Z", limit="50"):
    return {
        f"anthropic-ratelimit-{what}-limit": limit,
        f"anthropic-ratelimit-{what}-remaining": remaining,
        f"anthropic-ratelimit-{what}-reset": reset,
    }


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        (openai(), Allowance(0.0, 20.0, 60.0), None),
        (openai(reset="6m0s"), Allowance(0.0, 360.0, 60.0), None),
        (openai(reset="120ms"), Allowance(0.0, 0.12, 60.0), None),
        (openai(reset="1h0m2.5s"), Allowance(0.0, 3602.5, 60.0), None),
        (openai(remaining="59", reset="1s"), Allowance(59.0, 1.0, 60.0), None),
        (openai("tokens", remaining="149984", reset="6m0s", limit="15e4"), None, Allowance(149984.0, 360.0)),
        (openai() | openai("tokens", remaining="7"), Allowance(0.0, 20.0, 60.0), Allowance(7.0, 20.0, 60.0)),
        (openai(reset="soon"), Allowance(0.0, None, 60.0), None),
        (openai(reset="20"), Allowance(0.0, None, 60.0), None),
        (openai(limit="many"), Allowance(0.0, 20.0, None), None),
        (openai(remaining="-1"), None, None),
        (openai(remaining="nan"), None, None),
        (openai(remaining=""), None, None),
        (openai(reset="9999h0s"), Allowance(0.0, LONGEST_S, 60.0), None),
        (anthropic(), Allowance(0.0, 20.0, 50.0), None),
        (anthropic() | anthropic("tokens"), Allowance(0.0, 20.0, 50.0), Allowance(0.0, 20.0, 50.0)),
        (anthropic(reset="2025-06-15T17:07:00+02:00"), Allowance(0.0, 20.0, 50.0), None),
        (anthropic(reset="2025-06-15T15:07:00"), Allowance(0.0, 20.0, 50.0), None),
        (anthropic(reset="2025-06-15T15:06:00Z"), Allowance(0.0, 0.0, 50.0), None),
        (anthropic(reset="0001-01-01T00:00:00+23:59"), Allowance(0.0, 0.0, 50.0), None),
        (anthropic(reset="20s"), Allowance(0.0, None, 50.0), None),
        (openai(remaining="3") | anthropic(), Allowance(3.0, 20.0, 60.0), None),
        ({"ratelimit-limit": "10", "ratelimit-remaining": "1", "ratelimit-reset": "7"}, Allowance(1.0, 7.0), None),
        ({"ratelimit-remaining": "1"}, Allowance(1.0), None),
        ({"ratelimit": '"default";r=50;t=30'}, Allowance(50.0, 30.0), None),
        ({"ratelimit": '"hour";r=990;t=3000, "minute"; r=2 ; t=9'}, Allowance(2.0, 9.0), None),
        ({"ratelimit": '"default";r=0'}, Allowance(0.0), None),
        ({"ratelimit": '"default";t=30'}, None, None),
        ({"ratelimit": "default"}, None, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1750000060"}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_the_headers_of_each_family(headers, requests, tokens):
    found = parse_allowances({"date": DATE, **headers}, 0.0)
    assert found == (Allowances(requests=requests, tokens=tokens) if requests or tokens else None)


def test_more_than_any_limit_has_is_none_and_no_reset_is_later_than_a_day():
    assert (LONGEST_S, MOST) == (86_400.0, 1e12)
    assert parse_allowances(openai(remaining="1000000000000", reset="24h"), NOW).requests == Allowance(
        1e12, 86_400.0, 60.0
    )
    assert parse_allowances(openai(remaining="1000000000001"), NOW) is None


def test_without_a_date_of_its_own_the_wall_clock_is_held_against_it():
    assert parse_allowances(anthropic(), NOW - 5.0).requests.reset_s == 25.0
    assert parse_allowances({**anthropic(), "date": "yesterday"}, NOW).requests.reset_s == 20.0


def test_names_have_no_case_and_contradictions_count_as_absent():
    headers = CIMultiDict({name.title(): value for name, value in openai().items()})
    assert parse_allowances(headers, NOW).requests == Allowance(0.0, 20.0, 60.0)
    headers.add("x-ratelimit-remaining-requests", "0")
    assert parse_allowances(headers, NOW).requests == Allowance(0.0, 20.0, 60.0)
    headers.add("x-ratelimit-remaining-requests", "5")
    assert parse_allowances(headers, NOW) is None


NAMES = [*openai(), *openai("tokens"), *anthropic(), *anthropic("tokens"), "ratelimit-remaining", "ratelimit-reset",
         "ratelimit", "date"]  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=string.digits + "hms.-+:TZ;rt=, eE", max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
)


@given(headers=st.dictionaries(st.sampled_from(NAMES), VALUES), wall_now=st.floats(0.0, 4e9))
def test_no_text_raises_or_tells_anything_out_of_bounds(headers, wall_now):
    found = parse_allowances(headers, wall_now)
    for allowance in (found.requests, found.tokens) if found else ():
        if allowance is None:
            continue
        for value, bound in (
            (allowance.remaining, MOST),
            (allowance.limit, MOST),
            (allowance.reset_s, LONGEST_S),
            (allowance.wait_s(1), LONGEST_S),
            (allowance.wait_s(1e9), LONGEST_S),
        ):
            assert value is None or (math.isfinite(value) and 0.0 <= value <= bound)
