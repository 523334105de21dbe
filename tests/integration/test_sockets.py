"""The same scenarios in memory and over real sockets: the router tells the same story of both."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest
from openai_wire import script_of
from routed import KEY, PROMPT, SENTINELS, check_secrecy

from asyncrouter import AsyncRouterError, DeadlineExceeded, Router, StreamInterrupted
from asyncrouter.testing import Fail, FakeProvider, Hang, Recorder, Reply, ScriptedServer, Stream
from asyncrouter.testing.http_script import Gate, Http, Raw, Reset
from asyncrouter.testing.server import End, Json, Sse, chunk, chunks, completion
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    ContextWindowExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

WORDS = ["The ", "answer ", "is ", "42."]
FAST = {"use": "exponential", "jitter": False, "initial_delay_s": 0.01, "max_retries": 2}
SHORT = {"first_token_s": 0.5, "idle_s": 0.5, "attempt_s": 0.5}
pytest.importorskip("aiohttp")  # loaded before any of these half seconds runs


def config_of(providers, **chat):
    names = list(providers)
    return {
        "router": {"default": "chat"},
        "providers": providers,
        "deployments": {name: {"provider": name, "model": name} for name in names},
        "groups": {"chat": {"deployments": names, "retry": FAST, **chat}},
    }


def over_http(url):
    return {"kind": "openai", "base_url": f"{url}/v1", "api_key": lambda: KEY}


@pytest.fixture
async def quiet_loop():
    """Fail when a test leaves a task, or lets the loop complain of something unclosed."""
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(None)
    left = asyncio.all_tasks() - before
    assert {task for task in left if "TestRunner" not in task.get_coro().__qualname__} == set()
    assert complaints == []


def in_turn(scripts):
    """Serve each model its own scripts, one a request, the last repeated."""
    served = dict.fromkeys(scripts, 0)

    def answer(request):
        model = request.json["model"]
        steps = scripts[model] if isinstance(scripts[model], list) else [scripts[model]]
        served[model] += 1
        step = steps[min(served[model], len(steps)) - 1]
        return step if hasattr(step, "steps") else script_of(step)(request)

    return answer


def story(trace):
    return [
        (one.deployment, str(one.kind), str(one.outcome), type(one.error).__name__, one.reason)
        for one in trace.attempts
    ]


async def told(router, *, streamed=False, **arguments):
    """Make one call; return what the caller gets and the story of its trace."""
    try:
        if streamed:
            async with router.stream(PROMPT, **arguments) as stream:
                text = "".join([chunk.text async for chunk in stream])
            reply = stream.response
            assert text == reply.text
        else:
            reply = await router.generate(PROMPT, **arguments)
    except AsyncRouterError as error:
        check_secrecy(error)
        return type(error).__name__, story(error.trace)
    check_secrecy(reply, reply.trace)
    return reply.text, reply.finish_reason, reply.usage.output_tokens, story(reply.trace)


MATRIX = {
    "answer": {"a": Reply("hello"), "b": Reply("never")},
    "500 once": {"a": Fail(ServerError), "b": Reply("b")},
    "503 everywhere, then not": {"a": [Fail(Overloaded)] * 2, "b": [Fail(Overloaded), Reply("b")]},
    "429 with a time": {"a": Fail(RateLimited, retry_after_s=7), "b": Reply("b")},
    "429 without a time, everywhere": {"a": Fail(RateLimited), "b": Fail(RateLimited)},
    "401": {"a": Fail(AuthenticationFailed), "b": Reply("b")},
    "404": {"a": Fail(ModelNotFound), "b": Reply("b")},
    "400": {"a": Fail(InvalidRequest), "b": Reply("never")},
    "silence": {"a": Hang(), "b": Reply("b")},
}
STREAMS = {
    "cut before the first word": {"a": Stream(WORDS, cut_after=0), "b": Stream(WORDS)},
    "cut in the middle": {"a": Stream(WORDS, cut_after=2), "b": Stream(WORDS)},
    "silent before the first word": {"a": Stream(WORDS, stall_after=0), "b": Stream(WORDS)},
    "silent in the middle": {"a": Stream(WORDS, stall_after=2), "b": Stream(WORDS)},
}


@pytest.mark.parametrize(
    ("scripts", "streamed"),
    [
        *(pytest.param(scripts, way, id=f"{name}, {'streamed' if way else 'plain'}")
          for name, scripts in MATRIX.items() for way in (False, True)),
        *(pytest.param(scripts, True, id=name) for name, scripts in STREAMS.items()),
    ],
)  # fmt: skip
async def test_it_is_the_same_story(quiet_loop, scripts, streamed):
    silent = any(isinstance(step, Hang) or getattr(step, "stall_after", None) is not None for step in scripts.values())
    chat = {"timeouts": SHORT} if silent else {}
    fake = FakeProvider(scripts)
    async with Router.from_config(config_of(dict.fromkeys("ab", fake), **chat), seed=0) as router:
        in_memory = await told(router, streamed=streamed)
    async with ScriptedServer(in_turn(scripts)) as server:
        async with Router.from_config(config_of(dict.fromkeys("ab", over_http(server.url)), **chat), seed=0) as router:
            over_sockets = await told(router, streamed=streamed)
            for deployment in router.metrics().deployments.values():
                assert deployment.in_flight == 0
        await server.idle()
        assert len(server.requests) == len(fake.calls)
    assert over_sockets == in_memory


# ---------------------------------------------------------------- what only a network can do


class Upstreams:
    """A router over one server whose models are deployments; "down" is a port that nobody listens on."""

    def __init__(self, server, router, recorder):
        self.server, self.router, self.recorder = server, router, recorder

    def asked(self):
        return [request.json["model"] for request in self.server.requests]


@pytest.fixture
async def upstreams(quiet_loop):
    """Make a router over scripted upstreams; check on leaving it that no connection and no secret is left."""
    opened = []

    async def make(scripts, *, down=(), **chat):
        server = ScriptedServer(in_turn(scripts))
        await server.start()
        providers = {name: over_http(server.url) for name in scripts}
        for name in down:
            providers[name] = over_http(f"http://127.0.0.1:{closed_port()}")
        order = [*down, *scripts]
        recorder = Recorder()
        config = config_of({name: providers[name] for name in order}, **chat)
        router = await Router.from_config(config, plugins=[recorder], seed=0).__aenter__()
        opened.append(Upstreams(server, router, recorder))
        return opened[-1]

    yield make
    for one in opened:
        await one.router.aclose()
        await one.server.idle()
        await one.server.stop()
        check_secrecy(one.router.metrics(), *one.recorder.events)
        for end in one.recorder.finished:
            check_secrecy(end.trace, end.error, end.response)
        for request in one.server.requests:
            assert request.headers["authorization"] == f"Bearer {KEY}", "the key goes where it belongs"


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def test_a_port_that_nobody_listens_on_is_passed_over(upstreams):
    up = await upstreams({"a": completion("a")}, down=["down"])
    reply = await up.router.generate(PROMPT)
    assert reply.text == "a"
    error = reply.trace.attempts[0].error
    assert isinstance(error, ConnectionFailed)
    assert not error.lost_before_answer


async def test_a_connection_reset_before_the_head_is_made_anew(upstreams):
    up = await upstreams({"a": [Reset(), completion("again")], "b": completion("b")})
    reply = await up.router.generate(PROMPT)
    assert reply.text == "again"
    assert [(one.deployment, str(one.outcome)) for one in reply.trace.attempts] == [("a", "failed"), ("a", "ok")]
    assert reply.trace.waits == 0


@pytest.mark.parametrize("when", ["after_headers", "mid_body"])
async def test_a_connection_reset_in_the_answer_is_a_failure(upstreams, when):
    up = await upstreams({"a": Reset(when), "b": completion("b")})
    reply = await up.router.generate(PROMPT)
    assert reply.text == "b"
    assert [one.deployment for one in reply.trace.attempts] == ["a", "b"]


async def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing(upstreams):
    up = await upstreams({"a": completion("a"), "b": completion("b")}, max_attempts=1)
    assert (await up.router.generate(PROMPT)).text == "a"
    for connection in tuple(up.server._open):
        connection.reset()
    await up.server.idle()
    for _ in range(3):
        assert (await up.router.generate(PROMPT)).text == "a"
    assert up.router.metrics().deployments["a"].breaker == "closed"


@pytest.mark.parametrize(
    "answer",
    [
        Http(200, b"<html>busy</html>", headers={"content-type": "text/html"}),
        Http(200, b""),
        Http(200, b'{"choices": [', headers={"content-type": "application/json"}),
        Json({"error": {"message": "inside"}}),
        Json({"choices": []}),
        Http(204),
        Http(302, headers={"location": "http://127.0.0.1:1/"}),
        Raw(b"garbage\r\n\r\n", end=End.CLOSE),
    ],
    ids=["html", "empty", "cut-json", "error", "no-choices", "204", "redirect", "garbage"],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_what_is_no_answer_is_never_taken_for_one(upstreams, answer, streamed):
    up = await upstreams({"a": answer, "b": Reply("b")})
    text, *_, attempts = await told(up.router, streamed=streamed)
    assert text == "b"
    assert [(one[0], one[2]) for one in attempts] == [("a", "failed"), ("b", "ok")]


async def test_what_the_upstream_says_of_the_request_decides(upstreams):
    def said(code, message="no"):
        return Json({"error": {"message": message, "code": code, "type": "invalid_request_error"}}, 400)

    up = await upstreams({"a": said("context_length_exceeded"), "b": completion("never")})
    with pytest.raises(ContextWindowExceeded):
        await up.router.generate(PROMPT)
    up = await upstreams({"a": said("content_filter"), "b": completion("b")}, fallback_on=["content_filter"])
    assert (await up.router.generate(PROMPT)).text == "b"
    up = await upstreams({"a": said("content_filter"), "b": completion("never")})
    with pytest.raises(ContentFiltered):
        await up.router.generate(PROMPT)
    quota = Json({"error": {"message": "pay", "code": "insufficient_quota"}}, 429)
    up = await upstreams({"a": quota, "b": completion("b")})
    reply = await up.router.generate(PROMPT)
    assert isinstance(reply.trace.attempts[0].error, QuotaExhausted)


async def test_an_upstream_that_repeats_the_prompt_and_the_key_is_not_repeated(upstreams):
    echo = Json({"error": {"message": f"wrong key {KEY}"}}, 401)
    up = await upstreams({"a": echo, "b": echo})
    with pytest.raises(AsyncRouterError) as caught:
        await up.router.generate(PROMPT)
    check_secrecy(caught.value)
    assert SENTINELS[1] not in str(caught.value)


async def test_usage_is_asked_for_upstream_and_hidden_from_who_did_not_ask(upstreams):
    up = await upstreams({"a": Sse(chunks("one two"))})
    async with up.router.stream(PROMPT) as stream:
        seen = [chunk async for chunk in stream]
    assert up.server.requests[0].json["stream_options"] == {"include_usage": True}
    assert not any(chunk.raw.get("usage") for chunk in seen)
    assert (stream.response.usage.input_tokens, stream.response.usage.output_tokens) == (10, 5)


async def test_an_answer_is_gone_on_with_by_another_upstream(upstreams):
    up = await upstreams(
        {"a": Sse(chunks("one two three"), cut_after=2), "b": Sse(chunks("two three"))}, on_interrupt="continue"
    )
    async with up.router.stream(PROMPT) as stream:
        text = "".join([chunk.text async for chunk in stream])
    assert text == stream.response.text == "one two three"
    assert up.server.requests[1].json["messages"][-1] == {"role": "assistant", "content": "one "}


async def test_a_tool_call_cut_in_its_arguments_is_never_given_out_as_whole(upstreams):
    begun = chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "pay", "arguments": '{"amount": 1'}}]})
    up = await upstreams({"a": Sse([chunk({"role": "assistant"}), begun, chunk({})], cut_after=2), "b": Reply("b")})
    with pytest.raises(StreamInterrupted):
        await told_raw(up.router)
    assert up.asked() == ["a"]


async def told_raw(router, **arguments):
    async with router.stream(PROMPT, **arguments) as stream:
        return [chunk async for chunk in stream]


async def test_a_stream_without_its_end_is_no_answer(upstreams):
    whole = chunks("one two", usage=None)[:-1]  # neither finish reason nor [DONE]
    up = await upstreams({"a": Sse(whole, done=False, end=End.CLOSE)})
    with pytest.raises(StreamInterrupted):
        await told_raw(up.router)


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_who_leaves_is_gone_upstream_too(upstreams, streamed):
    gate = Gate()
    held = Sse([*chunks("one two")[:2], gate]) if streamed else Http(200, b"", gate=gate)
    up = await upstreams({"a": held})
    if streamed:
        async with up.router.stream(PROMPT) as stream:
            await anext(stream)
    else:
        task = asyncio.create_task(up.router.generate(PROMPT))
        await up.server.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await up.server.requests[0].disconnected.wait()
    gate.release()
    metrics = up.router.metrics().deployments["a"]
    assert (metrics.cancelled, metrics.in_flight, metrics.breaker) == (1, 0, "closed")


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_the_deadline_is_kept(upstreams, streamed):
    up = await upstreams({"a": Hang(), "b": Hang()})
    loop = asyncio.get_running_loop()
    started = loop.time()
    call = told_raw(up.router, deadline_s=0.2) if streamed else up.router.generate(PROMPT, deadline_s=0.2)
    with pytest.raises(DeadlineExceeded):
        await call
    assert 0.2 <= loop.time() - started < 1.2


async def test_a_dead_upstream_is_left_alone_and_found_again(upstreams):
    breaker = {"failures": 3, "open_s": 0.05, "open_cap_s": 0.05}
    up = await upstreams({"a": [Json({}, 500)] * 3 + [completion("back")], "b": completion("b")}, breaker=breaker)
    answers = [(await up.router.generate(PROMPT)).text for _ in range(3)]
    assert answers == ["b"] * 3
    assert up.router.metrics().deployments["a"].breaker == "open"
    await asyncio.sleep(up.router.fleet["a"].ready_at - asyncio.get_running_loop().time())
    assert (await up.router.generate(PROMPT)).text == "back"
    assert up.router.metrics().deployments["a"].breaker == "closed"
    assert up.asked().count("a") == 4


async def test_many_at_once_through_all_kinds_of_trouble_and_none_is_lost(upstreams):
    """Two hundred calls while every third answer of one upstream is some failure."""
    troubles = [Json({}, 500), Reset(), Http(200, b"<html>"), Json({}, 429), Reset("mid_body")]
    served = 0

    def answer(request):
        nonlocal served
        served += 1
        if request.json["model"] == "a" and served % 3 == 0:
            return troubles[served // 3 % len(troubles)]
        return script_of(Reply(request.json["messages"][0]["content"]))(request)

    up = await upstreams({"a": Reply(), "b": Reply()})
    up.server.scripts = answer

    async def ask(number):
        if number % 2:
            return (await up.router.generate(f"question {number}", deadline_s=30)).text
        async with up.router.stream(f"question {number}", deadline_s=30) as stream:
            return "".join([chunk.text async for chunk in stream])

    answers = await asyncio.gather(*(ask(number) for number in range(200)))
    assert answers == [f"question {number}" for number in range(200)]
    metrics = up.router.metrics()
    assert (metrics.total.calls, metrics.total.failures) == (200, 0)
    assert sum(one.calls for one in metrics.deployments.values()) == len(up.recorder.attempts)
