"""Streamed calls: what an answer looks like, and what happens before its first output."""

from __future__ import annotations

import anyio
import pytest
from routed import ALONE, EXACT, ROLE, STOP, USAGE, RawStreams, delta, routed
from streamed import CUT, WORDS, texts

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    ConnectionFailed,
    InvalidRequest,
    MalformedResponse,
    ServerError,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream

# ---------------------------------------------------------------- what an answer looks like


async def test_chunks_come_in_order_and_the_response_is_the_whole():
    async with routed(Stream(WORDS)) as r:
        chunks, response = await r.read()
        assert texts(chunks) == WORDS
        assert chunks[0].delta == {"role": "assistant"}
        assert [chunk.finish_reason for chunk in chunks][-1] == "stop"
        assert (response.text, response.finish_reason, response.deployment) == ("The answer is 42.", "stop", "a")
        assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.estimated) == (10, 5, False)
        assert [str(one.outcome) for one in response.trace.attempts] == ["ok"]
        assert r.recorder.responses == [response]


@pytest.mark.parametrize(
    "reply",
    [
        Reply("several words of an answer"),
        Reply("", tool_calls=[{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]),
        Reply("short", finish_reason="length"),
    ],
)
async def test_it_is_what_a_plain_call_returns(reply):
    async with routed(reply, deployments={"a": {"price": {"input": 1.0, "output": 2.0}}}) as r:
        plain = await r.ask()
        _, streamed = await r.read()
    assert (streamed.text, streamed.finish_reason, streamed.usage) == (plain.text, plain.finish_reason, plain.usage)
    assert (streamed.model, streamed.deployment, streamed.cost_usd) == (plain.model, plain.deployment, plain.cost_usd)
    assert list(streamed.tool_calls) == list(plain.tool_calls)
    assert {key: value for key, value in streamed.message.items() if value} == {
        key: value for key, value in plain.message.items() if value
    }


async def test_tool_calls_are_merged_piece_by_piece():
    def call(index, **function):
        return delta(tool_calls=[{"index": index, **function}])

    pieces = [
        ROLE,
        call(0, id="one", type="function", function={"name": "look", "arguments": ""}),
        call(0, function={"arguments": '{"for": '}),
        call(1, id="two", type="function", function={"name": "run", "arguments": "{"}),
        call(0, function={"arguments": '"it"}'}),
        call(1, function={"arguments": "}"}),
        delta(finish="tool_calls"),
        USAGE,
    ]
    async with routed(RawStreams(a=[pieces]), groups=ALONE) as r:
        chunks, response = await r.read()
    assert len(chunks) == 7
    assert [(one["id"], one["function"]) for one in response.tool_calls] == [
        ("one", {"name": "look", "arguments": '{"for": "it"}'}),
        ("two", {"name": "run", "arguments": "{}"}),
    ]
    assert response.message["content"] == ""


async def test_the_usage_chunk_is_shown_to_those_only_who_asked_for_it():
    async with routed(Stream(WORDS)) as r:
        hidden, response = await r.read()
        assert not any("usage" in chunk.raw for chunk in hidden)
        shown, _ = await r.read(stream_options={"include_usage": True})
        assert [bool(chunk.raw.get("usage")) for chunk in shown] == [False] * (len(shown) - 1) + [True]
    assert response.usage.total_tokens == 15


async def test_other_chunks_without_a_choice_are_passed_on():
    filters = {"id": "c", "choices": [], "prompt_filter_results": [{"hate": "safe"}]}
    async with routed(RawStreams(a=[[filters, ROLE, delta("yes"), STOP, USAGE]]), groups=ALONE) as r:
        chunks, _ = await r.read()
    assert [chunk.raw for chunk in chunks] == [filters, ROLE, delta("yes"), STOP]


async def test_wrong_stream_options_are_passed_on_not_stumbled_over():
    async with routed(Stream(WORDS)) as r:
        _, response = await r.read(stream_options="nonsense")
    assert response.text == "The answer is 42."


async def test_missing_usage_is_estimated_and_flagged():
    async with routed(Stream(WORDS, usage=None), deployments={"a": {"price": {"input": 1.0, "output": 2.0}}}) as r:
        _, response = await r.read()
    usage = response.usage
    assert usage.estimated
    assert usage.output_tokens == 5  # 17 ASCII characters, four a token
    assert usage.input_tokens > 5
    assert response.cost_usd == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)


async def test_several_choices_are_assembled_side_by_side():
    pieces = [delta("a", index=0), delta("b", index=1), delta("A", "stop", index=0), delta("B", "stop", index=1), USAGE]
    async with routed(RawStreams(a=[pieces]), groups=ALONE) as r:
        _, response = await r.read(n=2)
    assert [choice["message"]["content"] for choice in response.raw["choices"]] == ["aA", "bB"]


async def test_the_request_says_that_it_is_streamed():
    async with routed(Stream(WORDS)) as r:
        await r.read()
        assert r.provider.calls[0].request.stream


