"""Rows S01s to S13s: streams that are cut, stall, lie or end oddly, over real sockets."""

from __future__ import annotations

import json

import pytest

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    InvalidRequest,
    MalformedResponse,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing import Stream
from asyncrouter.testing.http_script import (
    End,
    Gate,
    Http,
    Json,
    Sse,
    chunk,
    chunks,
    completion,
    framed,
    head,
    sse_completion,
)

ROLE = chunk({"role": "assistant", "content": ""})
WORDS = [f"word{number} " for number in range(60)]
SIXTY = [ROLE, *(chunk({"content": word}) for word in WORDS), chunk({}, "stop")]
CUT = Sse(SIXTY, cut_after=41, end=End.CLOSE)
B = sse_completion("from b")
ENDS = pytest.mark.parametrize("end", [End.RESET, End.CLOSE], ids=["reset", "closed"])


def text_of(chunks):
    return "".join(one.text for one in chunks)


async def interrupted(f, **arguments):
    """Read a stream that must break after its first output; return what was seen before, and the error."""
    with pytest.raises(StreamInterrupted) as caught:
        await f.read(**arguments)
    return f.calls[-1].chunks, caught.value


def came_of(end, text):
    """Whether *text* is what came of the first 40 words: after a reset, what had been read before it."""
    first = "".join(WORDS[:40])
    return text == first if end is End.CLOSE else first.startswith(text) and text != ""


def go_on(request):
    """Answer with the rest of the sixty words, as a model does that is given their beginning."""
    begun = request.json["messages"][-1]["content"].split()
    return Sse([ROLE, *SIXTY[1 + len(begun) :]])


# ---------------------------------------------------------------- S01s


@ENDS
@pytest.mark.parametrize(
    "before",
    [[], [ROLE], [ROLE, chunk({"content": ""}), chunk({})], [": ping\n\n", {"choices": []}]],
    ids=["nothing", "role", "empty deltas", "no choices"],
)
async def test_s01s_a_cut_before_the_first_output_is_not_seen(wall, before, end):
    cut = Sse([*before, *SIXTY[1:]], cut_after=len(before), end=end)
    async with wall({"a": cut, "b": B}) as f:
        seen, response = await f.read()
        assert text_of(seen) == response.text == "from b"
        assert [one.delta.get("role") for one in seen].count("assistant") == 1
        assert f.asked == ["a", "b"]


# ---------------------------------------------------------------- S02s


@ENDS
async def test_s02s_a_cut_after_40_of_60_words_is_an_error_that_keeps_them(wall, end):
    async with wall({"a": Sse(SIXTY, cut_after=41, end=end), "b": B}) as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == error.partial
        assert came_of(end, error.partial)
        assert f.asked == ["a"]


@ENDS
async def test_s02s_where_it_is_gone_on_with_the_answer_is_whole(wall, end):
    async with wall({"a": Sse(SIXTY, cut_after=41, end=end), "b": go_on}, on_interrupt="continue") as f:
        seen, response = await f.read()
        assert text_of(seen) == response.text == "".join(WORDS)
        last = f.server.requests[1].json["messages"][-1]
        assert last["role"] == "assistant"
        assert came_of(end, last["content"])


async def test_s02s_where_it_is_begun_anew_the_caller_is_told_so(wall):
    async with wall({"a": CUT, "b": Sse(SIXTY)}, on_interrupt="restart") as f:
        seen, response = await f.read()
        at = [one.kind for one in seen].index("restart")
        assert (text_of(seen[:at]), text_of(seen[at:])) == ("".join(WORDS[:40]), "".join(WORDS))
        assert response.text == "".join(WORDS)


