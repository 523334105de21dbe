from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.strategies.retries.exponential import ExponentialRetry, NoRetry
from asyncrouter.types.decisions import GiveUp, Retry
from asyncrouter.types.errors import (
    AttemptTimedOut,
    ContentFiltered,
    InvalidRequest,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, TraceBuilder


def ask(strategy, error, waits=0, seed=0):
    attempt = Attempt(
        number=1, deployment="a", group="chat", kind=AttemptKind.FIRST, outcome=Outcome.FAILED, error=error
    )
    trace = TraceBuilder("r1", None, "chat", 0.0)
    trace.waits = waits
    return strategy.asyncrouter_retry(attempt, trace, random.Random(seed))  # noqa: S311 - reproducible, not secret


def test_without_jitter_the_bound_itself_is_waited():
    strategy = ExponentialRetry(jitter=False, max_retries=8)
    delays = [ask(strategy, ServerError(), waits).delay_s for waits in range(8)]
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]


def test_full_jitter_fills_the_whole_range():
    strategy = ExponentialRetry(initial_delay_s=4.0)
    delays = [ask(strategy, ServerError(), seed=seed).delay_s for seed in range(400)]
    assert min(delays) < 0.2
    assert max(delays) > 3.8
    assert sum(delays) / 400 == pytest.approx(2.0, abs=0.2)


def test_the_answer_tells_which_wait_it_is():
    found = ask(ExponentialRetry(), RateLimited("secret words"), waits=2)
    assert found.reason == "RateLimited, wait 3 of 5"
    assert not found.before_fallback


@pytest.mark.parametrize("waits", [5, 6])
def test_after_the_last_wait_it_gives_up(waits):
    assert ask(ExponentialRetry(), ServerError(), waits=waits) == GiveUp(f"waited {waits} of 5 times")
    assert isinstance(ask(ExponentialRetry(max_retries=0), ServerError()), GiveUp)


@pytest.mark.parametrize("error", [QuotaExhausted(), AttemptTimedOut(), ContentFiltered(), InvalidRequest()])
def test_only_retriable_errors_are_retried(error):
    assert ask(ExponentialRetry(), error) == GiveUp(f"{type(error).__name__} is not retried")


def test_a_rejected_answer_is_not_retried():
    assert ask(ExponentialRetry(), None) == GiveUp("nothing to retry")


def test_retry_after_is_kept_and_spread():
    strategy = ExponentialRetry()
    delays = [ask(strategy, RateLimited(retry_after_s=10.0), seed=seed).delay_s for seed in range(200)]
    assert min(delays) >= 10.0
    assert max(delays) <= 11.0
    assert max(delays) - min(delays) > 0.8


def test_a_longer_backoff_outweighs_a_short_retry_after():
    found = ask(ExponentialRetry(jitter=False), RateLimited(retry_after_s=2.0), waits=4)
    assert 16.0 <= found.delay_s <= 16.2


def test_retry_after_at_the_cap_is_kept_and_over_it_gives_up():
    assert ask(ExponentialRetry(), RateLimited(retry_after_s=60.0)).delay_s >= 60.0
    assert ask(ExponentialRetry(), RateLimited(retry_after_s=60.5)) == GiveUp("Retry-After 60.5 s is over 60 s")
    assert isinstance(ask(ExponentialRetry(retry_after_cap_s=0), RateLimited(retry_after_s=0.1)), GiveUp)


@pytest.mark.parametrize("value", [0.0, -3.0, math.nan])
def test_a_senseless_retry_after_counts_as_absent(value):
    strategy = ExponentialRetry(jitter=False)
    assert ask(strategy, Overloaded(retry_after_s=value)).delay_s == 1.0


@given(
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    cap=st.floats(0, 1e6),
    waits=st.integers(0, 10**9),
    retry_after=st.none() | st.floats(0, 60),
    seed=st.integers(0, 99),
)
def test_every_delay_lies_in_its_range(*, initial, factor, cap, waits, retry_after, seed):
    strategy = ExponentialRetry(max_retries=10**9 + 1, initial_delay_s=initial, factor=factor, cap_s=cap)
    found = ask(strategy, RateLimited(retry_after_s=retry_after), waits, seed)
    assert isinstance(found, Retry)
    low = retry_after or 0.0
    assert low <= found.delay_s <= max(cap, low) + 0.1 * low + 1e-9


@given(waits=st.integers(1, 5000), factor=st.floats(1, 10))
def test_bounds_never_shrink(waits, factor):
    strategy = ExponentialRetry(factor=factor)
    assert strategy.bound_s(waits) <= strategy.bound_s(waits + 1) <= 30.0


def test_no_initial_delay_stays_none_however_often():
    strategy = ExponentialRetry(initial_delay_s=0)
    assert [strategy.bound_s(number) for number in (1, 5, 10**6)] == [0.0, 0.0, 0.0]
    assert ExponentialRetry().bound_s(10**6) == 30.0


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"max_retries": -1}, r"^max_retries: expected a whole number of 0 or more, not -1$"),
        ({"max_retries": 2.5}, r"^max_retries: expected a whole number of 0 or more, not 2\.5$"),
        ({"initial_delay_s": -1}, r"^initial_delay_s: expected a number of 0 or more, not -1$"),
        ({"factor": 0.5}, r"^factor: expected a number of 1 or more, not 0\.5$"),
        ({"cap_s": math.inf}, r"^cap_s: expected a number of 0 or more, not inf$"),
        ({"jitter": "yes"}, r"^jitter: expected true or false, not the string 'yes'$"),
        ({"retry_after_cap_s": math.nan}, r"^retry_after_cap_s: expected a number of 0 or more, not nan$"),
    ],
)
def test_wrong_options_are_named_with_value_and_range(given_options, message):
    with pytest.raises(ValueError, match=message):
        ExponentialRetry(**given_options)


def test_none_gives_up():
    assert NoRetry().asyncrouter_retry() == GiveUp("retries are off")


@pytest.mark.parametrize("waits", range(5))
def test_after_a_rate_limit_at_least_half_of_the_bound_is_waited(waits):
    delays = [ask(ExponentialRetry(), RateLimited(), waits, seed).delay_s for seed in range(200)]
    bound = 2**waits
    assert bound / 2 <= min(delays) < 0.55 * bound
    assert 0.95 * bound < max(delays) <= bound
