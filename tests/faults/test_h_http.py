"""Rows H01 to H22: what an HTTP answer that is none means, with the defaults that ship."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import pytest
from routed import KEY

from asyncrouter import (
    AllAttemptsFailed,
    AsyncRouterError,
    AttemptTimedOut,
    AuthenticationFailed,
    ContentFiltered,
    ContextWindowExceeded,
    Disposition,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.engine.attempt import LIMITED_S
from asyncrouter.providers.keys import REFUSED_S
from asyncrouter.testing import Fail
from asyncrouter.testing.http_script import End, Http, Json, Raw, Sse, chunk, completion, sse_completion
from asyncrouter.testing.server import ScriptedServer

QUICK = {"use": "exponential", "initial_delay_s": 0.02}
ALONE = {"deployments": ["a"]}
streamed_too = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def said(status, message="no", *, headers=None, **fields):
    """Return an error as OpenAI writes them."""
    return Json({"error": {"message": message, **fields}}, status, headers=headers or {})


def reply(streamed, text="ok"):
    """Return an upstream's answer to a plain call or to a streamed one."""
    return sse_completion(text) if streamed else completion(text)


async def answer(f, *, streamed=False, **arguments):
    """Make one call, plain or streamed to its end, and return the response."""
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


async def fails(f, kind, *, streamed=False, **arguments):
    """Make one call that must end in exactly this error, and return it."""
    with pytest.raises(kind) as caught:
        await answer(f, streamed=streamed, **arguments)
    assert type(caught.value) is kind
    return caught.value


def in_a_row(f, name="a", state="closed"):
    """Return how many failures in a row the breaker of a deployment has counted; it is in *state*."""
    assert f.state(name).breaker.state == state
    return f.state(name).breaker._failures_in_a_row


def cooldown(f, name="a"):
    """Return for how long a deployment is set aside, in seconds."""
    return max(0.0, f.state(name).cooldown_until - f.now())


# ---------------------------------------------------------------- too many requests


