"""Which key is sent: the first that is ready, else the one that will be ready first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.providers.keys import LIMITED_S, REFUSED_S, KeyRing, Refusal, refusal_of
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    Disposition,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

ALL = ""


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (AuthenticationFailed(status=401), Refusal(REFUSED_S, ALL)),
        (AuthenticationFailed(status=400), Refusal(REFUSED_S, ALL)),
        (AuthenticationFailed(status=403), Refusal(REFUSED_S, "m")),
        (AuthenticationFailed(status=407), None),
        (AuthenticationFailed(), Refusal(REFUSED_S, ALL)),
        (QuotaExhausted(status=402), Refusal(REFUSED_S, ALL)),
        (QuotaExhausted(status=429, retry_after_s=20), Refusal(20, ALL)),
        (QuotaExhausted(status=429, retry_after_s=1e9), Refusal(REFUSED_S, ALL)),
        (RateLimited(status=429), Refusal(LIMITED_S, "m")),
        (RateLimited(status=429, retry_after_s=0), Refusal(LIMITED_S, "m")),
        (RateLimited(status=429, retry_after_s=2), Refusal(2, "m")),
        (RateLimited(status=429, retry_after_s=1e9), Refusal(REFUSED_S, "m")),
        (RateLimited(status=429, disposition=Disposition.FALLBACK), None),
        *((kind(), None) for kind in (InvalidRequest, ModelNotFound, Overloaded, ServerError, ConnectionFailed)),
    ],
)
def test_what_an_error_says_of_the_key(error, refusal):
    assert refusal_of(error, "m") == refusal


def test_the_first_key_serves_until_it_is_refused():
    ring = KeyRing(3)
    assert [ring.choose("m", now) for now in (0.0, 1.0, 2.0)] == [0, 0, 0]
    ring.set_aside(0, Refusal(300, ALL), 2.0)
    assert [ring.choose("m", now) for now in (2.0, 100.0, 301.9, 302.0)] == [1, 1, 1, 0]


def test_a_refusal_for_one_model_is_none_for_the_others():
    ring = KeyRing(2)
    ring.set_aside(0, Refusal(300, "m"), 0.0)
    assert (ring.choose("m", 1.0), ring.choose("n", 1.0)) == (1, 0)
    assert (ring.ready("m", 1.0), ring.ready("n", 1.0)) == (1, 2)
    ring.set_aside(0, Refusal(20, ALL), 0.0)
    assert (ring.choose("n", 1.0), ring.choose("n", 20.0), ring.choose("m", 20.0)) == (1, 0, 1)


def test_a_key_is_ready_at_the_moment_at_which_its_time_is_over():
    ring = KeyRing(2)
    ring.set_aside(0, Refusal(5, ALL), 0.0)
    assert [ring.ready("m", now) for now in (4.9, 5.0)] == [1, 2]


def test_when_none_is_ready_the_soonest_is_sent_all_the_same():
    ring = KeyRing(3)
    for key, wait_s in enumerate((300, 5, 60)):
        ring.set_aside(key, Refusal(wait_s, ALL), 0.0)
    assert ring.ready("m", 1.0) == 0
    assert ring.choose("m", 1.0) == 1
    assert ring.first_ready_at("m") == 5.0


def test_a_longer_time_that_runs_stays():
    ring = KeyRing(2)
    ring.set_aside(0, Refusal(300, ALL), 0.0)
    ring.set_aside(0, Refusal(5, ALL), 100.0)
    assert ring.ready_at(0, "m") == 300.0


def test_errors_tell_of_no_other_key_unless_there_is_one():
    assert ProviderError().other_keys == 0


TIMES = st.floats(0, 1000, allow_nan=False)
REFUSALS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from((ALL, "m", "n")), st.floats(0.001, 300), TIMES))


@given(refusals=REFUSALS, now=TIMES, model=st.sampled_from(("m", "n", "o")))
def test_a_ready_key_is_preferred_the_first_of_them_and_else_the_soonest(refusals, now, model):
    ring = KeyRing(4)
    until = [0.0] * 4
    for key, place, wait_s, at in refusals:
        ring.set_aside(key, Refusal(wait_s, place), at)
        if place in (ALL, model):
            until[key] = max(until[key], at + wait_s)
    ready = [key for key in range(4) if until[key] <= now]
    chosen = ring.choose(model, now)
    assert chosen == (ready[0] if ready else until.index(min(until)))
    assert ring.ready(model, now) == len(ready)
    assert ring.first_ready_at(model) <= 0.0 or ring.first_ready_at(model) == min(until)
