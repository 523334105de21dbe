"""The fake provider does what its script says, and records it."""

from __future__ import annotations

import anyio
import pytest

from asyncrouter.providers.base import Provider
from asyncrouter.testing import (
    Fail,
    FakeProvider,
    Hang,
    Reply,
    Slow,
    Stream,
    VirtualDeadlock,
    run_virtual,
    virtual_backend,
)
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContextWindowExceeded,
    Overloaded,
    RateLimited,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Usage

A, B = (Deployment(name=name, provider="fake", model=f"model-{name}") for name in "ab")
ASK = Request(messages=[{"role": "user", "content": "hi"}])
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
T = Timeouts()


@pytest.fixture(params=[virtual_backend, ("trio", {})], ids=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


async def ask(provider, deployment=A, request=ASK):
    return await provider.complete(request, deployment, T)


async def streamed(provider, deployment=A):
    return [chunk async for chunk in provider.stream(ASK, deployment, T)]


def test_it_is_a_provider():
    assert isinstance(FakeProvider(), Provider)


async def test_a_reply_is_a_whole_chat_completion():
    response = await ask(FakeProvider(Reply("hello", usage=Usage(input_tokens=3, output_tokens=4, reasoning_tokens=2))))
    assert (response.text, response.finish_reason, response.model, response.deployment) == (
        "hello",
        "stop",
        "model-a",
        "a",
    )
    assert response.usage == Usage(input_tokens=3, output_tokens=4, reasoning_tokens=2)
    assert response.raw["object"] == "chat.completion"


async def test_no_usage_means_none_was_sent():
    response = await ask(FakeProvider(Reply(usage=None)))
    assert response.usage is NO_USAGE
    assert "usage" not in response.raw
    assert all("usage" not in chunk.raw for chunk in await streamed(FakeProvider(Reply(usage=None))))


async def test_tool_calls_set_the_finish_reason():
    response = await ask(FakeProvider(Reply("", tool_calls=[CALL])))
    assert response.tool_calls == [CALL]
    assert response.finish_reason == "tool_calls"
    assert response.message["content"] is None
    chunks = await streamed(FakeProvider(Reply("", tool_calls=[CALL])))
    assert chunks[1].delta == {"tool_calls": [{"index": 0, **CALL}]}
    assert chunks[2].finish_reason == "tool_calls"


async def test_raw_replaces_everything():
    raw = {"choices": [{"message": {"content": "mine"}, "finish_reason": "length"}], "model": "other", "extra": 1}
    response = await ask(FakeProvider(Reply("not me", raw=raw)))
    assert response.raw is raw
    assert response.model == "other"
    chunks = await streamed(FakeProvider(Reply("not me", raw=raw)))
    assert "".join(chunk.text for chunk in chunks) == "mine"
    assert chunks[-1].finish_reason == "length"


@pytest.mark.parametrize("text", ["two words", " lead and trail \n", "", "  ", "日本語 text"])
async def test_a_stream_of_a_reply_is_the_same_text(text):
    chunks = await streamed(FakeProvider(Reply(text)))
    assert "".join(chunk.text for chunk in chunks) == text
    assert chunks[0].delta == {"role": "assistant"}
    assert chunks[-2].finish_reason == "stop"
    assert chunks[-1].raw["usage"]["prompt_tokens"] == 10
    assert chunks[-1].raw["choices"] == []


async def test_a_plain_call_to_a_stream_is_joined():
    response = await ask(FakeProvider(Stream(["a", "b", "c"], finish_reason="length")))
    assert response.text == "abc"
    assert response.finish_reason == "length"


async def test_a_sequence_is_one_step_a_call_and_its_last_repeats():
    provider = FakeProvider([Fail(RateLimited), Reply("then")])
    with pytest.raises(RateLimited):
        await ask(provider, A)
    assert [(await ask(provider, deployment)).text for deployment in (B, A, B)] == ["then", "then", "then"]


async def test_a_mapping_gives_each_deployment_its_own_script():
    provider = FakeProvider({"a": [Fail(Overloaded), Reply("a2")], "b": Reply("b")})
    assert (await ask(provider, B)).text == "b"
    with pytest.raises(Overloaded):
        await ask(provider, A)
    assert (await ask(provider, A)).text == "a2"
    with pytest.raises(LookupError, match=r"no script for 'c'; the mapping has \['a', 'b'\]"):
        await ask(provider, Deployment(name="c", provider="fake", model="m"))
    assert provider.in_flight == 0


async def test_a_function_sees_request_deployment_and_number():
    seen = []

    def script(request, deployment, number):
        seen.append((deployment.name, number))
        return Reply(request.messages[0]["content"].upper())

    provider = FakeProvider(script)
    assert (await ask(provider, A)).text == "HI"
    await ask(provider, B)
    await ask(provider, A)
    assert seen == [("a", 1), ("b", 1), ("a", 2)]


async def test_play_starts_a_new_script():
    provider = FakeProvider([Reply("1"), Reply("2")])
    await ask(provider)
    provider.play([Reply("x"), Reply("y")])
    assert [(await ask(provider)).text for _ in range(3)] == ["x", "y", "y"]
    assert len(provider.calls) == 4


async def test_a_class_is_raised_with_its_circumstances():
    with pytest.raises(RateLimited) as caught:
        await ask(FakeProvider(Fail(RateLimited, retry_after_s=7, message="slow down")))
    error = caught.value
    assert (error.deployment, error.retry_after_s, error.status, str(error)) == ("a", 7, 429, "slow down")
    with pytest.raises(AuthenticationFailed) as caught:
        await ask(FakeProvider(Fail(AuthenticationFailed, status=403)))
    assert caught.value.status == 403
    assert Fail(ContextWindowExceeded).usual_status == 400
    assert Fail(ConnectionFailed).usual_status is None
    assert Fail(Overloaded("x")).usual_status == 503


async def test_an_instance_is_raised_as_it_is():
    error = ConnectionFailed("gone", lost_before_answer=True)
    with pytest.raises(ConnectionFailed) as caught:
        await streamed(FakeProvider(Fail(error)))
    assert caught.value is error


async def test_any_exception_may_be_scripted():
    with pytest.raises(KeyError, match="scripted failure"):
        await ask(FakeProvider(Fail(KeyError)))


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_slow_waits_in_the_clocks_time():
    provider = FakeProvider(Slow(30, then=Slow(12, then=Fail(RateLimited))))
    with pytest.raises(RateLimited):
        await ask(provider)
    (call,) = provider.calls
    assert (call.started_at, call.ended_at, call.outcome) == (0.0, 42.0, "failed")
    assert isinstance(call.error, RateLimited)


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_a_stream_pauses_between_pieces_only():
    chunks = FakeProvider(Stream(["a", "b", "c"], pause_s=10)).stream(ASK, A, T)
    times = [anyio.current_time() async for chunk in chunks if chunk.text]
    assert times == [0.0, 10.0, 20.0]


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_a_given_clock_times_the_calls():
    class Noon:
        def now(self):
            return 12.0

    provider = FakeProvider(clock=Noon())
    await ask(provider)
    assert (provider.calls[0].started_at, provider.calls[0].ended_at) == (12.0, 12.0)


@pytest.mark.parametrize("pieces_before", [0, 1, 3])
async def test_a_cut_interrupts_after_so_many_pieces(pieces_before):
    provider = FakeProvider(Stream(["a", "b", "c"], cut_after=pieces_before))
    came = []

    async def collect():
        async for chunk in provider.stream(ASK, A, T):
            came.append(chunk.text)  # noqa: PERF401 - a comprehension would lose them

    with pytest.raises(StreamInterrupted) as caught:
        await collect()
    assert "".join(came) == caught.value.partial == "abc"[:pieces_before]
    assert caught.value.deployment == "a"
    with pytest.raises(StreamInterrupted):
        await ask(provider)
    assert [call.outcome for call in provider.calls] == ["failed", "failed"]


async def test_a_hang_ends_when_the_caller_gives_up():
    provider = FakeProvider(Hang())
    async with anyio.create_task_group() as group:
        group.start_soon(ask, provider)
        group.start_soon(streamed, provider)
        await anyio.wait_all_tasks_blocked()
        assert provider.in_flight == 2
        assert [call.outcome for call in provider.calls] == ["running", "running"]
        assert provider.calls[0].ended_at is None
        group.cancel_scope.cancel()
    assert provider.in_flight == 0
    assert [call.outcome for call in provider.calls] == ["cancelled", "cancelled"]


def test_a_stall_never_ends():
    provider = FakeProvider(Stream(["a", "b"], stall_after=1))
    with pytest.raises(VirtualDeadlock):
        run_virtual(streamed, provider)
    assert provider.calls[0].outcome == "cancelled"


async def test_closing_a_stream_early_is_recorded():
    provider = FakeProvider(Stream(["a", "b"]))
    chunks = provider.stream(ASK, A, T)
    await anext(chunks)
    assert provider.in_flight == 1
    await chunks.aclose()
    assert provider.in_flight == 0
    assert provider.calls[0].outcome == "closed"


async def test_after_aclose_nothing_answers():
    provider = FakeProvider()
    await provider.aclose()
    await provider.aclose()
    assert provider.closed
    with pytest.raises(ConnectionFailed, match="after aclose"):
        await ask(provider)
    with pytest.raises(ConnectionFailed, match="after aclose"):
        await streamed(provider)
    assert provider.calls == []


async def test_calls_are_found_by_deployment():
    provider = FakeProvider()
    for deployment in (A, B, A):
        await ask(provider, deployment)
    assert [call.number for call in provider.calls_to("a")] == [1, 2]
    assert [call.deployment for call in provider.calls_to("b")] == [B]
    assert provider.calls[0].request is ASK
    assert provider.calls[0].timeouts is T
    assert "hi" not in repr(provider.calls)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (RateLimited, r"script is RateLimited; expected .*Fail\(RateLimited\)"),
        ("hello", r"script is str; expected"),
        ([], "script: the sequence is empty"),
        ({}, "script: the mapping is empty"),
        ([Reply(), "no"], r"script\[1\] is str"),
        ({"a": Reply(), "b": [None]}, r"script\['b'\]\[0\] is NoneType"),
        (3, "script is int"),
    ],
)
def test_what_is_no_script_is_refused(script, message):
    with pytest.raises(TypeError, match=message):
        FakeProvider(script)


async def test_a_function_that_returns_no_step_is_told_so():
    with pytest.raises(TypeError, match=r"the script's function returned str; expected Reply"):
        await ask(FakeProvider(lambda *_: "text"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stream("text"), r"pieces: expected a list of texts"),
        (lambda: Stream(["a"], cut_after=2), "cut_after: expected 0 to 1"),
        (lambda: Stream(["a"], stall_after=-1), "stall_after: expected 0 to 1"),
        (lambda: Stream(["a"], stall_after=1, cut_after=1), "not both"),
    ],
)
def test_impossible_streams_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
