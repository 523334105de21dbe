"""Doubles that stand in the place of aiohttp's session, such as aioresponses: every call meets them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import aiohttp
import aioresponses.core
import pytest
import yarl

from asyncrouter import Router
from asyncrouter.providers import doubles
from asyncrouter.testing.http_script import chunk, chunks, sse_event
from asyncrouter.testing.script import Reply
from asyncrouter.testing.server import ScriptedServer, completion
from asyncrouter.testing.wire import completion as whole
from asyncrouter.types.errors import (
    AttemptTimedOut,
    ConnectionFailed,
    Disposition,
    ModelNotFound,
    RateLimited,
    StreamInterrupted,
)

URL = "http://127.0.0.1:9/v1/chat/completions"
ANSWER = whole(Reply("mocked"), "m-1")


class Answer(aiohttp.ClientResponse):
    """What aioresponses 0.7.9 makes, with what aiohttp wants since 3.14."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **{"stream_writer": SimpleNamespace(output_size=0), **options})


@pytest.fixture
def double(monkeypatch):
    monkeypatch.setattr(aioresponses.core, "ClientResponse", Answer)
    with aioresponses.aioresponses() as entered:
        yield entered


class Nowhere:
    url = "http://127.0.0.1:9"


async def test_it_answers_and_sees_what_was_asked(call, double):
    double.post(URL, payload=ANSWER, headers={"x-request-id": "r-1"})
    response = await call.complete(
        Nowhere, options={"headers": {"x-mine": "1"}, "api_key": lambda: "key-1234567890"}, temperature=0
    )
    assert response.text == "mocked"
    assert response.headers["x-request-id"] == "r-1"
    (asked,) = double.requests["POST", yarl.URL(URL)]
    assert (asked.kwargs["json"]["model"], asked.kwargs["json"]["temperature"]) == ("m-1", 0)
    assert asked.kwargs["headers"]["x-mine"] == "1"
    assert asked.kwargs["headers"]["Authorization"] == "Bearer key-1234567890"


@pytest.mark.parametrize(
    ("answer", "kind", "disposition"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, RateLimited, Disposition.RETRY),
        ({"status": 302, "headers": {"Location": URL}}, ModelNotFound, Disposition.FALLBACK),
        ({"exception": aiohttp.ClientConnectionError("no")}, ConnectionFailed, Disposition.RETRY),
        ({"exception": aiohttp.ServerDisconnectedError()}, ConnectionFailed, Disposition.RETRY),
        ({"timeout": True}, AttemptTimedOut, Disposition.FALLBACK),
    ],
)
async def test_its_refusals_and_failures_are_those_of_an_upstream(call, double, answer, kind, disposition):
    double.post(URL, **answer)
    with pytest.raises(kind) as raised:
        await call.complete(Nowhere)
    assert type(raised.value) is kind
    assert raised.value.disposition is disposition


async def test_it_streams(call, double):
    events = b"".join(map(sse_event, [*chunks("Hi you"), "data: [DONE]\n\n"]))
    double.post(URL, body=events, content_type="text/event-stream")
    assert "".join(one.text for one in await call.stream(Nowhere)) == "Hi you"
    double.post(URL, body=sse_event(chunk({"content": "Hi"})), content_type="text/event-stream")
    with pytest.raises(StreamInterrupted):
        await call.stream(Nowhere)


async def test_what_it_does_not_know_goes_nowhere_and_afterwards_all_is_as_before(call):
    async with ScriptedServer([completion("passed"), completion("real")]) as server:
        with aioresponses.aioresponses(), pytest.raises(ConnectionFailed):
            await call.complete(server)
        assert server.requests == []
        with aioresponses.aioresponses(passthrough=[server.url]):
            assert (await call.complete(server)).text == "passed"
        assert not doubles.has_double()
        assert (await call.complete(server)).text == "real"


async def test_a_router_goes_on_where_it_refuses(double):
    double.post(URL.replace(":9", ":8"), status=503)
    double.post(URL, payload=ANSWER)
    config = {
        "providers": {
            name: {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1"} for name, port in (("p", 8), ("q", 9))
        },
        "deployments": {"a": {"provider": "p", "model": "x"}, "b": {"provider": "q", "model": "x"}},
        "groups": {"chat": {"deployments": ["a", "b"]}},
    }
    async with Router.from_config(config) as router:
        reply = await router.generate("hi")
    assert (reply.text, [one.deployment for one in reply.trace.attempts]) == ("mocked", ["a", "b"])


BEFORE = """
import unittest.mock
with unittest.mock.patch("aiohttp.ClientSession._request", autospec=True):
    from asyncrouter.providers import doubles
    assert doubles.has_double() and doubles.UNTOUCHED is None
assert not doubles.has_double()
with unittest.mock.patch("aiohttp.ClientSession._request"):
    assert doubles.has_double()
"""


def test_it_is_seen_where_it_was_there_first():
    subprocess.run([sys.executable, "-c", BEFORE], check=True, timeout=60)


def test_without_one_nothing_is_a_double():
    assert doubles.UNTOUCHED is aiohttp.ClientSession._request
    assert not doubles.has_double()
