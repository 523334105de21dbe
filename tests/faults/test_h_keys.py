"""Rows H05, H12 and H13: keys that are refused or limited, and credit that is used up."""

from __future__ import annotations

import pytest
from http_errors import answer, cooldown, fails, in_a_row, reply, said, streamed_too
from routed import KEY

from asyncrouter import AllAttemptsFailed, AuthenticationFailed, Disposition, QuotaExhausted
from asyncrouter.providers.keys import REFUSED_S
from asyncrouter.testing.http_script import completion


def keys(*names):
    """Return the options of a provider with so many keys, each of which holds the sentinel."""
    return {"api_key": [lambda name=name: f"{KEY}-{name}" for name in names]}


def by_key(**scripts):
    """Answer each key as *scripts* say."""

    def script(request):
        name = request.headers["authorization"].rpartition("-")[2]
        return scripts[name](request) if callable(scripts[name]) else scripts[name]

    return script


def keys_sent(f):
    return [request.headers["authorization"].rpartition("-")[2] for request in f.server.requests]


NO_CREDIT = {
    "h05": said(429, "You exceeded your current quota", code="insufficient_quota", type="insufficient_quota"),
    "h13": said(402, "Payment required"),
}


@streamed_too
async def test_h05_insufficient_quota_is_not_retried_and_sets_aside_for_long(wall, streamed):
    await no_credit(wall, NO_CREDIT["h05"], streamed)


@streamed_too
async def test_h13_payment_required_is_not_retried_and_sets_aside_for_long(wall, streamed):
    await no_credit(wall, NO_CREDIT["h13"], streamed)


async def no_credit(wall, refusal, streamed):
    async with wall({"a": refusal, "b": reply(streamed, "b")}) as f:
        for _ in range(2):
            assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b", "b"]
        assert REFUSED_S - 30 < cooldown(f) <= REFUSED_S
        assert in_a_row(f) == 0
    async with wall({"a": refusal}) as f:
        error = await fails(f, AllAttemptsFailed, streamed=streamed)
        assert (f.asked, error.trace.waits) == (["a"], 0)
        assert type(error.errors[0]) is QuotaExhausted
        assert "every key of provider 'a' was refused: api_key" in str(error)


@streamed_too
async def test_h05_the_next_key_is_asked_at_once(wall, streamed):
    await next_key(wall, NO_CREDIT["h05"], QuotaExhausted, streamed)


@streamed_too
async def test_h13_the_next_key_is_asked_at_once(wall, streamed):
    await next_key(wall, NO_CREDIT["h13"], QuotaExhausted, streamed)


REFUSALS = {"401": said(401, "Incorrect API key provided", code="invalid_api_key"), "403": said(403, "Forbidden")}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@streamed_too
async def test_h12_a_refused_key_is_dead_for_the_request_and_the_next_one_asked(wall, refusal, streamed):
    await next_key(wall, refusal, AuthenticationFailed, streamed)


async def next_key(wall, refusal, kind, streamed):
    """Of three keys two are refused: the third answers, at once, and nothing is counted for the deployment."""
    scripts = by_key(one=refusal, two=refusal, three=reply(streamed, "a"))
    settings = {"retry_budget": 0.0, "retry_floor": 0}
    providers = {"a": keys("one", "two", "three")}
    async with wall({"a": scripts}, providers=providers, max_attempts=1, settings=settings) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, keys_sent(f)) == ("a", ["one", "two", "three"])
        assert [type(one.error) for one in response.trace.attempts] == [kind, kind, type(None)]
        assert response.trace.attempts[1].reason == f"another key after {kind.__name__}"
        assert (response.trace.waits, cooldown(f), in_a_row(f)) == (0, 0.0, 0)
        assert (await answer(f, streamed=streamed)).text == "a"
        assert keys_sent(f)[3:] == ["three"], "and nobody tries them again soon"
        metrics = f.router.metrics()
        assert (metrics.total.calls, metrics.total.failures) == (2, 0)
        assert (metrics.deployments["a"].calls, metrics.deployments["a"].failures) == (4, 2)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@streamed_too
async def test_h12_when_every_key_is_refused_the_error_tells_of_the_credentials(wall, monkeypatch, refusal, streamed):
    """The gateway's ``upstream_credentials``: the class, and the names of the variables."""
    names = ["FIRST_KEY", "SECOND_KEY"]
    for name in names:
        monkeypatch.setenv(name, f"{KEY}-{name}")
    providers = {"a": {"api_key": None, "api_key_env": names}}
    async with wall({"a": refusal}, providers=providers) as f:
        error = await fails(f, AllAttemptsFailed, streamed=streamed)
        assert [type(one) for one in error.errors] == [AuthenticationFailed] * 2
        assert (error.__cause__.disposition, error.__cause__.other_keys) == (Disposition.FALLBACK, 0)
        assert str(error.__cause__).endswith("every key of provider 'a' was refused: FIRST_KEY, SECOND_KEY")
        assert (f.asked, error.trace.waits) == (["a", "a"], 0)
        assert (cooldown(f), in_a_row(f, state="open")) == (0.0, 1), "the breaker learns of it once"
    async with wall({"a": refusal, "b": reply(streamed, "b")}, providers=providers) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "a", "b"]


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_h12_a_single_key_is_not_tried_twice(wall, refusal):
    async with wall({"a": refusal, "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        error = response.trace.attempts[0].error
        assert (type(error), error.disposition) == (AuthenticationFailed, Disposition.FALLBACK)
        assert in_a_row(f, state="open") == 1


@streamed_too
async def test_a_limited_key_waits_while_another_serves(wall, streamed):
    """429 rotates too: the Retry-After is the key's patience, and the deployment's only when no key is left."""
    limited = said(429, headers={"retry-after": "30"})
    providers = {"a": keys("one", "two")}
    async with wall({"a": by_key(one=limited, two=reply(streamed, "a"))}, providers=providers) as f:
        assert (await answer(f, streamed=streamed)).text == "a"
        assert (keys_sent(f), cooldown(f), in_a_row(f)) == (["one", "two"], 0.0, 0)
    sooner = said(429, headers={"retry-after": "20"})
    scripts = {"a": by_key(one=limited, two=sooner), "b": reply(streamed, "b")}
    async with wall(scripts, providers=providers) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "a", "b"]
        assert 0 < cooldown(f) <= 20
        assert in_a_row(f) == 0


async def test_many_at_once_find_the_key_that_is_left(wall):
    scripts = by_key(one=said(401), two=said(402), three=completion("a"))
    async with wall({"a": scripts}, providers={"a": keys("one", "two", "three")}) as f:
        assert [one.text for one in await f.many(30)] == ["a"] * 30
        assert in_a_row(f) == 0
        assert [one.text for one in await f.many(5)] == ["a"] * 5
        assert keys_sent(f)[-5:] == ["three"] * 5
