"""Plain chat completions over a real socket: what goes out, what comes back, what is no answer."""

from __future__ import annotations

import asyncio
import gzip
import json

import attrs
import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.testing.server import End, Gate, Http, Json, ScriptedServer, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ContentFiltered,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    ProviderError,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Usage
from asyncrouter.version import VERSION

MESSAGES = [
    {"role": "system", "content": [{"type": "text", "text": "Be kind"}], "name": "a"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "é 🎉", "name": "f"},
]
MINI = Deployment(name="mini", provider="acme", model="m-1")


async def complete_with(provider, **params):
    request = Request(messages=[{"role": "user", "content": "Hi"}], params=params)
    return await provider.complete(request, MINI, Timeouts())


PARAMS = {
    "temperature": 0,
    "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "parallel_tool_calls": True,
    "n": 1,
    "stop": ["a"],
    "unknown_field": {"deep": [None]},
}


async def test_the_request_goes_out_untouched(call):
    async with ScriptedServer(completion()) as server:
        await call.complete(server, messages=MESSAGES, **PARAMS)
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.json == {"model": "m-1", "messages": MESSAGES, **PARAMS}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"asyncrouter/{VERSION}"
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


async def test_parameters_cannot_take_the_calls_own_place(call):
    params = {"model": "other", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    async with ScriptedServer(completion()) as server:
        await complete_with(call.provider(server, params={"top_p": 1}), **params)
        body = server.requests[0].json
    assert body == {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "top_p": 1}


async def test_the_callers_parameters_lie_over_the_providers(call):
    async with ScriptedServer(completion()) as server:
        await call.complete(server, options={"params": {"top_p": 1, "seed": 5}}, top_p=0.5)
        body = server.requests[0].json
    assert (body["top_p"], body["seed"]) == (0.5, 5)


async def test_the_answer_comes_back_untouched(call):
    scripted = completion("é 🎉", usage=(7, 3), tool_calls=[{"id": "1"}], reasoning_content="hm", unknown={"a": [None]})
    headers = {
        "X-Request-ID": "r-1",
        "x-ratelimit-remaining-requests": "5",
        "openai-processing-ms": "12",
        "Set-Cookie": "a=b",
        "server": "x",
    }
    async with ScriptedServer(attrs.evolve(scripted, headers=headers)) as server:
        response = await call.complete(server)
    assert response.raw == scripted.value
    assert (response.deployment, response.model, response.text) == ("mini", "m-1", "é 🎉")
    assert response.usage == Usage(input_tokens=7, output_tokens=3)
    assert response.headers == {
        "x-request-id": "r-1",
        "x-ratelimit-remaining-requests": "5",
        "openai-processing-ms": "12",
    }
    assert response.trace is None


async def test_without_usage_there_is_none(call):
    async with ScriptedServer(completion(usage=None)) as server:
        assert (await call.complete(server)).usage is NO_USAGE


@pytest.mark.parametrize("status", [200, 201, 203])
async def test_statuses_that_hold_an_answer(call, status):
    async with ScriptedServer(Json(completion("Hi").value, status)) as server:
        assert (await call.complete(server)).text == "Hi"


async def test_compressed_and_chunked_and_dripping_answers(call):
    body = json.dumps(completion("Hi").value).encode()
    scripts = [
        Http(body=gzip.compress(body), headers={"content-encoding": "gzip"}),
        Http(body=body, chunked=True),
        Http(body=body, drip=(7, 0)),
        Http(body=b"\n\n\n" + body, chunked=True, drip=(1, 0)),
    ]
    async with ScriptedServer(scripts) as server:
        for _ in scripts:
            assert (await call.complete(server)).text == "Hi"


async def test_a_request_of_two_megabytes(call):
    prompt = "x" * 2_000_000
    async with ScriptedServer(completion()) as server:
        await call.complete(server, messages=[{"role": "user", "content": prompt}])
        assert server.requests[0].json["messages"][0]["content"] == prompt


async def test_connections_are_used_again_and_cookies_are_not(call):
    async with ScriptedServer(Json(completion().value, headers={"Set-Cookie": "id=1; Path=/"})) as server:
        provider = OpenAICompatible(name="acme", base_url=f"http://localhost:{server.port}/v1")  # names get cookies
        call.made.append(provider)
        for _ in range(3):
            await complete_with(provider)
        assert server.connections == 1
        assert not any("cookie" in request.headers for request in server.requests)


async def test_a_connection_is_used_again_after_an_error_too(call):
    async with ScriptedServer([Json({"error": {"message": "no"}}, 500), completion()]) as server:
        provider = call.provider(server)
        with pytest.raises(ServerError):
            await complete_with(provider)
        await complete_with(provider)
        assert server.connections == 1


async def test_many_calls_at_once(call):
    gate = Gate()
    async with ScriptedServer(Json(completion("Hi").value, gate=gate)) as server:
        provider = call.provider(server)
        calls = [asyncio.create_task(complete_with(provider)) for _ in range(150)]
        await asyncio.wait_for(server.received(150), 10)  # none waits for a place: the engine limits, not the pool
        gate.release()
        assert {(await one).text for one in calls} == {"Hi"}
        assert server.connections == 150


NO_ANSWERS = {
    "html": (Http(body=b"<html>Sorry</html>", headers={"content-type": "text/html"}), MalformedResponse),
    "nothing": (Http(), MalformedResponse),
    "truncated": (Http(body=b'{"choices": [{"mess'), MalformedResponse),
    "a list": (Json([]), MalformedResponse),
    "a text": (Json("Hi"), MalformedResponse),
    "null": (Json(None), MalformedResponse),
    "no choices": (Json({"id": 1}), MalformedResponse),
    "empty choices": (Json({"choices": []}), MalformedResponse),
    "null content": (completion(None), MalformedResponse),
    "empty content": (completion(""), MalformedResponse),
    "nesting": (Http(body=b"[" * 200_000), MalformedResponse),
    "deep object": (Http(body=b'{"choices":' * 100_000), MalformedResponse),
    "not a number": (Http(body=b'{"choices": NaN}'), MalformedResponse),
    "no utf-8": (Http(body=b'{"choices": "\xff"}'), MalformedResponse),
    "filtered": (completion("Hal", finish_reason="content_filter"), ContentFiltered),
    "error inside": (Json({"error": {"message": "slow down", "code": 429}}), RateLimited),
    "error without code": (Json({"error": {"message": "boom"}}), ServerError),
    "error in a list": (Json([{"error": {"code": 404, "message": "no such model"}}]), ModelNotFound),
    "204": (Http(204), MalformedResponse),
    "202": (Json({"id": "later"}, 202), MalformedResponse),
    "205": (Http(205), MalformedResponse),
    "206": (Json(completion().value, 206), MalformedResponse),
}


@pytest.mark.parametrize(("script", "kind"), NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer(either_call, assert_clean, script, kind):
    kinds = {kind}
    if either_call.__name__ == "stream" and kind is MalformedResponse:
        kinds.add(StreamInterrupted)  # what is neither JSON nor HTML is a stream of no events
    async with ScriptedServer(script) as server:
        with pytest.raises(ProviderError) as raised:
            await either_call(server)
    assert type(raised.value) in kinds
    assert raised.value.deployment == "mini"
    assert raised.value.status is not None
    assert_clean(raised.value)
    assert str(raised.value).startswith("mini (acme): ")


async def test_an_empty_answer_that_ran_out_of_tokens_is_one(call):
    async with ScriptedServer(completion("", finish_reason="length", reasoning_content="hm")) as server:
        assert (await call.complete(server)).finish_reason == "length"


async def test_the_upstreams_id_is_on_the_error(either_call):
    async with ScriptedServer(Json({"choices": []}, headers={"x-request-id": "r-9"})) as server:
        with pytest.raises(MalformedResponse) as raised:
            await either_call(server)
    assert raised.value.request_id == "r-9"


@pytest.mark.parametrize(
    "script",
    [Http(body=b" " * 5_000_000), Http(body=b'"' + b"x" * 2000, chunked=True, drip=(100, 0), end=End.HANG),
     Http(body=gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})],
    ids=["declared", "chunked", "compressed"],
)  # fmt: skip
async def test_an_answer_has_a_limit(call, script):
    async with ScriptedServer(script) as server:
        with pytest.raises(MalformedResponse, match="longer than 1000 bytes"):
            await call.complete(server, options={"max_response_bytes": 1000})
        await server.idle()  # the connection is closed, not read to its end


async def test_an_endless_error_is_cut_short_and_still_understood(either_call):
    async with ScriptedServer(Http(429, b"slow down " * 100_000, headers={"retry-after": "3"})) as server:
        with pytest.raises(RateLimited, match="429 slow down") as raised:
            await either_call(server)
        assert raised.value.retry_after_s == 3.0
        await server.idle()


async def test_a_refusal_that_hangs_or_breaks_off_is_still_understood(either_call, monkeypatch):
    monkeypatch.setattr("asyncrouter.providers.openai_compatible.ERROR_BODY_S", 0.02)
    for end in (End.HANG, End.CLOSE, End.RESET):
        async with ScriptedServer(Http(401, b"wrong", content_length=100, end=end)) as server:
            with pytest.raises(AuthenticationFailed, match="401"):
                await either_call(server)


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ({"temperature": float("nan")}, "temperature"),
        ({"tools": [object()]}, r"tools\[0\]"),
        ({"user": "\ud800"}, "user"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_any_call(either_call, bad, place):
    async with ScriptedServer(completion()) as server:
        with pytest.raises(InvalidRequest, match=place):
            await either_call(server, **bad)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("preset", "model", "params", "sent"),
    [
        ("openai", "gpt-4o", {"max_tokens": 5}, {"max_tokens": 5}),
        ("openai", "o3-mini", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", "gpt-5.1", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", "gpt-5", {"max_tokens": 5, "max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ("openai", "gpt-50", {"max_tokens": 5}, {"max_tokens": 5}),
        ("mistral", "m", {"max_completion_tokens": 5, "seed": 1}, {"max_tokens": 5, "random_seed": 1}),
        ("groq", "o3", {"max_tokens": 5}, {"max_tokens": 5}),
    ],
)
async def test_parameters_that_a_server_calls_otherwise(either_call, preset, model, params, sent):
    async with ScriptedServer(completion()) as server:
        deployment = Deployment(name="mini", provider="acme", model=model)
        await either_call(server, deployment=deployment, options={"preset": PRESETS[preset]}, **params)
        body = server.requests[0].json
    rest = {key: value for key, value in body.items() if key not in {"model", "messages", "stream", "stream_options"}}
    assert rest == sent


async def test_azures_header_and_address(call, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k-123456")
    async with ScriptedServer(completion()) as server:
        for options in ({}, {"api_version": "2024-10-21"}):
            provider = OpenAICompatible(name="azure", base_url=server.url, preset=PRESETS["azure"], **options)
            call.made.append(provider)
            await complete_with(provider)
        first, second = server.requests
    assert first.path == "/openai/v1/chat/completions"
    assert second.path == "/openai/deployments/m-1/chat/completions?api-version=2024-10-21"
    assert first.headers["api-key"] == second.headers["api-key"] == "k-123456"
    assert "authorization" not in first.headers


async def test_static_headers_and_the_key_are_sent(call, monkeypatch):
    monkeypatch.setenv("MY_KEY", "k-123456")
    options = {"api_key_env": "MY_KEY", "headers": {"X-Title": "tests"}, "organization": "o", "project": "p"}
    async with ScriptedServer(completion()) as server:
        await call.complete(server, options=options)
        headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer k-123456"
    assert (headers["x-title"], headers["openai-organization"], headers["openai-project"]) == ("tests", "o", "p")


async def test_a_called_key_is_asked_for_before_each_call(call):
    keys = iter(["k-111111", "k-222222"])
    async with ScriptedServer(completion()) as server:
        provider = call.provider(server, api_key=lambda: next(keys))
        await complete_with(provider)
        await complete_with(provider)
        assert [request.headers["authorization"] for request in server.requests] == [
            "Bearer k-111111",
            "Bearer k-222222",
        ]
        with pytest.raises(AuthenticationFailed, match="api_key raised StopIteration"):
            await complete_with(provider)
        assert len(server.requests) == 2


@pytest.mark.parametrize("key", [None, "", "a\r\nX-Evil: 1", b"k", "a b"])
async def test_a_callable_that_returns_no_key(call, key):
    async with ScriptedServer(completion()) as server:
        with pytest.raises(AuthenticationFailed, match="returned no key"):
            await call.complete(server, options={"api_key": lambda: key})
        assert server.requests == []