@streamed_too
async def test_h01_a_retry_after_is_waited_out_or_fled_from(wall, streamed):
    limited = said(429, headers={"retry-after": "2"})
    async with wall({"a": [limited, reply(streamed, "a")], "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "b"], 0)
        assert 0.0 < cooldown(f) <= 2.0
        assert in_a_row(f) == 0, "whoever says when to come back is not broken"


async def test_h01_where_there_is_nobody_else_the_gap_is_two_seconds_and_more(wall):
    async with wall({"a": [said(429, headers={"retry-after": "2"}), completion("a")]}) as f:
        response = await f.ask()
        assert (response.text, f.asked, response.trace.waits) == ("a", ["a", "a"], 1)
        (_, first), (_, second) = f.timeline
        assert second - first >= 2.0


@pytest.mark.parametrize("seed", range(100))
async def test_h02_a_limit_without_a_time_is_asked_at_most_4_times_in_3_s_and_6_in_all(faults, seed):
    async with faults({"a": Fail(RateLimited)}, groups={"chat": ALONE}, seed=seed) as f:
        await f.fails(AllAttemptsFailed)
        assert len(f.timeline) == 6
        assert sum(moment < 3.0 for _, moment in f.timeline) <= 4


@streamed_too
async def test_h02_then_another_group_is_asked(wall, streamed):
    groups = {"chat": {**ALONE, "fallbacks": ["spare"]}, "spare": {"deployments": ["b"]}}
    async with wall({"a": said(429), "b": reply(streamed, "b")}, groups=groups) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "a", "b"], 1)
        assert 0.0 < cooldown(f) <= LIMITED_S
    async with wall({"a": said(429), "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert in_a_row(f) == 1


@pytest.mark.parametrize(
    ("asked", "deadline_s", "cooled_s"), [("61", 600.0, 61.0), ("45", 30.0, 45.0), ("1000000000", 600.0, 300.0)]
)
@streamed_too
async def test_h03_a_time_beyond_cap_or_deadline_is_not_waited_for(wall, asked, deadline_s, cooled_s, streamed):
    limited = said(429, headers={"retry-after": asked})
    async with wall({"a": limited, "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed, deadline_s=deadline_s)
        assert (response.text, f.asked, response.trace.waited_s) == ("b", ["a", "b"], 0.0)
        assert cooled_s - 30 < cooldown(f) <= cooled_s
    async with wall({"a": limited}) as f:
        error = await fails(f, AllAttemptsFailed, streamed=streamed, deadline_s=deadline_s)
        assert (f.asked, error.trace.waits) == (["a"], 0)
        assert error.errors[0].retry_after_s == float(asked)


BAD_TIMES = ["-5", "abc", "NaN", "inf", "", "1e3", "Thu, 01 Jan 1970 00:00:00 GMT", "2; 3"]


@pytest.mark.parametrize("bad", BAD_TIMES)
async def test_h04_a_time_that_is_none_counts_as_absent(wall, bad):
    async with wall({"a": said(429, headers={"retry-after": bad}), "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert response.trace.attempts[0].error.retry_after_s is None
        assert 0.0 < cooldown(f) <= LIMITED_S
        assert in_a_row(f) == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Fri, 31 Dec 2032 23:59:59 GMT", "date": "Fri, 31 Dec 2032 23:59:57 GMT"}, 2.0),
    ],
)
async def test_h04_a_time_in_another_form_is_one(wall, headers, wait_s):
    async with wall({"a": said(429, headers=headers), "b": completion("b")}) as f:
        response = await f.ask()
        assert response.trace.attempts[0].error.retry_after_s == wait_s
        assert cooldown(f) <= wait_s


async def test_h04_two_times_that_contradict_each_other_are_none(wall):
    head = b"HTTP/1.1 429 Too Many\r\nretry-after: 2\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"
    async with wall({"a": Raw(head), "b": completion("b")}) as f:
        response = await f.ask()
        assert response.trace.attempts[0].error.retry_after_s is None


# ---------------------------------------------------------------- keys and credit


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


# ---------------------------------------------------------------- the upstream is at fault


@streamed_too
async def test_h06_a_500_is_retried_once_where_it_came_from(wall, streamed):
    async with wall({"a": [said(500), reply(streamed, "a")]}, retry=QUICK) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("a", ["a", "a"], 1)
        assert in_a_row(f) == 0
        assert f.router.metrics().deployments["a"].retries == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(502, ServerError), (503, Overloaded), (504, ServerError), (529, Overloaded)]
)
@streamed_too
async def test_h07_persistent_trouble_opens_the_breaker_and_others_answer(wall, status, kind, streamed):
    async with wall({"a": said(status), "b": reply(streamed, "b")}) as f:
        for _ in range(8):
            response = await answer(f, streamed=streamed)
            assert response.text == "b"
        assert f.asked.count("a") == 5
        assert f.state("a").breaker.state == "open"
        assert [one.deployment for one in response.trace.attempts] == ["b"]
        assert type(f.recorder.attempts[0].error) is kind


async def test_h07_alone_it_is_asked_a_bounded_number_of_times(faults):
    async with faults({"a": Fail(Overloaded)}, groups={"chat": ALONE}) as f:
        await f.fails(AllAttemptsFailed)
        assert len(f.called) <= 6
        assert f.state("a").breaker.state == "open"


@pytest.mark.parametrize("status", [408, 409, 425])
@streamed_too
async def test_h08_what_may_pass_is_retried(wall, status, streamed):
    async with wall({"a": [said(status), reply(streamed, "a")]}, retry=QUICK) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("a", ["a", "a"], 1)
        assert type(response.trace.attempts[0].error) is ServerError
    async with wall({"a": said(status), "b": reply(streamed, "b")}, retry="none") as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]


# ---------------------------------------------------------------- the request is at fault


@streamed_too
async def test_h09_an_invalid_request_is_told_in_the_upstreams_own_words(wall, streamed):
    words = "Invalid value for 'temperature': expected a number between 0 and 2, but got 3."
    invalid = said(400, words, type="invalid_request_error", param="temperature", code=None)
    async with wall({"a": invalid, "b": reply(streamed, "b")}) as f:
        error = await fails(f, InvalidRequest, streamed=streamed)
        assert str(error) == f"a (a): 400 {words}"
        assert (error.status, f.asked, in_a_row(f), cooldown(f)) == (400, ["a"], 0, 0.0)


TOO_LONG = said(
    400,
    "This model's maximum context length is 8192 tokens, however you requested 9000 tokens",
    code="context_length_exceeded",
    type="invalid_request_error",
)


@streamed_too
async def test_h10_a_prompt_too_long_goes_to_larger_windows_only(wall, streamed):
    scripts = {"a": TOO_LONG, "b": reply(streamed, "never"), "c": reply(streamed, "c")}
    windows = {name: {"context_window": size} for name, size in {"a": 8192, "b": 8192, "c": 128_000}.items()}
    async with wall(scripts, deployments=windows) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, in_a_row(f)) == ("c", ["a", "c"], 0)
    del scripts["c"], windows["c"]
    async with wall(scripts, deployments=windows) as f:
        error = await fails(f, ContextWindowExceeded, streamed=streamed)
        assert "maximum context length is 8192 tokens" in str(error)
        assert (f.asked, in_a_row(f)) == (["a"], 0)


