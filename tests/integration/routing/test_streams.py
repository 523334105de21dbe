"""Streamed calls: what the caller sees, whatever happens upstream."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from routed import EXACT, PROMPT, ROLE, STOP, USAGE, RawStreams, delta, routed

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    DeadlineExceeded,
    InvalidRequest,
    MalformedResponse,
    ServerError,
    StreamInterrupted,
    hookimpl,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream

WORDS = ["The ", "answer ", "is ", "42."]
ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}
CUT = StreamInterrupted("cut")


def texts(chunks):
    return [chunk.text for chunk in chunks if chunk.text]


async def collect(r, into, **arguments):
    async with r.stream(**arguments) as stream:
        async for chunk in stream:
            into.append(chunk)
    return stream.response


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


# ---------------------------------------------------------------- after the first output


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


# ---------------------------------------------------------------- deadline


@pytest.mark.parametrize("policy", ["raise", "continue", "restart"])
async def test_the_deadline_ends_a_flowing_stream_exactly(policy):
    async with routed(Stream(WORDS, pause_s=2.0), on_interrupt=policy) as r:
        chunks = []
        with pytest.raises(DeadlineExceeded) as caught:
            await collect(r, chunks, deadline_s=3.0)
        assert anyio.current_time() == 3.0
        assert texts(chunks) == WORDS[:2]
        assert str(caught.value) == "no answer within the deadline of 3 s; attempts: a AttemptTimedOut"
        assert r.provider.calls[0].outcome == "cancelled"


async def test_it_ends_the_wait_for_the_first_output():
    async with routed(Hang()) as r:
        with pytest.raises(DeadlineExceeded, match="attempts: a AttemptTimedOut"):
            await r.read(deadline_s=3.0)
        assert anyio.current_time() == 3.0


async def test_it_ends_the_wait_for_a_slot():
    async with (
        routed(Stream(WORDS, pause_s=10.0), groups=ALONE, deployments={"a": {"limits": {"concurrency": 1}}}) as r,
        r.stream(),
        anyio.create_task_group() as tasks,
    ):

        async def second():
            with pytest.raises(DeadlineExceeded, match="attempts: none ended"):
                await r.read(deadline_s=3.0)
            assert anyio.current_time() == 3.0

        tasks.start_soon(second)


async def test_nothing_starts_after_it():
    async with routed({"a": Slow(3.0, then=Fail(ServerError)), "b": Reply()}) as r:
        with pytest.raises(DeadlineExceeded):
            await r.read(deadline_s=3.0)
        assert "b" not in r.called


async def test_nothing_starts_when_it_has_passed_before_the_stream_is_entered():
    async with routed() as r:
        call = r.router.stream(PROMPT, deadline_s=2.0)
        await anyio.sleep(2.0)
        r.began += 1
        with pytest.raises(DeadlineExceeded):
            async with call:
                pass
        assert r.called == []


async def test_no_backoff_begins_that_would_end_after_it():
    async with routed(Fail(ServerError), groups={"chat": {"deployments": ["a"], "retry": EXACT}}) as r:
        with pytest.raises(AllAttemptsFailed):
            await r.read(deadline_s=1.0)
        assert anyio.current_time() == 0.0


async def test_it_ends_the_recovery_after_an_interruption():
    script = {"a": [Stream(WORDS, cut_after=2)], "b": Slow(9, then=Fail(ServerError))}
    async with routed(script, on_interrupt="continue") as r:
        with pytest.raises(DeadlineExceeded, match="attempts: a StreamInterrupted, b AttemptTimedOut"):
            await r.read(deadline_s=3.0)


async def test_it_ends_a_recovery_that_a_plugin_holds_up():
    class Slowly:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            if candidates[0].name == "x":
                await anyio.sleep(100)

    groups = {
        "chat": {"deployments": ["a"], "on_interrupt": "continue", "retry": "none", "fallbacks": ["other"]},
        "other": {"deployments": ["x"]},
    }
    slowly = Slowly()
    async with routed({"a": Stream(WORDS, cut_after=2), "x": Reply()}, groups=groups, plugins=[slowly]) as r:
        with pytest.raises(DeadlineExceeded, match="attempts: a StreamInterrupted"):
            await r.read(deadline_s=3.0)
        assert anyio.current_time() == 3.0
        r.router.unregister(slowly)


async def test_an_answer_without_a_word_that_ran_out_of_tokens_is_an_answer():
    async with routed(RawStreams(a=[[ROLE, delta(finish="length"), USAGE]]), groups=ALONE) as r:
        chunks, response = await r.read()
        assert [chunk.finish_reason for chunk in chunks] == [None, "length"]
        assert (response.text, response.finish_reason, response.usage.output_tokens) == ("", "length", 3)
        async with r.stream() as stream:
            await anext(stream)
        assert stream.response.finish_reason == "length", "all of it had come"


# ---------------------------------------------------------------- leaving


async def test_leaving_early_closes_the_upstream_and_is_a_cancellation():
    async with routed(Stream(WORDS, pause_s=1.0), deployments={"a": {"price": {"input": 1.0, "output": 1.0}}}) as r:
        async with r.stream() as stream:
            async for chunk in stream:
                if chunk.text == "answer ":
                    break
            assert r.provider.in_flight == 1
        assert r.provider.in_flight == 0
        assert r.provider.calls[0].outcome == "closed"
        metrics = r.router.metrics()
        assert (metrics.total.calls, metrics.total.cancelled, metrics.total.failures) == (1, 1, 0)
        assert metrics.deployments["a"].cancelled == 1
        assert metrics.deployments["a"].breaker == "closed"
        assert metrics.deployments["a"].output_tokens == 3, "what came is paid for: 11 characters"
        assert metrics.total.cost_usd > 0
        assert r.recorder.finished[0].response is None
        assert r.recorder.finished[0].error is None


async def test_leaving_before_the_first_output_takes_the_prompt():
    async with routed(Hang()) as r:
        with anyio.move_on_after(1.0):
            await r.read()
        total = r.router.metrics().total
        assert (total.cancelled, total.output_tokens) == (1, 0)
        assert total.input_tokens == r.recorder.finished[0].trace.estimate.input_tokens > 0


async def test_leaving_after_the_finish_reason_is_no_cancellation():
    async with routed(Stream(WORDS)) as r:
        async with r.stream() as stream:
            async for chunk in stream:
                if chunk.finish_reason:
                    break
        assert stream.response.text == "The answer is 42."
        assert stream.response.usage.estimated
        metrics = r.router.metrics()
        assert (metrics.total.cancelled, metrics.deployments["a"].cancelled) == (0, 0)
        assert r.provider.calls[0].outcome == "closed"


async def test_leaving_with_an_error_of_ones_own_passes_it_on():
    async with routed(Stream(WORDS)) as r:

        async def leave():
            async with r.stream():
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()
        assert r.provider.in_flight == 0


async def test_after_it_was_left_there_is_nothing_more():
    async with routed(Stream(WORDS)) as r:
        async with r.stream() as stream:
            await anext(stream)
        assert [chunk async for chunk in stream] == []
        with pytest.raises(RuntimeError, match="not complete"):
            _ = stream.response


async def test_after_its_end_there_is_nothing_more():
    async with routed(Stream(WORDS)) as r:
        async with r.stream() as stream:
            assert len([chunk async for chunk in stream]) == 6
            assert [chunk async for chunk in stream] == []
        assert len(r.recorder.finished) == 1


async def test_after_an_error_there_is_nothing_more():
    async with routed(Stream(WORDS, cut_after=1)) as r:
        async with r.stream() as stream:
            with pytest.raises(StreamInterrupted):
                async for _ in stream:
                    pass
            assert [chunk async for chunk in stream] == []
            with pytest.raises(RuntimeError, match="not complete"):
                _ = stream.response
        assert len(r.recorder.finished) == 1


async def test_closing_twice_is_closing_once():
    async with routed(Stream(WORDS)) as r:
        async with r.stream() as stream:
            await stream.__aexit__(None, None, None)
        assert len(r.recorder.finished) == 1


async def test_entering_twice_is_refused():
    async with routed(Stream(WORDS)) as r, r.stream() as stream:
        with pytest.raises(RuntimeError, match="entered before"):
            await stream.__aenter__()


async def test_a_stream_is_entered_first():
    async with routed(Stream(WORDS)) as r:
        stream = r.router.stream(PROMPT)
        with pytest.raises(RuntimeError, match="enter the stream first"):
            await anext(stream)
        assert r.called == []


async def test_the_response_is_had_as_soon_as_the_upstream_has_ended():
    async with routed(Stream(["one"])) as r, r.stream() as stream:
        with pytest.raises(RuntimeError, match="not complete"):
            _ = stream.response
        async for _ in stream:
            pass
        assert stream.response.text == "one"


class Clinging(RawStreams):
    """Streams whose connection does not close, or closes with an error."""

    def __init__(self, after, **streams):
        super().__init__(**streams)
        self.after = after

    async def stream(self, request, deployment, timeouts):
        try:
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await self.after()


async def test_an_upstream_that_does_not_close_is_not_waited_for():
    provider = Clinging(anyio.sleep_forever, a=[[delta("one "), delta("two"), STOP]])
    async with routed(provider, groups=ALONE, alive=False) as r:
        async with r.stream() as stream:
            await anext(stream)
        assert anyio.current_time() == 1.0
        assert r.state("a").in_flight == 0


async def test_an_upstream_is_closed_also_when_the_call_is_cancelled():
    closed = []

    async def close():
        await anyio.sleep(0.5)
        closed.append(anyio.current_time())

    provider = Clinging(close, a=[[delta("one "), delta("two"), STOP]])
    async with routed(provider, groups=ALONE) as r:
        with anyio.move_on_after(2.0):
            async with r.stream():
                await anyio.sleep(100.0)
        assert closed == [2.5]
        provider.after = nothing


async def nothing():
    pass


async def test_an_upstream_that_closes_with_an_error_harms_nobody():
    async def fail():
        raise OSError("broken pipe")

    provider = Clinging(fail, a=[[delta("one "), delta("two"), STOP]])
    async with routed(provider, groups=ALONE, alive=False) as r:
        async with r.stream() as stream:
            await anext(stream)
        (end,) = r.recorder.finished
        assert end.trace.notes == ("a: OSError while its stream was closed",)
