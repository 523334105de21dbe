"""Streams that break off after their first output: told with what came, gone on with, or begun anew."""

from __future__ import annotations

import anyio
import pytest
from routed import ALONE, PROMPT, ROLE, STOP, USAGE, RawStreams, delta, routed
from streamed import CUT, WORDS, collect, texts

from asyncrouter import AllAttemptsFailed, AuthenticationFailed, ContentFiltered, InvalidRequest, StreamInterrupted
from asyncrouter.testing import Fail, Slow, Stream


async def test_a_stream_that_breaks_off_is_an_error_that_keeps_what_came():
    async with routed(Stream(WORDS, cut_after=2)) as r:
        chunks = []
        with pytest.raises(StreamInterrupted) as caught:
            await collect(r, chunks)
        error = caught.value
        assert texts(chunks) == WORDS[:2]
        assert error.partial == "The answer "
        assert str(error) == "the stream broke off after 11 characters: StreamInterrupted: scripted cut"
        assert error.deployment == "a"
        assert [one.deployment for one in error.trace.attempts] == ["a"], "nobody else is asked"
        assert r.router.metrics().deployments["a"].failures == 1


async def test_silence_after_the_first_output_is_one_too():
    async with routed(Stream(WORDS, stall_after=2), timeouts={"idle_s": 6.0}) as r:
        with pytest.raises(StreamInterrupted, match=r"AttemptTimedOut: no output within idle_s = 6 s"):
            await r.read()
        assert anyio.current_time() == 6.0
        assert r.provider.calls[0].outcome == "cancelled"


async def test_pauses_shorter_than_that_are_fine():
    async with routed(Stream(WORDS, pause_s=5.9), timeouts={"idle_s": 6.0}) as r:
        _, response = await r.read()
    assert response.text == "The answer is 42."


async def test_the_time_that_the_caller_takes_is_not_counted():
    async with routed(Stream(WORDS), timeouts={"idle_s": 1.0, "first_token_s": 1.0}) as r, r.stream() as stream:
        seen = []
        async for chunk in stream:
            seen.append(chunk)
            await anyio.sleep(5.0)
        assert "".join(texts(seen)) == "The answer is 42."


async def test_an_answer_is_gone_on_with_where_the_group_says_so():
    async with routed({"a": Stream(WORDS, cut_after=2), "b": Stream(["is ", "42."])}, on_interrupt="continue") as r:
        chunks, response = await r.read()
        assert texts(chunks) == WORDS
        assert response.text == "The answer is 42."
        assert response.deployment == "b"
        assert [chunk.delta.get("role") for chunk in chunks].count("assistant") == 1
        asked = r.provider.calls[1].request.messages
        assert list(asked) == [
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": "The answer "},
        ]
        assert [(one.deployment, str(one.outcome)) for one in response.trace.attempts] == [("a", "failed"), ("b", "ok")]


async def test_a_second_interruption_is_gone_on_from_too():
    script = {"a": Stream(WORDS, cut_after=1), "b": Stream(WORDS[1:], cut_after=1), "c": Stream(WORDS[2:])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "on_interrupt": "continue"}}
    async with routed(script, groups=groups) as r:
        chunks, response = await r.read()
        assert texts(chunks) == WORDS
        assert [call.request.messages[1:] for call in r.provider.calls] == [
            (),
            [{"role": "assistant", "content": "The "}],
            [{"role": "assistant", "content": "The answer "}],
        ]
    assert response.text == "The answer is 42."


async def test_a_role_that_comes_with_the_first_words_of_the_rest_is_taken_off():
    rest = delta("rest", role="assistant")
    provider = RawStreams(a=[[ROLE, delta("begun "), CUT]], b=[[rest, STOP]])
    async with routed(provider, on_interrupt="continue") as r:
        chunks, response = await r.read()
    assert [chunk.delta for chunk in chunks] == [
        ROLE["choices"][0]["delta"],
        {"content": "begun "},
        {"content": "rest"},
        {},
    ]
    assert response.message == {"role": "assistant", "content": "begun rest"}


async def test_the_rest_has_its_own_time_to_the_first_output():
    script = {"a": Stream(WORDS, cut_after=2), "b": Slow(12, then=Stream(["is ", "42."]))}
    async with routed(script, on_interrupt="continue", timeouts={"idle_s": 3.0, "first_token_s": 15.0}) as r:
        _, response = await r.read()
        assert response.text == "The answer is 42."
        assert r.state("b").latency_s == 12.0


@pytest.mark.parametrize("rest", [[], [ROLE], [USAGE]], ids=["nothing", "role", "usage"])
async def test_a_rest_that_never_comes_is_no_answer(rest):
    provider = RawStreams(a=[[delta("begun "), CUT]], b=[rest])
    async with routed(provider, on_interrupt="continue", retry="none") as r:
        with pytest.raises(StreamInterrupted) as caught:
            await r.read()
    assert caught.value.partial == "begun "


@pytest.mark.parametrize("end", [STOP, {"choices": [{"index": 0, "finish_reason": "stop"}]}], ids=["delta", "bare"])
async def test_a_rest_may_be_nothing_but_the_end(end):
    provider = RawStreams(a=[[delta("all of it"), CUT]], b=[[ROLE, end]])
    async with routed(provider, on_interrupt="continue") as r:
        chunks, response = await r.read()
    assert (response.text, response.finish_reason) == ("all of it", "stop")
    assert chunks[-1].finish_reason == "stop"


