"""The key goes into one header and nowhere else, whatever the upstream does with it."""

from __future__ import annotations

import asyncio
import json
import logging
import pathlib
import traceback

import attrs
import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing.server import End, Http, Json, Raw, Reset, ScriptedServer, Sse, chunk, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ProviderError
from asyncrouter.types.request import Request

KEY = "sk-SENTINEL-0123456789"
SENTINEL = "SENTINEL"
MINI = Deployment(name="mini", provider="acme", model="m-1")
REQUEST = Request(messages=[{"role": "user", "content": "Hi"}])


def echo(request):
    """Return everything that arrived, as a thoughtless upstream puts it into its errors."""
    return json.dumps({"headers": dict(request.headers), "key": request.headers["authorization"].split()[-1]})


FAULTS = {
    "plain text": lambda request: Http(500, echo(request).encode()),
    "message": lambda request: Json({"error": {"message": f"bad key {echo(request)}", "code": "invalid_api_key"}}, 401),
    "twice, and cut": lambda request: Json({"error": "x" * 485 + request.headers["authorization"]}, 400),
    "id": lambda request: Http(503, headers={"x-request-id": request.headers["authorization"]}),
    "page": lambda request: Http(502, f"<html><title>{KEY}</title>".encode()),
    "in band": lambda request: Json({"error": {"message": echo(request)}}),
    "in a stream": lambda request: Sse([chunk({"content": "a"}), {"error": {"message": echo(request)}}]),
    "in a choice": lambda request: Sse([{"choices": [{"delta": {}, "finish_reason": "error", "error": KEY}]}]),
    "content type": lambda request: Http(200, b"x", headers={"content-type": f"text/{KEY}"}),
    "status line": lambda request: Raw(f"HTTP/1.1 OOPS {KEY}\r\n\r\n".encode()),
    "bad header": lambda request: Raw(f"HTTP/1.1 200 OK\r\n{KEY}\x00: {KEY}\r\n\r\n".encode()),
    "redirect": lambda request: Http(302, headers={"location": f"http://127.0.0.1/{KEY}"}),
    "garbage": lambda request: Raw(KEY.encode() * 50),
    "reset": lambda request: Reset(),
    "reset inside": lambda request: Reset("mid_body"),
    "short": lambda request: Http(200, KEY.encode(), content_length=500, end=End.CLOSE),
    "no gzip": lambda request: Http(200, KEY.encode(), headers={"content-encoding": "gzip"}),
    "no answer": lambda request: Json({"choices": [], "echo": echo(request)}),
    "filtered": lambda request: Json({"choices": [{"message": {"content": KEY}, "finish_reason": "content_filter"}]}),
}


def everything_about(error):
    """Return all that a logger, a debugger or an error reporter could show of *error*, local variables included."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    here = pathlib.Path(__file__).parent
    shown = []
    waiting = [report]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        waiting += [one.__cause__, one.__context__]
        shown += one.format_exception_only()
        for frame in one.stack:
            if here not in pathlib.Path(frame.filename).parents:  # the tests' own frames know the key
                shown.append(f"{frame} {frame.locals}")
    return "\n".join([*shown, str(error), repr(error), repr(vars(error)), repr(error.args)])


@pytest.fixture(params=["environment", "callable"])
def provider_of(request, monkeypatch, call):
    """Make a provider whose key is the sentinel, from either source."""
    monkeypatch.setenv("MY_KEY", KEY)
    options = {"api_key_env": "MY_KEY"} if request.param == "environment" else {"api_key": lambda: KEY}
    return lambda server, **more: call.provider(server, **options, **more)


async def calls(provider):
    """Make both kinds of call, and return what they raised."""
    errors = []
    for calling in (provider.complete(REQUEST, MINI, Timeouts()), collect(provider.stream(REQUEST, MINI, Timeouts()))):
        try:
            await calling
        except ProviderError as error:
            errors.append(error)
    return errors


async def collect(stream):
    return [one async for one in stream]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_error_and_no_log_shows_the_key(provider_of, caplog, fault):
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    try:
        async with ScriptedServer(fault) as server:
            errors = await calls(provider_of(server))
            assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)
    finally:
        loop.set_debug(False)
    assert errors
    for error in errors:
        assert SENTINEL not in everything_about(error)
    assert SENTINEL not in caplog.text


def test_the_search_finds_what_is_there():
    def fail(secret):
        raise ProviderError(secret[:2])

    with pytest.raises(ProviderError) as raised:
        fail(KEY)
    raised.value.extra = KEY
    assert SENTINEL in everything_about(raised.value)


async def test_no_answer_shows_the_key(provider_of):
    async with ScriptedServer(attrs.evolve(completion("Hi"), headers={"x-request-id": "r-1"})) as server:
        provider = provider_of(server)
        response = await provider.complete(REQUEST, MINI, Timeouts())
    assert SENTINEL not in f"{response!r}{attrs.asdict(response)}{provider!r}{vars(provider)}"
    (door,) = provider._transport._doors.values()
    assert SENTINEL not in f"{door!r}{door.pool.connector!r}{vars(provider._transport)}{provider._credentials!r}"


async def test_the_proxys_password_is_struck_out(call, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:SENTINELPASSWORD@127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    provider = OpenAICompatible(name="acme", base_url="http://upstream.invalid/v1", trust_env=True)
    call.made.append(provider)
    errors = await calls(provider)
    assert len(errors) == 2
    for error in errors:
        assert SENTINEL not in everything_about(error)


@pytest.mark.parametrize("place", ["raises", "returns"])
async def test_a_callable_cannot_spill_the_key_by_failing(call, place):
    def key():
        if place == "raises":
            raise RuntimeError(KEY)
        return f"{KEY}\r\nX-Evil: 1"

    async with ScriptedServer(completion()) as server:
        errors = await calls(call.provider(server, api_key=key))
        assert server.requests == []
    assert len(errors) == 2
    for error in errors:
        assert SENTINEL not in everything_about(error)
