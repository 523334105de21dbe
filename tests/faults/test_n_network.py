"""Rows N01 to N09: what the network does to a call before and within an answer.  N10, the queue, has its own file."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import ssl

import pytest

from asyncrouter import AllAttemptsFailed, AttemptTimedOut, ConnectionFailed, Disposition, MalformedResponse, hookimpl
from asyncrouter.testing.http_script import End, Hang, Http, Json, Raw, Reset, Sse, chunk, completion, sse_completion
from asyncrouter.testing.server import ScriptedServer
from asyncrouter.types.deployments import Timeouts

CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
QUICK = {"use": "exponential", "initial_delay_s": 0.02}
streamed_too = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


async def answer(f, *, streamed=False, **arguments):
    """Make one call, plain or streamed to its end, and return the response."""
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


async def ends(f, *, streamed=False, **arguments):
    """Make one call that nobody answers, and return the errors of its attempts."""
    with pytest.raises(AllAttemptsFailed) as caught:
        await answer(f, streamed=streamed, **arguments)
    return caught.value.errors


def reply(streamed, text="ok"):
    """Return an upstream's answer to a plain call or to a streamed one."""
    return sse_completion(text) if streamed else completion(text)


def told(response):
    return [(one.deployment, str(one.outcome)) for one in response.trace.attempts]


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# ---------------------------------------------------------------- before there is a connection


@streamed_too
async def test_n01_a_name_that_is_not_found_is_asked_for_once_and_passed_over(wall, monkeypatch, streamed):
    looked_up = []
    loop = asyncio.get_running_loop()
    found = loop.getaddrinfo

    async def getaddrinfo(host, *args, **options):
        if host != "no.such.host.invalid":
            return await found(host, *args, **options)
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with wall({"b": reply(streamed, "b")}, down={"x": "http://no.such.host.invalid"}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, told(response), response.trace.waits) == ("b", [("x", "failed"), ("b", "ok")], 0)
        (error,) = await ends(f, streamed=streamed, model="x")
        assert (type(error), error.disposition) == (ConnectionFailed, Disposition.FALLBACK)
        assert "the host's name was not found" in str(error)
        assert "base_url" in error.cure
        assert len(looked_up) == 2, "one look a call: it would only be repeated"


@streamed_too
async def test_n02_a_refused_connection_falls_back_at_once(wall, streamed):
    async with wall({"b": reply(streamed, "b")}, down={"x": f"http://127.0.0.1:{closed_port()}"}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, told(response)) == ("b", [("x", "failed"), ("b", "ok")])
        error = response.trace.attempts[0].error
        assert (type(error), error.disposition, error.lost_before_answer) == (
            ConnectionFailed,
            Disposition.RETRY,
            False,
        )
        assert (response.trace.waits, response.trace.waited_s) == (0, 0.0)
        assert f.state("x").breaker._failures_in_a_row == 1


class Asked:
    """Notes that a retry is thought of, and leaves the decision to others."""

    def __init__(self):
        self.event = asyncio.Event()

    @hookimpl
    def asyncrouter_retry(self):
        self.event.set()


@streamed_too
async def test_n02_a_refused_connection_is_tried_again_where_there_is_nobody_else(wall, streamed):
    """The upstream restarts between two tries, as in a rollout."""
    asked = Asked()
    retry = {"use": "exponential", "initial_delay_s": 0.3, "jitter": False}
    async with wall({"a": reply(streamed, "back")}, retry=retry, plugins=[asked]) as f:
        await f.server.stop()
        call = asyncio.create_task(answer(f, streamed=streamed))
        await asked.event.wait()
        await f.server.start()
        response = await call
        assert (response.text, told(response)) == ("back", [("a", "failed"), ("a", "ok")])
        assert response.trace.waits == 1