async def test_when_nobody_goes_on_the_first_cause_is_told():
    script = {"a": Stream(WORDS, cut_after=2), "b": Fail(InvalidRequest, message="prefill refused")}
    async with routed(script, on_interrupt="continue", retry="none") as r:
        with pytest.raises(StreamInterrupted, match="scripted cut") as caught:
            await r.read()
        error = caught.value
        assert (error.partial, error.deployment) == ("The answer ", "a")
        assert isinstance(error.__cause__.__cause__, InvalidRequest)
        assert [one.deployment for one in error.trace.attempts] == ["a", "b"]
        assert r.router.metrics().deployments["b"].breaker == "closed"


async def test_who_refuses_the_beginning_of_an_answer_is_passed_over():
    script = {"a": Stream(WORDS, cut_after=2), "b": Fail(InvalidRequest), "c": Stream(WORDS[2:])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "on_interrupt": "continue"}}
    async with routed(script, groups=groups, retry="none") as r:
        chunks, _ = await r.read()
        assert texts(chunks) == WORDS
        assert r.called == ["a", "b", "c"]


@pytest.mark.parametrize("policy", ["raise", "continue", "restart"])
async def test_a_tool_call_is_neither_gone_on_with_nor_begun_anew(policy):
    begun = delta(tool_calls=[{"index": 0, "id": "t", "function": {"name": "pay", "arguments": '{"amount": 1'}}])
    provider = RawStreams(a=[[ROLE, begun, CUT]], b=[[delta("never"), STOP]])
    async with routed(provider, on_interrupt=policy) as r:
        with pytest.raises(StreamInterrupted):
            await r.read()
        assert r.called == ["a"]


async def test_nor_are_several_choices():
    provider = RawStreams(a=[[delta("a", index=0), delta("b", index=1), CUT]], b=[[delta("never"), STOP]])
    async with routed(provider, on_interrupt="continue") as r:
        with pytest.raises(StreamInterrupted):
            await r.read(n=2)
        assert r.called == ["a"]


async def test_an_answer_in_parts_is_gone_on_with_from_its_text():
    def part(text):
        return delta(content=[{"type": "text", "text": text}])

    provider = RawStreams(a=[[ROLE, part("The "), part("answer "), CUT]], b=[[ROLE, delta("is 42."), STOP]])
    async with routed(provider, on_interrupt="continue") as r:
        chunks, response = await r.read()
        assert "".join(texts(chunks)) == response.text == "The answer is 42."
        assert r.provider.calls[1].request.messages[1] == {"role": "assistant", "content": "The answer "}
    async with routed(RawStreams(a=[[ROLE, part("The "), CUT]]), groups=ALONE) as r:
        with pytest.raises(StreamInterrupted, match="after 4 characters") as caught:
            await r.read()
        assert caught.value.partial == "The "


async def test_what_was_only_thought_is_asked_for_anew():
    provider = RawStreams(a=[[delta(reasoning_content="hm "), CUT]], b=[[delta("yes"), STOP]])
    async with routed(provider, on_interrupt="continue") as r:
        _, response = await r.read()
        assert response.text == "yes"
        assert len(r.provider.calls[1].request.messages) == 1


async def test_an_answer_is_begun_anew_where_the_group_says_so():
    async with routed({"a": Stream(WORDS, cut_after=2), "b": Stream(["Forty-", "two"])}, on_interrupt="restart") as r:
        chunks, response = await r.read()
        assert [chunk.kind for chunk in chunks].count("restart") == 1
        at = [chunk.kind for chunk in chunks].index("restart")
        assert texts(chunks[:at]) == WORDS[:2]
        assert texts(chunks[at:]) == ["Forty-", "two"]
        assert response.text == "Forty-two"
        assert chunks[at].raw == {}
        assert len(r.provider.calls[1].request.messages) == 1


async def test_when_nobody_begins_anew_everything_that_was_tried_is_told():
    script = {"a": Stream(WORDS, cut_after=2), "b": Fail(AuthenticationFailed)}
    async with routed(script, on_interrupt="restart", retry="none") as r:
        with pytest.raises(AllAttemptsFailed) as caught:
            await r.read()
    assert [type(one) for one in caught.value.errors] == [StreamInterrupted, AuthenticationFailed]


async def test_without_another_deployment_a_restart_is_an_interruption():
    async with routed(Stream(WORDS, cut_after=2), groups={"chat": {**ALONE["chat"], "on_interrupt": "restart"}}) as r:
        with pytest.raises(StreamInterrupted) as caught:
            await r.read()
    assert caught.value.partial == "The answer "
    assert isinstance(caught.value.__cause__, AllAttemptsFailed)


async def test_a_refusal_in_the_middle_is_an_interruption():
    provider = RawStreams(a=[[delta("well "), ContentFiltered("refused")]], b=[[delta("never"), STOP]])
    async with routed(provider, on_interrupt="continue") as r:
        with pytest.raises(StreamInterrupted, match="ContentFiltered: refused"):
            await r.read()
        assert r.called == ["a"]


async def test_junk_in_the_middle_is_an_interruption():
    async with routed(RawStreams(a=[[delta("well "), 7.0, "junk"]]), groups=ALONE) as r:
        with pytest.raises(StreamInterrupted, match="the provider 'fake' returned str"):
            await r.read()