async def test_an_answer_without_a_word_that_ran_out_of_tokens_is_an_answer():
    async with routed(RawStreams(a=[[ROLE, delta(finish="length"), USAGE]]), groups=ALONE) as r:
        chunks, response = await r.read()
        assert [chunk.finish_reason for chunk in chunks] == [None, "length"]
        assert (response.text, response.finish_reason, response.usage.output_tokens) == ("", "length", 3)
        async with r.stream() as stream:
            await anext(stream)
        assert stream.response.finish_reason == "length", "all of it had come"


# ---------------------------------------------------------------- before the first output


@pytest.mark.parametrize(
    "script",
    [
        [[CUT]],
        [[ROLE, CUT]],
        [[ROLE, delta(""), 1.0, CUT]],
        [[]],
        [[ROLE]],
        [[USAGE]],
        [[ROLE, ServerError("in-band")]],
        [["no chunk"]],
        [[ROLE, ValueError("a bug in the provider")]],
    ],
    ids=["cut", "role", "empty", "nothing", "role-only", "usage-only", "error", "junk", "bug"],
)
async def test_recovery_is_invisible(script):
    async with routed(RawStreams(a=script, b=[[ROLE, delta("from b"), STOP, USAGE]])) as r:
        chunks, response = await r.read()
        assert [chunk.raw for chunk in chunks] == [ROLE, delta("from b"), STOP]
        assert response.text == "from b"
        assert [(one.deployment, str(one.outcome)) for one in response.trace.attempts] == [("a", "failed"), ("b", "ok")]


async def test_an_empty_stream_is_a_malformed_answer():
    async with routed(RawStreams(a=[[ROLE, USAGE]]), groups=ALONE) as r:
        with pytest.raises(AllAttemptsFailed) as caught:
            await r.read()
    assert isinstance(caught.value.__cause__, MalformedResponse)
    assert caught.value.trace is not None


async def test_errors_before_the_first_output_are_raised_on_entering():
    entered = False
    async with routed(Fail(InvalidRequest)) as r:
        with pytest.raises(InvalidRequest) as caught:
            async with r.stream():
                entered = True
    assert not entered
    assert [one.deployment for one in caught.value.trace.attempts] == ["a"]


async def test_the_order_of_recovery_is_that_of_plain_calls():
    script = {"a": Fail(ServerError), "b": [Fail(ServerError), Stream(WORDS)], "x": Reply()}
    groups = {
        "chat": {"deployments": ["a", "b"], "retry": EXACT, "fallbacks": ["other"]},
        "other": {"deployments": ["x"]},
    }
    async with routed(script, groups=groups) as r:
        await r.read()
        assert r.timeline == [("a", 0.0), ("b", 0.0), ("b", 1.0)]


async def test_a_lost_connection_is_made_anew_at_once():
    lost = ConnectionFailed("gone", lost_before_answer=True)
    async with routed(RawStreams(a=[[lost], [delta("ok"), STOP]], b=[[delta("b"), STOP]])) as r:
        _, response = await r.read()
        assert response.deployment == "a"
        assert r.timeline == [("a", 0.0), ("a", 0.0)]


async def test_the_first_output_is_waited_for_as_long_as_the_group_says():
    async with routed({"a": Slow(20, then=Reply()), "b": Reply("b")}, timeouts={"first_token_s": 15.0}) as r:
        _, response = await r.read()
        assert response.text == "b"
        assert r.timeline == [("a", 0.0), ("b", 15.0)]
        (failed, _) = response.trace.attempts
        assert isinstance(failed.error, AttemptTimedOut)
        assert str(failed.error) == "no output within first_token_s = 15 s"


async def test_chunks_without_output_do_not_prolong_that():
    drip = [ROLE, *[1.0, delta("")] * 60, delta("too late"), STOP]
    async with routed(RawStreams(a=[drip], b=[[delta("b"), STOP]]), timeouts={"first_token_s": 5.0}) as r:
        _, response = await r.read()
        assert response.text == "b"
        assert r.timeline[1] == ("b", 5.0)


async def test_the_time_of_a_whole_attempt_bounds_it_too():
    async with routed({"a": Hang(), "b": Reply("b")}, timeouts={"first_token_s": 15.0, "attempt_s": 4.0}) as r:
        await r.read()
        assert r.timeline[1] == ("b", 4.0)


async def test_but_not_the_flow_of_an_answer():
    async with routed(Stream(WORDS, pause_s=3.0), timeouts={"attempt_s": 4.0}) as r:
        _, response = await r.read()
        assert response.text == "The answer is 42."
        assert anyio.current_time() == 9.0


async def test_latency_is_the_time_to_the_first_output():
    async with routed(Slow(2.0, then=Stream(WORDS, pause_s=3.0))) as r:
        await r.read()
        assert r.state("a").latency_s == 2.0