async def test_s02s_a_plain_call_is_buffered_and_never_cut(wall):
    body = json.dumps(completion("".join(WORDS)).value).encode()
    cut = Http(200, body[: len(body) * 2 // 3], content_length=len(body), end=End.CLOSE)
    async with wall({"a": cut, "b": completion("".join(WORDS))}) as f:
        assert (await f.ask()).text == "".join(WORDS)
        assert f.asked == ["a", "b"]


# ---------------------------------------------------------------- S03s


async def test_s03s_a_stall_ends_at_its_bound(wall):
    async with wall({"a": Sse([*SIXTY[:5], Gate()]), "b": B}, timeouts={"idle_s": 0.3}) as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == "".join(WORDS[:4])
        assert type(error.trace.attempts[0].error) is AttemptTimedOut
        assert "idle_s = 0.3" in str(error)
        await f.server.requests[0].disconnected.wait()


async def test_s03s_pings_do_not_keep_a_stalled_stream_alive(wall):
    pings = [": ping\n\n", 0.05] * 100
    async with wall({"a": Sse([*SIXTY[:5], *pings]), "b": B}, timeouts={"idle_s": 0.3}) as f:
        _, error = await interrupted(f)
        assert "idle_s = 0.3" in str(error)


async def test_s03s_by_default_after_15_seconds(faults):
    async with faults(Stream(WORDS, stall_after=4)) as f:
        await interrupted(f)
        assert f.now() == 15.0


# ---------------------------------------------------------------- S04s

MALFORMED = {
    "no json": "data: {oops\n\n",
    "half json": 'data: {"choices": [{"delta": {"content": "x"\n\n',
    "no object": "data: [1, 2]\n\n",
    "no utf-8": b'data: {"a": "\xff"}\n\n',
    "html": "data: <html>\n\n",
    "nul": b"data: \x00\x00\n\n",
}


@pytest.mark.parametrize("event", MALFORMED.values(), ids=MALFORMED)
async def test_s04s_a_malformed_chunk_is_an_error_in_the_middle_and_a_fallback_before(wall, event):
    async with wall({"a": [Sse([*SIXTY[:3], event, *SIXTY[3:]]), Sse([ROLE, event, *SIXTY[1:]])], "b": B}) as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == error.partial == "".join(WORDS[:2])
        assert type(error.trace.attempts[0].error) is MalformedResponse
        assert (await f.read())[1].text == "from b"


# ---------------------------------------------------------------- S05s


@pytest.mark.parametrize("end", [End.HANG, End.KEEP, End.CLOSE, End.RESET], ids=lambda end: end.value)
async def test_s05s_after_the_finish_reason_nothing_is_missed(wall, end):
    whole = Sse(chunks("Hi you"), done=False, end=end)
    async with wall({"a": whole}, providers={"a": {"finish_grace_s": 0.1}}) as f:
        seen, response = await f.read()
        assert text_of(seen) == response.text == "Hi you"
        assert (response.finish_reason, response.usage.output_tokens, response.usage.estimated) == ("stop", 5, False)


def test_s05s_by_default_it_is_waited_for_a_second():
    provider = OpenAICompatible(name="a", base_url="http://127.0.0.1:1")
    assert provider._settings.finish_grace_s == 1.0


# ---------------------------------------------------------------- S06s


@pytest.mark.parametrize("words", [1, 60])
async def test_s06s_a_clean_end_without_finish_reason_or_done_is_no_success(wall, words):
    async with wall({"a": Sse(SIXTY[: 1 + words], done=False), "b": B}) as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == error.partial == "".join(WORDS[:words])
        assert "no finish reason and no [DONE]" in str(error)
        assert f.asked == ["a"]


async def test_s06s_what_is_missing_is_asked_for_where_the_group_says_so(wall):
    async with wall({"a": Sse(SIXTY[:41], done=False), "b": go_on}, on_interrupt="continue") as f:
        assert (await f.read())[1].text == "".join(WORDS)


# ---------------------------------------------------------------- S07s


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "boom"}}, ServerError),
        ({"error": {"message": "slow down", "code": 429}}, RateLimited),
        ('event: error\ndata: {"error": {"message": "boom"}}\n\n', ServerError),
    ],
    ids=["error", "rate", "named event"],
)
async def test_s07s_an_error_within_the_stream_is_one(wall, event, kind):
    first, second = Sse([event, *SIXTY]), Sse([*SIXTY[:3], event, *SIXTY[3:]])
    async with wall({"a": first, "b": [B, second], "c": B}) as f:
        _, response = await f.read()
        assert response.text == "from b"
        assert type(response.trace.attempts[0].error) is kind
    async with wall({"a": second, "b": B}) as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == "".join(WORDS[:2])
        assert type(error.trace.attempts[0].error) is kind
        assert f.asked == ["a"]


