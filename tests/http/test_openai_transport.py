"""What the network can do to a call: refused, silent, reset, broken framing, TLS, proxies, redirects."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import pathlib
import socket
import ssl

import pytest
import trio

from asyncrouter.providers.loopback import LOOPBACK_ONLY
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing.server import (
    End,
    Gate,
    Hang,
    Http,
    Raw,
    Reset,
    ScriptedServer,
    completion,
    sse_completion,
)
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    Disposition,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    ProviderError,
)
from asyncrouter.types.request import Request

MINI = Deployment(name="mini", provider="acme", model="m-1")
REQUEST = Request(messages=[{"role": "user", "content": "Hi"}])
CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
PROMPT_S = 5.0


class Somewhere:
    """Stands in for a server: an address."""

    def __init__(self, url):
        self.url = url


async def failure(calling, kind):
    with pytest.raises(ProviderError) as raised:
        await asyncio.wait_for(calling, PROMPT_S)
    assert type(raised.value) is kind
    assert raised.value.deployment == "mini"
    assert str(raised.value).startswith("mini (acme): ")
    return raised.value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_n01_a_name_that_is_not_found(either_call, assert_clean, monkeypatch):
    async def not_found(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", not_found)
    error = await failure(either_call(Somewhere("http://no.such.host.invalid")), ConnectionFailed)
    assert (error.disposition, error.lost_before_answer) == (Disposition.FALLBACK, False)
    assert str(error) == "mini (acme): the host's name was not found: Name or service not known; check base_url"
    assert_clean(error)


async def test_n02_a_refused_connection(either_call, assert_clean):
    error = await failure(either_call(Somewhere(f"http://127.0.0.1:{free_port()}")), ConnectionFailed)
    assert (error.disposition, error.lost_before_answer) == (Disposition.RETRY, False)
    assert "no connection: Connect call failed" in str(error)
    assert not error.sent
    assert isinstance(error, ConnectionError)
    assert_clean(error)


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
        yield listener.getsockname()[1]


async def test_n03_a_black_hole(either_call, assert_clean):
    with black_hole() as port:
        calling = either_call(Somewhere(f"http://127.0.0.1:{port}"), timeouts=Timeouts(connect_s=0.1))
        error = await failure(calling, AttemptTimedOut)
    assert str(error) == "mini (acme): no connection within connect_s = 0.1 s"
    assert not error.sent
    assert isinstance(error, TimeoutError)
    assert error.disposition is Disposition.FALLBACK
    assert_clean(error)


def server_tls(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATES / certificate, CERTIFICATES / "server.key")
    return tls


@pytest.mark.parametrize(
    ("certificate", "ca", "why"),
    [
        ("loopback.crt", None, "self-signed certificate"),
        ("expired.crt", "expired.crt", "certificate has expired"),
        ("other_host.crt", "other_host.crt", "IP address mismatch"),
        ("loopback.crt", "other_host.crt", "self-signed certificate"),
    ],
)
async def test_n04_a_certificate_that_is_not_trusted(either_call, assert_clean, certificate, ca, why):
    async with ScriptedServer(completion(), tls=server_tls(certificate)) as server:
        options = {"ca_file": CERTIFICATES / ca} if ca else {}
        error = await failure(either_call(server, options=options), ConnectionFailed)
        assert server.requests == []
    assert "the TLS certificate was refused" in str(error)
    assert why in str(error).replace("self signed", "self-signed")
    assert (error.disposition, error.lost_before_answer) == (Disposition.FALLBACK, False)
    assert_clean(error)


async def test_a_certificate_of_a_private_authority(call):
    async with ScriptedServer(completion("Hi"), tls=server_tls("loopback.crt")) as server:
        response = await call.complete(server, options={"ca_file": CERTIFICATES / "loopback.crt"})
        assert response.text == "Hi"


async def test_n04_tls_with_whoever_speaks_none(either_call, assert_clean):
    async def speak(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(either_call(Somewhere(f"https://127.0.0.1:{port}")), ConnectionFailed)
    assert "TLS handshake failed" in str(error)
    assert error.disposition is Disposition.FALLBACK
    assert_clean(error)


@pytest.mark.parametrize("script", [Reset(), Raw(b"")], ids=["reset", "closed"])
async def test_n05_n06_a_connection_lost_before_the_answer(either_call, assert_clean, script):
    async with ScriptedServer(script) as server:
        error = await failure(either_call(server), ConnectionFailed)
    assert (error.disposition, error.lost_before_answer, error.sent) == (Disposition.RETRY, True, True)
    assert_clean(error)


async def test_n06_a_kept_connection_that_went_stale(call):
    async with ScriptedServer([completion("1"), Raw(b""), completion("3")]) as server:
        provider = call.provider(server)
        assert (await provider.complete(REQUEST, MINI, Timeouts())).text == "1"
        error = await failure(provider.complete(REQUEST, MINI, Timeouts()), ConnectionFailed)
        assert error.lost_before_answer
        assert (await provider.complete(REQUEST, MINI, Timeouts())).text == "3"


async def test_a_connection_that_the_server_has_closed_is_not_used(call):
    async with ScriptedServer(completion("1")) as server:
        provider = call.provider(server)
        await provider.complete(REQUEST, MINI, Timeouts())
        for connection in tuple(server._open):
            connection._transport.close()
        await server.idle()
        await asyncio.sleep(0.01)  # until the close has come over
        assert (await provider.complete(REQUEST, MINI, Timeouts())).text == "1"
        assert server.connections == 2


async def test_a_part_of_the_head_is_a_byte_of_the_answer(either_call):
    async with ScriptedServer(Raw(b"HTTP/1.1 200 OK\r\ncontent-le")) as server:
        error = await failure(either_call(server), ConnectionFailed)
    assert not error.lost_before_answer


@pytest.mark.parametrize("when", ["after_headers", "mid_body"])
async def test_n07_a_reset_within_the_answer_may_be_retried(either_call, assert_clean, when):
    async with ScriptedServer(Reset(when)) as server:
        with pytest.raises(ProviderError) as raised:
            await either_call(server)
    assert raised.value.disposition is Disposition.RETRY
    assert not getattr(raised.value, "lost_before_answer", False)
    assert_clean(raised.value)


@pytest.mark.parametrize("script", [Hang(), Hang(after_headers=True), Http(gate=Gate())])
async def test_n08_a_silent_connection_is_closed_when_the_caller_gives_up(either_call, script):
    async with ScriptedServer(script) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await either_call(server)
        await asyncio.wait_for(server.requests[0].disconnected.wait(), PROMPT_S)


async def test_a_cancelled_call_closes_its_connection(either_call):
    async with ScriptedServer(Hang()) as server:
        task = asyncio.create_task(either_call(server))
        request = await server.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(request.disconnected.wait(), PROMPT_S)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_h16_redirects_are_not_followed(either_call, status):
    async with ScriptedServer(completion()) as elsewhere:
        script = Http(status, headers={"location": elsewhere.url})
        async with ScriptedServer(script) as server:
            error = await failure(either_call(server), ModelNotFound)
        assert elsewhere.connections == 0
    assert error.disposition is Disposition.FALLBACK


OK_HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN = {
    "no http": b"\x00\x01garbage\r\n\r\n",
    "bad chunk size": OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "chunks cut off": OK_HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
    "length too long": OK_HEAD + b"content-length: 100\r\n\r\n{}",
    "length too short": OK_HEAD + b"content-length: 2\r\n\r\n{}abcdefgh",
    "two lengths": OK_HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": OK_HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "an endless header": OK_HEAD + b"x: " + b"y" * 20_000 + b"\r\n\r\n",
    "no gzip": OK_HEAD + b"content-length: 5\r\ncontent-encoding: gzip\r\n\r\nabcde",
    "informational only": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_h19_h20_h21_broken_answers(either_call, assert_clean, data):
    async with ScriptedServer(Raw(data)) as server:
        with pytest.raises(ProviderError) as raised:
            await asyncio.wait_for(either_call(server), PROMPT_S)
        await server.idle()  # and the connection is not used again
    assert raised.value.disposition is Disposition.RETRY
    assert not getattr(raised.value, "lost_before_answer", False)
    assert_clean(raised.value)


async def test_h19_an_informational_answer_before_the_real_one(call):
    body = b'{"choices": [{"message": {"content": "Hi"}}]}'
    head = OK_HEAD + b"content-length: %d\r\n\r\n" % len(body)
    async with ScriptedServer(
        Raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + head + body)
    ) as server:
        assert (await call.complete(server)).text == "Hi"


async def test_a_gzip_stream_cut_short_is_no_answer(either_call):
    body = gzip.compress(json.dumps(completion("x" * 5000).value).encode(), 0)[:-3000]
    async with ScriptedServer(Http(body=body, headers={"content-encoding": "gzip"})) as server:
        await failure(either_call(server), MalformedResponse)


async def test_the_environment_names_no_proxy_unless_it_is_asked_for(call, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with ScriptedServer(completion("proxied")) as proxy, ScriptedServer(completion("direct")) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://user:SENTINEL@"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await call.complete(server)).text == "direct"
        assert "authorization" not in server.requests[0].headers
        assert (await call.complete(server, options={"trust_env": True})).text == "proxied"
        (request,) = proxy.requests
        assert request.path == f"{server.url}/v1/chat/completions"
        assert request.headers["proxy-authorization"].startswith("Basic ")
        assert "authorization" not in request.headers
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert (await call.complete(server, options={"trust_env": True})).text == "direct"
        monkeypatch.delenv("http_proxy")
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("all_proxy", proxy.url)
        assert (await call.complete(server, options={"trust_env": True})).text == "proxied"


async def test_a_configured_proxy(call):
    async with ScriptedServer(completion("proxied")) as proxy:
        response = await call.complete(Somewhere("http://upstream.invalid"), options={"proxy": proxy.url})
        assert response.text == "proxied"
        assert proxy.requests[0].path == "http://upstream.invalid/v1/chat/completions"


@pytest.mark.parametrize(("status", "kind"), [(407, AuthenticationFailed), (502, ConnectionFailed)])
async def test_a_proxy_that_refuses_a_tunnel(either_call, assert_clean, status, kind):
    async with ScriptedServer(Http(status, end=End.CLOSE)) as proxy:
        calling = either_call(Somewhere("https://upstream.invalid"), options={"proxy": proxy.url})
        error = await failure(calling, kind)
        assert proxy.requests[0].method == "CONNECT"
    assert f"the proxy answered {status}" in str(error)
    assert_clean(error)


async def test_a_proxy_that_is_not_there(either_call):
    options = {"proxy": f"http://127.0.0.1:{free_port()}"}
    error = await failure(either_call(Somewhere("http://upstream.invalid"), options=options), ConnectionFailed)
    assert "no connection to the proxy" in str(error)
    assert error.disposition is Disposition.RETRY


async def test_an_address_that_aiohttp_refuses(either_call, assert_clean):
    error = await failure(either_call(Somewhere("http://2130706433")), ConnectionFailed)
    assert error.disposition is Disposition.FALLBACK
    assert_clean(error)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://api.example.invalid", {}),
        ("http://10.0.0.1", {}),
        ("http://127.0.0.1:9", {"proxy": "http://proxy.invalid:3128"}),
        ("http://api.example.invalid", {"proxy": "http://127.0.0.1:9"}),
    ],
)
async def test_real_calls_can_be_forbidden(either_call, monkeypatch, url, options):
    monkeypatch.setenv(LOOPBACK_ONLY, "1")
    error = await failure(either_call(Somewhere(url), options=options), ConnectionFailed)
    assert f"{LOOPBACK_ONLY}=1 forbids calls to " in str(error)
    assert "unset it" in str(error)
    assert error.disposition is Disposition.FALLBACK


async def test_the_proxy_of_the_environment_is_forbidden_too(call, monkeypatch):
    monkeypatch.setenv(LOOPBACK_ONLY, "1")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    calling = call.complete(Somewhere("http://127.0.0.1:9"), options={"trust_env": True})
    assert "proxy.invalid" in str(await failure(calling, ConnectionFailed))


async def test_the_loopback_is_never_forbidden(either_call, monkeypatch):
    monkeypatch.setenv(LOOPBACK_ONLY, "1")
    async with ScriptedServer(sse_completion() if either_call.__name__ == "stream" else completion()) as server:
        await either_call(server)


def test_under_trio_there_is_a_clear_error():
    async def call():
        provider = OpenAICompatible(name="acme", base_url="http://127.0.0.1:9/v1")
        try:
            await provider.complete(REQUEST, MINI, Timeouts())
        finally:
            await provider.aclose()

    with pytest.raises(ConnectionFailed, match="needs an asyncio event loop"):
        trio.run(call)


async def test_a_server_that_refuses_before_it_has_read_the_request(either_call, assert_clean):
    async def refuse(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        calling = either_call(
            Somewhere(f"http://127.0.0.1:{port}"), messages=[{"role": "user", "content": "x" * 3_000_000}]
        )
        with pytest.raises((InvalidRequest, ConnectionFailed)) as raised:  # as far as the refusal came through
            await asyncio.wait_for(calling, PROMPT_S)
    assert_clean(raised.value)
