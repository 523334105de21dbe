"""Attacks by an upstream, or by whoever stands in its place: the rows that concern the providers."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from routed import KEY

from asyncrouter import AttemptTimedOut, InvalidRequest, MalformedResponse, ModelNotFound, Overloaded, StreamInterrupted
from asyncrouter.testing.http_script import End, Gate, Http, Json, Raw, Sse, chunk, completion, sse_completion
from asyncrouter.testing.server import ScriptedServer

JSON = {"content-type": "application/json"}
streamed_too = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


def reply(streamed, text="ok"):
    """Return an upstream's answer to a plain call or to a streamed one."""
    return sse_completion(text) if streamed else completion(text)


async def answer(f, *, streamed=False, **arguments):
    """Make one call, plain or streamed to its end, and return the response."""
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


def endless(status, body=b'{"choices": [' + b" " * 2_000_000, **headers):
    """Return an answer that has said so much, and promises more."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Http(status, body, headers=JSON | fields, content_length=10**10, end=End.HANG)


CHUNKED = Http(200, b'{"choices": [' + b" " * 2_000_000, headers=JSON, chunked=True, end=End.HANG)
BOMBS = {
    "200": (endless(200), MalformedResponse),
    "200, chunked": (CHUNKED, MalformedResponse),
    "200, compressed": (endless(200, gzip.compress(b"[" * 10_000_000), content_encoding="gzip"), MalformedResponse),
    "302": (endless(302, location="/elsewhere"), ModelNotFound),
    "404": (endless(404), ModelNotFound),
    "503": (endless(503), Overloaded),
}


@pytest.mark.parametrize(("bomb", "kind"), BOMBS.values(), ids=BOMBS)
@streamed_too
async def test_attack_04_an_answer_without_end_is_cut_and_others_answer(wall, bomb, kind, streamed):
    options = {"a": {"max_response_bytes": 100_000}}
    async with wall({"a": bomb, "b": reply(streamed, "b")}, providers=options) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        error = f.recorder.attempts[0].error
        assert type(error) is kind
        assert len(str(error)) < 700
        await asyncio.wait_for(f.server.requests[0].disconnected.wait(), 2.0)


DEEP = b"[" * 100_000 + b"]" * 100_000
NO_JSON = {
    "depth": DEEP,
    "depth inside": b'{"choices": ' + DEEP + b"}",
    "NaN": b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": NaN}]}',
    "infinity": b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": 1e999}]}',
    "no UTF-8": b'{"choices": [{"message": {"content": "\xff\xfe"}, "finish_reason": "stop"}]}',
    "a NUL": b'{"choices": [{"message": {"content": "\x00"}, "finish_reason": "stop"}]}',
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@streamed_too
async def test_attack_05_06_08_what_no_decoder_should_take_is_no_answer(wall, body, streamed):
    script = Sse([b"data: " + body + b"\n\n"]) if streamed else Http(200, body, headers=JSON)
    async with wall({"a": script, "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert type(f.recorder.attempts[0].error) is MalformedResponse


@pytest.mark.parametrize("status", [400, 500])
async def test_attack_05_a_deep_error_is_an_error_like_others(wall, status):
    async with wall({"a": Http(status, DEEP, headers=JSON), "b": completion("b")}) as f:
        await f.caught(f.ask())
        assert f.recorder.attempts[0].error.status == status


@streamed_too
async def test_attack_08_half_a_character_is_mended_so_that_the_answer_can_be_sent_on(wall, streamed):
    body = b'{"choices": [{"index": 0, "%b": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    script = Sse([b"data: " + body % b"delta" + b"\n\n"]) if streamed else Http(200, body % b"message", headers=JSON)
    async with wall({"a": script}) as f:
        response = await answer(f, streamed=streamed)
        assert response.text == "a\ufffdb"
        json.dumps(response.raw, ensure_ascii=False).encode()


async def test_attack_09_an_integer_of_a_hundred_thousand_digits_harms_nobody(wall):
    digits = (
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "created": ' + b"9" * 100_000 + b"}"
    )
    async with wall({"a": Http(200, digits, headers=JSON), "b": completion("b")}) as f:
        assert (await f.ask()).text in {"x", "b"}


async def test_attack_13_of_an_upstreams_headers_only_those_are_kept_that_are_known(wall):
    headers = {
        "x-request-id": "r-1",
        "x-ratelimit-remaining-requests": "99",
        "set-cookie": "session=1",
        "connection": "keep-alive",
        "x-evil": "1",
        "location": "http://evil.example",
        "www-authenticate": "Basic",
    }
    async with wall({"a": Json(completion("a").value, headers=headers)}) as f:
        assert set((await f.ask()).headers) == {"x-request-id", "x-ratelimit-remaining-requests"}


async def test_attack_13_a_header_with_a_line_break_in_it_is_no_http(wall):
    body = json.dumps(completion("a").value).encode()
    head = b"HTTP/1.1 200 OK\r\nx-request-id: a\rset-cookie: b\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with wall({"a": Raw(head + body, End.CLOSE), "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        assert "\r" not in str(f.recorder.attempts[0].error)


async def test_attack_14_an_event_inside_a_text_stays_a_text(wall):
    evil = 'x\n\ndata: {"choices": [{"delta": {"content": "injected"}}]}\n\nevent: error\r\r\u2028data: [DONE]\n\n'
    events = [chunk({"content": evil}), chunk({}, "stop")]
    async with wall({"a": Sse(events)}) as f:
        seen, response = await f.read()
        assert response.text == evil
        assert [one.text for one in seen if one.text] == [evil]


async def test_attack_16_a_line_without_end_ends_the_stream(wall):
    line = b'data: {"choices": [' + b"x" * 20_000_000
    async with wall({"a": Sse([line], done=False, end=End.HANG), "b": sse_completion("b")}) as f:
        assert (await f.read())[1].text == "b"
        assert type(f.recorder.attempts[0].error) is MalformedResponse


@pytest.mark.parametrize("ping", [": ping\n\n", "event: ping\n\n", "\n"])
async def test_attack_17_comments_for_ever_are_silence(wall, ping):
    pings = Sse([one for _ in range(300) for one in (ping, 0.02)], done=False, end=End.HANG)
    timeouts = {"first_token_s": 0.2, "idle_s": 0.2}
    async with wall({"a": pings, "b": sse_completion("b")}, timeouts=timeouts) as f:
        assert (await f.read())[1].text == "b"
        assert type(f.recorder.attempts[0].error) is AttemptTimedOut
    begun = Sse([chunk({"content": "a"}), *pings.events], done=False, end=End.HANG)
    async with wall({"a": begun}, timeouts=timeouts) as f:
        with pytest.raises(StreamInterrupted, match="idle_s"):
            await f.read()


async def test_attack_17_the_deadline_ends_them_too(wall):
    words = Sse([one for _ in range(300) for one in (chunk({"content": "a"}), 0.02)], done=False, end=End.HANG)
    async with wall({"a": words}) as f:
        with pytest.raises(TimeoutError):
            await f.read(deadline_s=0.3)


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_attack_20_the_key_goes_nowhere_else(wall, status):
    async with ScriptedServer(completion("evil")) as elsewhere:
        moved = Http(status, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
        async with wall({"a": moved, "b": completion("b")}) as f:
            assert (await f.ask()).text == "b"
        assert elsewhere.connections == 0


async def test_attack_21_a_cookie_is_given_back_to_nobody(wall):
    cookie = {"set-cookie": "session=1; Path=/"}
    async with wall({"a": Json(completion("a").value, headers=cookie)}) as f:
        for _ in range(2):
            await f.ask()
        assert not any("cookie" in request.headers for request in f.server.requests)


async def test_attack_22_no_proxy_and_no_password_of_the_environment(wall, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with wall({"a": completion("a")}) as f:
        assert (await f.ask()).text == "a"
        assert f.server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_attack_31_no_wait_is_longer_than_the_cap_or_the_deadline(wall):
    """Row H04 has the values that are none."""
    for asked in ("1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"):
        async with wall({"a": Json({}, 429, headers={"retry-after": asked})}) as f:
            error = await f.caught(f.ask())
            assert (f.asked, error.trace.waits, error.trace.waited_s) == (["a"], 0, 0.0)
            assert f.state("a").cooldown_until - f.now() <= 300.0


async def test_attack_36_whoever_leaves_while_the_answer_is_held_back_is_gone_upstream(wall):
    gate = Gate()
    async with wall({"a": Http(gate=gate), "b": completion("never")}) as f:
        task = f.begin()
        await f.server.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(f.server.requests[0].disconnected.wait(), 1.0)
        gate.release()
        assert f.state("a").breaker._failures_in_a_row == 0


async def test_a_wrong_request_is_found_before_it_is_sent(wall):
    async with wall({"a": completion("never")}) as f:
        error = await f.caught(f.ask(temperature=float("nan")))
        assert type(error) is InvalidRequest
        assert "temperature" in str(error)
        assert f.asked == []