# ---------------------------------------------------------------- S08s


def call(arguments, **first):
    return chunk({"tool_calls": [{"index": 0, **first, "function": {"arguments": arguments}}]})


BEGUN = chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "pay", "arguments": ""}}]})
TOOL_CALLS = {
    "name only": [ROLE, BEGUN],
    "within the arguments": [ROLE, BEGUN, call('{"amount": 1')],
    "whole, but not said to be": [ROLE, BEGUN, call('{"amount": 1}')],
    "after some words": [ROLE, chunk({"content": "I shall pay. "}), BEGUN, call('{"amo')],
    "in the second call": [
        ROLE,
        BEGUN,
        call('{"amount": 1}'),
        chunk({"tool_calls": [{"index": 1, "id": "u", "function": {"name": "pay", "arguments": '{"a'}}]}),
    ],
}


@pytest.mark.parametrize("policy", ["raise", "continue", "restart"])
@pytest.mark.parametrize("begun", TOOL_CALLS.values(), ids=TOOL_CALLS)
async def test_s08s_a_tool_call_that_was_cut_is_an_error_and_nothing_else(wall, begun, policy):
    whole = [*begun, call("never"), chunk({}, "tool_calls")]
    async with wall({"a": Sse(whole, cut_after=len(begun)), "b": B}, on_interrupt=policy) as f:
        seen, error = await interrupted(f)
        assert [one.raw for one in seen] == begun
        assert not any(one.finish_reason for one in seen), "nothing says that the call is complete"
        assert f.asked == ["a"], "nothing is sent again: it might be carried out twice"
        assert error.trace.attempts[0].outcome == "failed"


# ---------------------------------------------------------------- S09s


@pytest.mark.parametrize(
    "after",
    [
        ["data: [DONE]\n\n"],
        [chunk({"content": "more"}, "stop")],
        ["data: {oops\n\n", {"error": {"message": "late"}}],
        [chunk({"tool_calls": [{"index": 0, "function": {"name": "pay", "arguments": "{}"}}]})],
    ],
    ids=["done again", "data", "junk", "a tool call"],
)
async def test_s09s_what_follows_done_is_ignored(wall, after):
    async with wall({"a": Sse([*chunks("Hi you"), "data: [DONE]\n\n", *after])}) as f:
        seen, response = await f.read()
        assert text_of(seen) == response.text == "Hi you"
        assert response.tool_calls == ()
        assert (await f.read())[1].text == "Hi you", "nor is it taken for the next answer"


# ---------------------------------------------------------------- S10s


async def test_s10s_usage_that_is_not_told_is_estimated_and_flagged(wall):
    price = {"a": {"price": {"input": 1.0, "output": 2.0}}}
    async with wall({"a": Sse(chunks("Hi dear you", usage=None))}, deployments=price) as f:
        _, response = await f.read()
        usage = response.usage
        assert usage.estimated
        assert usage.output_tokens == 3, "11 characters, four a token"
        assert usage.input_tokens > 0
        assert response.cost_usd == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)
        assert f.router.metrics().deployments["a"].output_tokens == 3


# ---------------------------------------------------------------- S11s


def both(*finished):
    """Return the chunks of two interleaved choices, of which those in *finished* give their finish reason."""
    events = [chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({"content": "A"})]
    return events + [chunk({}, "stop", index=index) for index in finished]