FILTERED = said(400, "The response was filtered", code="content_filter")


@streamed_too
async def test_h11_a_content_policy_is_obeyed_unless_a_fallback_is_asked_for(wall, streamed):
    async with wall({"a": FILTERED, "b": reply(streamed, "never")}) as f:
        await fails(f, ContentFiltered, streamed=streamed)
        assert (f.asked, in_a_row(f)) == (["a"], 0)
    async with wall({"a": FILTERED, "b": reply(streamed, "b")}, fallback_on=["content_filter"]) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]


@pytest.mark.parametrize("code", ["model_not_found", None])
@streamed_too
async def test_h14_an_unknown_model_is_a_fault_of_the_configuration(wall, code, streamed):
    unknown = said(404, "The model does not exist", code=code)
    async with wall({"a": unknown, "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "b"], 0)
        error = response.trace.attempts[0].error
        assert (type(error), error.disposition) == (ModelNotFound, Disposition.FALLBACK)
        assert error.cure == "check model = 'a' and the base_url"
        assert str(error) == f"a (a): 404 The model does not exist; {error.cure}"
    async with wall({"a": unknown}) as f:
        await fails(f, AllAttemptsFailed, streamed=streamed)
        assert f.asked == ["a"]


@pytest.mark.parametrize("status", [413, 422])
@streamed_too
async def test_h15_what_is_wrong_everywhere_is_sent_once(wall, status, streamed):
    async with wall({"a": said(status, "too large"), "b": reply(streamed, "never")}) as f:
        error = await fails(f, InvalidRequest, streamed=streamed)
        assert (error.status, f.asked, in_a_row(f)) == (status, ["a"], 0)


# ---------------------------------------------------------------- what is no answer


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@streamed_too
async def test_h16_a_redirect_is_not_followed(wall, status, streamed):
    async with ScriptedServer(completion("evil")) as elsewhere:
        moved = Http(status, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
        async with wall({"a": moved, "b": reply(streamed, "b")}) as f:
            response = await answer(f, streamed=streamed)
            assert (response.text, f.asked) == ("b", ["a", "b"])
            error = response.trace.attempts[0].error
            assert (type(error), error.status) == (ModelNotFound, status)
            assert error.cure == "set base_url to the final address"
            assert str(elsewhere.port) not in str(error)
        assert elsewhere.connections == 0, "and the key goes nowhere else"


JSON = {"content-type": "application/json"}
WHOLE = json.dumps(completion("x" * 200).value).encode()
NO_ANSWERS = {
    "html": (Http(200, b"<html><title>Down</title></html>", headers={"content-type": "text/html"}), MalformedResponse),
    "empty": (Http(200, b"", headers=JSON), MalformedResponse),
    "blank": (Http(200, b" \n", headers=JSON), MalformedResponse),
    "truncated": (Http(200, WHOLE[:-20], headers=JSON), MalformedResponse),
    "text": (Http(200, b"OK", headers={"content-type": "text/plain"}), MalformedResponse),
    "a number": (Json(5), MalformedResponse),
    "null": (Json(None), MalformedResponse),
    "error": (Json({"error": {"message": "oops", "type": "server_error"}}), ServerError),
    "error that names its kind": (Json({"error": {"message": "busy", "type": "overloaded_error"}}), Overloaded),
    "error in a list": (Json([{"error": {"message": "busy", "status": "UNAVAILABLE", "code": 503}}]), Overloaded),
}


@pytest.mark.parametrize(("script", "kind"), NO_ANSWERS.values(), ids=NO_ANSWERS)
@streamed_too
async def test_h17_a_200_without_an_answer_is_an_error_that_may_be_retried(wall, script, kind, streamed):
    async with wall({"a": [script, reply(streamed, "a")]}, retry=QUICK) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked) == ("a", ["a", "a"])
        error = response.trace.attempts[0].error
        assert error.disposition is Disposition.RETRY
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert (f.asked, in_a_row(f)) == (["a", "b"], 1)
        assert type(f.recorder.attempts[0].error) in ({kind, StreamInterrupted} if streamed else {kind})


def message(**fields):
    return Json({"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}]})


EMPTY = {
    "no choices": Json({"choices": []}),
    "choices that are none": Json({"choices": None}),
    "null content": message(content=None),
    "empty content": message(content=""),
    "no content": message(),
    "no tool calls": message(content=None, tool_calls=[]),
    "a choice without a message": Json({"choices": [{"index": 0, "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("script", EMPTY.values(), ids=EMPTY)
async def test_h18_an_empty_answer_is_none(wall, script):
    async with wall({"a": script, "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert type(response.trace.attempts[0].error) is MalformedResponse


EMPTY_STREAMS = {
    "nothing": Sse([]),
    "no choices": Sse([{"choices": []}]),
    "a role and an end": Sse([chunk({"role": "assistant", "content": ""}), chunk({}, "stop")]),
    "null content": Sse([chunk({"content": None}), chunk({}, "stop")]),
}


@pytest.mark.parametrize("script", EMPTY_STREAMS.values(), ids=EMPTY_STREAMS)
async def test_h18_an_empty_stream_is_none(wall, script):
    async with wall({"a": script, "b": sse_completion("b")}) as f:
        chunks, response = await f.read()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert "".join(one.text for one in chunks) == "b"


async def test_h18_a_tool_call_without_content_is_an_answer(wall):
    call = {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    async with wall({"a": message(content=None, tool_calls=[call]), "b": completion("never")}) as f:
        assert (await f.ask()).tool_calls == [call]


ODD = {
    "204": Http(204),
    "205": Http(205),
    "206": Http(206, WHOLE, headers=JSON),
    "201 without a body": Http(201),
    "101": Raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", End.HANG),
    "599": Http(599),
    "999": Http(999),
}


@pytest.mark.parametrize("script", ODD.values(), ids=ODD)
@streamed_too
async def test_h19_odd_statuses_are_errors_and_hang_nobody(wall, script, streamed):
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert type(f.recorder.attempts[0].error) is not AttemptTimedOut


async def test_h19_hints_alone_are_no_byte_of_an_answer(wall):
    async with wall({"a": Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", End.CLOSE), "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        assert f.asked == ["a", "a", "b"]


async def test_h19_hints_before_the_answer_are_passed_over(wall):
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
    hints = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    )
    async with wall({"a": Raw(hints + head + WHOLE, End.KEEP), "b": completion("never")}) as f:
        assert (await f.ask()).text == "x" * 200


WRONG_LENGTHS = {
    "declared too long, closed": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) + 100, end=End.CLOSE),
    "declared too long, reset": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) + 100, end=End.RESET),
    "declared too short": Http(200, WHOLE, headers=JSON, content_length=len(WHOLE) - 20),
    "two lengths": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\n" + WHOLE, End.HANG),
    "a length and chunks": Raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", End.HANG
    ),
    "no number": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + WHOLE, End.HANG),
    "a chunk too short": Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{}", End.CLOSE),
    "no chunk size": Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n", End.HANG),
}


@pytest.mark.parametrize("script", WRONG_LENGTHS.values(), ids=WRONG_LENGTHS)
@streamed_too
async def test_h20_a_wrong_length_is_no_answer_and_ends_the_connection(wall, script, streamed):
    async with wall({"a": [script, reply(streamed, "a")], "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert (await answer(f, streamed=streamed)).text == "a"
        connections = [request.connection for request in f.server.requests if request.json["model"] == "a"]
        assert connections[0] != connections[1]


async def test_h20_what_follows_an_answer_is_never_taken_for_the_next(wall):
    """A length that is too short by a whole response: nothing of it may be read as the answer to the next request."""
    smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
    first = json.dumps(completion("first").value).encode()
    script = Http(200, first + smuggled, headers=JSON, content_length=len(first))
    async with wall({"a": [script, completion("second")]}) as f:
        assert (await f.ask()).text == "first"
        assert (await f.ask()).text == "second"
        assert [request.connection for request in f.server.requests] == [1, 2]


def zipped(data, **fields):
    return Http(200, data, headers={"content-encoding": "gzip", **JSON}, **fields)


CORRUPT = {
    "no gzip at all": zipped(b"this is no gzip"),
    "cut short": zipped(gzip.compress(WHOLE)[:-10]),
    "damaged": zipped(gzip.compress(os.urandom(2000))[:500] + b"\xff" * 500),
    "wrong checksum": zipped(gzip.compress(WHOLE)[:-8] + b"\0" * 8),
}


@pytest.mark.parametrize("script", CORRUPT.values(), ids=CORRUPT)
@streamed_too
async def test_h21_corrupt_compression_is_no_answer(wall, script, streamed):
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]


@pytest.mark.parametrize("status", [200, 400, 500])
@streamed_too
async def test_h21_a_bomb_is_capped(wall, status, streamed):
    """A hundred megabytes in a hundred kilobytes: neither they nor their like are ever held at once."""
    bomb = gzip.compress(b'{"choices": [' + b" " * 100_000_000, 9)
    script = Http(status, bomb, headers={"content-encoding": "gzip", **JSON})
    providers = {"a": {"max_response_bytes": 1_000_000}}
    async with wall({"a": script, "b": reply(streamed, "b")}, providers=providers, fallback_on=[]) as f:
        tracemalloc.start()
        try:
            if status == 400:
                await fails(f, InvalidRequest, streamed=streamed)
            else:
                assert (await answer(f, streamed=streamed)).text == "b"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert f.asked == (["a"] if status == 400 else ["a", "b"])
        assert peak < 40_000_000


@streamed_too
async def test_h22_an_upstream_that_wants_no_retry_gets_none(wall, streamed):
    stop = said(500, headers={"x-should-retry": "false"})
    async with wall({"a": stop}) as f:
        error = await fails(f, AllAttemptsFailed, streamed=streamed)
        assert (f.asked, error.trace.waits) == (["a"], 0)
        assert error.errors[0].disposition is Disposition.FALLBACK
    async with wall({"a": stop, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]


@pytest.mark.parametrize("status", [400, 401])
async def test_h22_an_upstream_that_wants_a_retry_makes_nothing_right(wall, status):
    async with wall({"a": said(status, headers={"x-should-retry": "true"})}) as f:
        await f.caught(f.ask())
        assert f.asked == ["a"]


# ---------------------------------------------------------------- what an upstream repeats


def echoing(request):
    """Return everything that arrived, as a thoughtless upstream puts it into its errors."""
    return f"cannot parse {request.body.decode()} of {request.headers['authorization']}"


ECHOES = {
    "a message": lambda request: said(400, echoing(request)),
    "plain text": lambda request: Http(500, echoing(request).encode()),
    "the prompt alone": lambda request: said(422, request.json["messages"][0]["content"]),
    "at the end of what is shown": lambda request: said(400, "x" * 480 + request.json["messages"][0]["content"]),
    "inside a 200": lambda request: said(200, echoing(request)),
    "in the middle of a stream": lambda request: Sse(
        [chunk({"content": "a"}), {"error": {"message": echoing(request)}}]
    ),
    "an id": lambda request: Http(503, headers={"x-request-id": request.json["messages"][0]["content"]}),
    "a page": lambda request: Http(502, f"<html><title>{request.json['messages'][0]['content']}</title>".encode()),
    "a status line": lambda request: Raw(f"HTTP/1.1 OOPS {request.json['messages'][0]['content']}\r\n\r\n".encode()),
    "a header": lambda request: Http(200, b"x", headers={"content-type": request.json["messages"][0]["content"]}),
    "faults in a list": lambda request: Json(
        {
            "detail": [
                {"loc": ["body"], "msg": f"bad {request.json['messages'][0]['content']}", "input": echoing(request)}
            ]
        },
        422,
    ),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@streamed_too
async def test_attack_29_and_30_neither_key_nor_prompt_of_an_upstreams_error_is_shown(wall, echo, streamed):
    """I7 looks for both in every sink."""
    async with wall({"a": echo, "b": echo}, retry="none") as f:
        assert isinstance(await f.caught(answer(f, streamed=streamed)), AsyncRouterError)
        assert "a" in f.asked


async def test_attack_30_all_else_is_shown_verbatim(wall):
    words = "The model is busy with 'PROMPT-SENTINEL tell nobody' until 12:00; see https://example.com/limits?a=b."
    async with wall({"a": said(400, words)}) as f:
        error = await fails(f, InvalidRequest)
        assert str(error) == f"a (a): 400 {words.replace('PROMPT-SENTINEL tell nobody', '[prompt]')}"
