"""How long an upstream asks us to wait."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asyncrouter.providers.retry_after import duration_s, parse_retry_after

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1000000000"}, 1e9),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        *(
            ({"retry-after": bad}, None)
            for bad in ("-5", "abc", "NaN", "inf", "1e3", "1_0", "٣", "", "1,2", "2s", "9" * 400, ".5", "5.")
        ),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun Nov  6 08:49:47 1994"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 10:49:47 +0200"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:38 GMT"}, 1.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT"}, None),
        ({"retry-after": "Sun, 99 Nov 1994 08:49:27 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 99999999999 08:49:27 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 253_402_300_799.0 - NOW),
        (  # their clock is an hour ahead of ours
            {"retry-after": "Sun, 06 Nov 1994 09:49:47 GMT", "date": "Sun, 06 Nov 1994 09:49:37 GMT"},
            10.0,
        ),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "never"}, 10.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1700000000"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "20ms",
            },
            1.0,
        ),
        ({"retry-after": "3", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 3.0),
    ],
)
def test_table(headers, wait_s):
    assert parse_retry_after(headers, NOW) == wait_s
    assert parse_retry_after(CIMultiDict({name.title(): value for name, value in headers.items()}), NOW) == wait_s


@pytest.mark.parametrize("zone", ["UTC", "XYZ-5"])
def test_a_date_without_a_zone_is_in_universal_time_wherever_this_machine_stands(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_retry_after({"retry-after": "Sun Nov  6 08:49:47 1994"}, NOW) == 10.0
        assert parse_retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:47 -0000"}, NOW) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_two_headers_that_contradict_each_other_count_as_none():
    assert parse_retry_after(CIMultiDict([("Retry-After", "2"), ("Retry-After", "3")]), NOW) is None
    assert parse_retry_after(CIMultiDict([("Retry-After", "2"), ("Retry-After", "2 ")]), NOW) == 2.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1m30.951s", 90.951), ("8.64s", 8.64),
     ("7m", 420), ("", None), ("5", None), ("s", None), ("1.2.3s", None),
     ("1s2m", None), ("-1s", None), ("9" * 400 + "h", None)],
)  # fmt: skip
def test_durations(text, seconds):
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=40), st.text(max_size=40), st.floats(0, 1e11))
def test_no_header_breaks_it_or_asks_for_less_than_nothing(text, date, now):
    wait_s = parse_retry_after({"retry-after": text, "retry-after-ms": date, "date": date}, now)
    assert wait_s is None or wait_s >= 0