@contextlib.contextmanager
def black_hole():
    """Listen with a full backlog: the kernel drops what comes, and nobody answers."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@streamed_too
async def test_n03_a_black_hole_costs_connect_s_and_no_second_try(wall, streamed):
    assert Timeouts().connect_s <= 5.0
    with black_hole() as address:
        async with wall({"b": reply(streamed, "b")}, down={"x": address}, timeouts={"connect_s": 0.1}) as f:
            response = await answer(f, streamed=streamed)
            assert (response.text, told(response)) == ("b", [("x", "failed"), ("b", "ok")])
            error = response.trace.attempts[0].error
            assert (type(error), error.disposition) == (AttemptTimedOut, Disposition.FALLBACK)
            assert "connect_s = 0.1" in str(error)


def server_tls(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / certificate, CERTIFICATES / "server.key")
    return tls


@pytest.mark.parametrize(
    ("certificate", "authority", "why"),
    [
        ("loopback.crt", None, "self-signed certificate"),
        ("expired.crt", "expired.crt", "certificate has expired"),
        ("other_host.crt", "other_host.crt", "IP address mismatch"),
    ],
)
async def test_n04_a_certificate_that_is_refused_is_a_fault_of_the_configuration(wall, certificate, authority, why):
    options = {"ca_file": CERTIFICATES / authority} if authority else {}
    async with ScriptedServer(completion("never"), tls=server_tls(certificate)) as wrong:
        async with wall({"b": completion("b")}, down={"x": wrong.url}, providers={"x": options}) as f:
            response = await f.ask()
            assert (response.text, told(response)) == ("b", [("x", "failed"), ("b", "ok")])
            (error,) = await ends(f, model="x")
            assert (type(error), error.disposition) == (ConnectionFailed, Disposition.FALLBACK)
            assert "the TLS certificate was refused" in str(error)
            assert why in str(error).replace("self signed", "self-signed")
            assert "ca_file" in error.cure
            assert str(error).endswith(error.cure)
        assert wrong.requests == []


async def test_n04_a_server_that_speaks_no_tls_is_one_too(wall):
    greeted = 0

    async def refuse(reader, writer):
        nonlocal greeted
        greeted += 1
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as plain:
        address = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        async with wall({"b": completion("b")}, down={"x": address}) as f:
            response = await f.ask()
            assert (response.text, told(response)) == ("b", [("x", "failed"), ("b", "ok")])
            error = response.trace.attempts[0].error
            assert (type(error), error.disposition) == (ConnectionFailed, Disposition.FALLBACK)
            assert "the TLS handshake failed" in str(error)
            assert "base_url" in error.cure
            assert greeted == 1


# ---------------------------------------------------------------- on a connection that stood


@streamed_too
async def test_n05_a_reset_before_the_headers_is_tried_again_once_at_once(wall, streamed):
    async with wall({"a": [Reset(), reply(streamed, "again")], "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked) == ("again", ["a", "a"])
        assert [one.reason for one in response.trace.attempts][1] == "connection lost before an answer"
        assert (response.trace.waits, f.state("a").breaker._failures_in_a_row) == (0, 0)


@streamed_too
async def test_n05_a_second_reset_is_a_failure(wall, streamed):
    async with wall({"a": Reset(), "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "a", "b"]
        assert f.state("a").breaker._failures_in_a_row == 1


@streamed_too
async def test_n06_a_kept_connection_that_went_stale_is_not_counted(wall, streamed):
    """The server closes what was kept just when the next request arrives; the request goes out on a new connection."""
    scripts = {"a": [reply(streamed, "1"), Raw(b""), reply(streamed, "2")]}
    async with wall(scripts, max_attempts=1, settings={"retry_budget": 0.0, "retry_floor": 0}) as f:
        assert (await answer(f, streamed=streamed)).text == "1"
        response = await answer(f, streamed=streamed)
        assert (response.text, told(response)) == ("2", [("a", "failed"), ("a", "ok")])
        assert [request.connection for request in f.server.requests] == [1, 1, 2]
        assert (f.state("a").breaker._failures_in_a_row, f.router.metrics().total.failures) == (0, 0)


async def test_n06_a_connection_that_is_known_to_be_closed_is_not_used_at_all(wall):
    async with wall({"a": completion("a")}) as f:
        await f.ask()
        for connection in tuple(f.server._open):
            connection.reset()
        await f.server.idle()
        await asyncio.sleep(0.01)  # until the reset has come over
        assert told(await f.ask()) == [("a", "ok")]
        assert [request.connection for request in f.server.requests] == [1, 2]


CUT_STREAM = {
    "the head only": Sse([], cut_after=0),
    "a role": Sse([chunk({"role": "assistant", "content": ""})], cut_after=1),
}


@pytest.mark.parametrize("when", ["after_headers", "mid_body"])
@streamed_too
async def test_n07_a_reset_after_the_headers_is_retried(wall, when, streamed):
    async with wall({"a": [Reset(when), reply(streamed, "again")]}, retry=QUICK) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked) == ("again", ["a", "a"])
        assert (response.trace.waits, response.trace.attempts[1].kind) == (1, "retry")
    async with wall({"a": Reset(when), "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "b"], 0)
        assert f.state("a").breaker._failures_in_a_row == 1


@pytest.mark.parametrize("cut", CUT_STREAM.values(), ids=CUT_STREAM)
async def test_n07_a_stream_reset_before_its_first_output_is_retried(wall, cut):
    async with wall({"a": [cut, sse_completion("again")]}, retry=QUICK) as f:
        chunks, response = await f.read()
        assert (response.text, f.asked) == ("again", ["a", "a"])
        assert sum(one.delta.get("role") is not None for one in chunks) == 1, "nothing is seen of the first try"


@pytest.mark.parametrize("silence", [Hang(), Hang(after_headers=True)], ids=["no head", "no body"])
@streamed_too
async def test_n08_a_half_open_connection_is_given_up_and_never_used_again(wall, silence, streamed):
    """No FIN and no byte comes, as from a host that has lost its power or a firewall that has forgotten the flow."""
    scripts = {"a": [reply(streamed, "1"), silence, reply(streamed, "2")], "b": reply(streamed, "b")}
    timeouts = {"attempt_s": 0.15, "first_token_s": 0.15}
    async with wall(scripts, timeouts=timeouts) as f:
        assert (await answer(f, streamed=streamed)).text == "1"
        response = await answer(f, streamed=streamed)
        assert (response.text, told(response)) == ("b", [("a", "failed"), ("b", "ok")])
        error = response.trace.attempts[0].error
        assert (type(error), error.disposition) == (AttemptTimedOut, Disposition.FALLBACK)
        await asyncio.wait_for(f.server.requests[1].disconnected.wait(), 1.0)
        assert (await answer(f, streamed=streamed)).text == "2"
        to_a = [request.connection for request in f.server.requests if request.json["model"] == "a"]
        assert to_a[0] == to_a[1] != to_a[2]


@streamed_too
async def test_n09_a_connection_that_the_server_winds_up_is_no_failure(wall, streamed):
    """aiohttp speaks HTTP/1.1, where there is no GOAWAY and no REFUSED_STREAM.

    Their counterparts: the server says ``connection: close`` with an answer, and the next request has a connection of
    its own; or it closes in order in place of an answer, and the request is sent once more, uncounted.
    """
    last = reply(streamed, "1")
    fields = {"connection": "close"}
    going = Sse(last.events, headers=fields, end=End.CLOSE) if streamed else Json(last.value, headers=fields)
    async with wall({"a": [going, Raw(b""), reply(streamed, "2")]}, max_attempts=1) as f:
        assert told(await answer(f, streamed=streamed)) == [("a", "ok")]
        response = await answer(f, streamed=streamed)
        assert (response.text, told(response)) == ("2", [("a", "failed"), ("a", "ok")])
        assert response.trace.attempts[0].error.lost_before_answer
        assert [request.connection for request in f.server.requests] == [1, 2, 3]
        assert f.state("a").breaker._failures_in_a_row == 0


async def test_n09_a_second_refusal_is_a_failure(wall):
    async with wall({"a": Raw(b""), "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        assert f.asked == ["a", "a", "b"]


async def test_n09_a_part_of_the_head_is_no_refusal(wall):
    """The server had begun to answer: whether it has worked on the request cannot be known, so this is counted."""
    async with wall({"a": Raw(b"HTTP/1.1 200 OK\r\ncontent-le"), "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert isinstance(response.trace.attempts[0].error, (ConnectionFailed, MalformedResponse))
        assert f.state("a").breaker._failures_in_a_row == 1
    async with wall({"a": Http(end=End.RESET, content_length=5), "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        assert f.asked == ["a", "b"]
