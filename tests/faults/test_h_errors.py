"""Rows H06 to H11, H14, H15 and H22: who is at fault, who is asked next, and what is shown of the upstream's words."""

from __future__ import annotations

import pytest
from http_errors import ALONE, QUICK, answer, cooldown, fails, in_a_row, reply, said, streamed_too

from asyncrouter import (
    AllAttemptsFailed,
    AsyncRouterError,
    ContentFiltered,
    ContextWindowExceeded,
    Disposition,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ServerError,
)
from asyncrouter.testing import Fail
from asyncrouter.testing.http_script import Http, Json, Raw, Sse, chunk

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


# ---------------------------------------------------------------- what the upstream wants


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