async def test_s11s_of_interleaved_choices_all_are_given(wall):
    async with wall({"a": Sse([*both(0), chunk({"content": "B"}, index=1), chunk({}, "stop", index=1)])}) as f:
        _, response = await f.read(n=2)
        assert [one["message"]["content"] for one in response.raw["choices"]] == ["aA", "bB"]


@pytest.mark.parametrize("finished", [(0,), (1,)])
@pytest.mark.parametrize("done", [True, False], ids=["done", "cut"])
@pytest.mark.parametrize("policy", ["raise", "continue"])
async def test_s11s_or_it_is_an_error(wall, finished, done, policy):
    async with wall({"a": Sse(both(*finished), done=done), "b": B}, on_interrupt=policy) as f:
        _, error = await interrupted(f, n=2)
        assert "some choices have not ended" in str(error)
        assert f.asked == ["a"]


# ---------------------------------------------------------------- S12s

PREFILL_REFUSED = Json({"error": {"message": "the last message may not be the assistant's"}}, 400)


async def test_s12s_when_the_beginning_of_an_answer_is_refused_the_first_cause_is_told(wall):
    async with wall({"a": CUT, "b": PREFILL_REFUSED}, on_interrupt="continue", retry="none") as f:
        seen, error = await interrupted(f)
        assert text_of(seen) == error.partial == "".join(WORDS[:40])
        assert error.deployment == "a"
        assert "StreamInterrupted" in str(error)
        assert "broke off" in str(error), "what broke the stream, not what refused to go on"
        assert isinstance(error.__cause__, AllAttemptsFailed)
        assert isinstance(error.__cause__.__cause__, InvalidRequest)
        assert [one.deployment for one in error.trace.attempts] == ["a", "b"]
        assert f.router.metrics().deployments["b"].breaker == "closed"


async def test_s12s_another_one_that_takes_it_goes_on(wall):
    async with wall({"a": CUT, "b": PREFILL_REFUSED, "c": go_on}, on_interrupt="continue") as f:
        seen, response = await f.read()
        assert text_of(seen) == response.text == "".join(WORDS)
        assert f.asked == ["a", "b", "c"]


async def test_s12s_a_restart_needs_no_beginning(wall):
    def unless_prefilled(request):
        return PREFILL_REFUSED if request.json["messages"][-1]["role"] == "assistant" else B

    async with wall({"a": CUT, "b": unless_prefilled}, on_interrupt="restart") as f:
        assert (await f.read())[1].text == "from b"


# ---------------------------------------------------------------- S13s


class Split:
    """A stream that is sent in two pieces, with a turn of the event loop between them."""

    def __init__(self, body, at):
        self.body, self.at = body, at

    def steps(self):
        yield head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for piece in (self.body[: self.at], self.body[self.at :]):
            if piece:
                yield framed(piece)
            yield 0.0
        yield framed(b"")
        yield End.KEEP


SENT = [
    ROLE,
    chunk({"content": "é 🎉 "}),
    chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": '{"a": "\u2028"}'}}]}),
    chunk({}, "tool_calls"),
    {"id": "u", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
]
EVENTS = [
    *(b"data: %b\r\n\r\n" % json.dumps(one, ensure_ascii=False).encode() for one in SENT),
    b": ping\n\n",
    b"data: [DONE]\n\n",
]


async def test_s13s_wherever_the_network_cuts_it_the_answer_is_the_same(wall):
    body = b"\xef\xbb\xbf" + b"".join(EVENTS)
    assert "🎉".encode() in body
    scripts = [Split(body, at) for at in range(len(body) + 1)]
    async with wall({"a": scripts}) as f:
        answers = []
        for _ in scripts:
            seen, response = await f.read()
            answers.append(([one.raw for one in seen], response.raw, response.usage))
        assert f.server.connections == 1
    assert answers[0][0] == SENT[:-1]
    assert all(one == answers[0] for one in answers)
