"""Rows T01 to T06: silence, slowness and deadlines.  Exact in virtual time; over sockets where bytes matter."""

from __future__ import annotations

import anyio
import pytest
from routed import RawStreams, delta

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    DeadlineExceeded,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream
from asyncrouter.testing.http_script import Gate, Http, Sse, chunk, chunks, completion, sse_completion
from asyncrouter.testing.http_script import Hang as Silence

EITHER = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
SHORT = {"first_token_s": 0.3, "idle_s": 0.3, "attempt_s": 0.3}
ROLE = chunk({"role": "assistant", "content": ""})


async def answer(f, streamed, **arguments):
    return (await f.read(**arguments))[1] if streamed else await f.ask(**arguments)


async def fails(f, kind, streamed, **arguments):
    with pytest.raises(kind) as caught:
        await answer(f, streamed, **arguments)
    assert type(caught.value) is kind
    return caught.value


# ---------------------------------------------------------------- T01


@EITHER
@pytest.mark.parametrize("head", [False, True], ids=["nothing", "a head"])
async def test_t01_an_upstream_that_never_answers_is_asked_once_and_left(wall, streamed, head):
    silence = Sse([Gate()]) if head else Silence()
    async with wall({"a": silence, "b": sse_completion("b") if streamed else completion("b")}, timeouts=SHORT) as f:
        reply = await answer(f, streamed)
        assert reply.text == "b"
        assert f.asked == ["a", "b"]
        assert type(reply.trace.attempts[0].error) is AttemptTimedOut
        await f.server.requests[0].disconnected.wait()


@pytest.mark.parametrize(("streamed", "left_at"), [(False, 60.0), (True, 15.0)], ids=["plain", "streamed"])
async def test_t01_by_default_after_its_own_time(faults, streamed, left_at):
    async with faults({"a": Hang(), "b": Reply("b")}) as f:
        assert (await answer(f, streamed, deadline_s=200.0)).text == "b"
        assert f.timeline == [("a", 0.0), ("b", left_at)]


# ---------------------------------------------------------------- T02


async def test_t02_a_first_token_after_20_seconds_is_not_waited_for(faults):
    async with faults({"a": Slow(20.0, Reply("a")), "b": Reply("b")}) as f:
        _, response = await f.read()
        assert response.text == "b"
        assert f.timeline == [("a", 0.0), ("b", 15.0)]


async def test_t02_over_a_socket(wall):
    late = Sse([ROLE, 5.0, *chunks("late")])
    async with wall({"a": late, "b": sse_completion("b")}, timeouts=SHORT) as f:
        seen, response = await f.read()
        assert response.text == "b"
        assert "first_token_s = 0.3" in str(response.trace.attempts[0].error)
        assert f.asked == ["a", "b"]
        assert len(seen) == len(chunks("b")) - 1, "nothing of the first is seen"


# ---------------------------------------------------------------- T03

DRIPS = {
    "pings": Sse([ROLE, *[": ping\n\n", 0.02] * 200]),
    "roles": Sse([*[ROLE, 0.02] * 200]),
    "empty deltas": Sse([ROLE, *[chunk({"content": ""}), 0.02] * 200]),
    "bytes of one event": Http(
        200, b"data: " + b" " * 500, headers={"content-type": "text/event-stream"}, drip=(1, 0.02)
    ),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
async def test_t03_a_drip_without_output_is_left_when_the_first_token_is_due(wall, drip):
    async with wall({"a": drip, "b": sse_completion("b")}, timeouts=SHORT) as f:
        _, response = await f.read()
        assert response.text == "b"
        assert "first_token_s = 0.3" in str(response.trace.attempts[0].error)


async def test_t03_a_plain_answer_that_drips_is_left_when_its_time_is_over(wall):
    drip = Http(200, b'{"choices": [' + b" " * 500, drip=(1, 0.02))
    async with wall({"a": drip, "b": completion("b")}, timeouts=SHORT) as f:
        assert (await f.ask()).text == "b"


async def test_t03_after_the_first_output_the_deadline_ends_a_drip(faults):
    async with faults({"a": Stream(["x"] * 100, pause_s=4.0), "b": Reply("b")}) as f:
        error = await fails(f, DeadlineExceeded, True, deadline_s=30.0)
        assert f.now() == 30.0
        assert "attempts: a AttemptTimedOut" in str(error)
        assert len(f.calls[0].chunks) == 1 + 8


@pytest.mark.parametrize(
    ("pause_s", "least", "ends_at"),
    [
        (4.0, 1.0, 12.0),
        (4.0, 0.26, 12.0),
        (4.0, 0.24, None),
        (0.5, 1.0, None),
        (1.5, 0.5, None),
        (14.0, 0.1, 14.0),
    ],
)
async def test_t03_or_the_least_rate_that_the_group_asks_for(faults, pause_s, least, ends_at):
    stream = Stream(["x"] * 40, pause_s=pause_s)
    async with faults({"a": stream, "b": Reply("b")}, timeouts={"min_chunks_per_s": least}) as f:
        if ends_at is None:
            assert (await f.read(deadline_s=1000.0))[1].text == "x" * 40
        else:
            error = await fails(f, StreamInterrupted, True, deadline_s=1000.0)
            assert f.now() == ends_at
            assert f"under min_chunks_per_s = {least:g}" in str(error)


async def test_t03_another_one_goes_on_where_the_group_says_so(faults):
    script = {"a": Stream(["x"] * 40, pause_s=4.0), "b": Stream(["y", "z"])}
    async with faults(script, timeouts={"min_chunks_per_s": 1.0}, on_interrupt="continue") as f:
        assert (await f.read())[1].text == "xxxyz"


async def test_t03_chunks_without_output_are_no_progress(faults):
    raw = RawStreams(a=[[delta("x"), *[1.0, delta("")] * 60]])
    async with faults(raw, timeouts={"min_chunks_per_s": 0.5}) as f:
        await fails(f, StreamInterrupted, True)
        assert f.now() == 10.0


async def test_t03_the_readers_own_time_is_not_counted(faults):
    async with faults(Stream(["x"] * 40, pause_s=0.1), timeouts={"min_chunks_per_s": 5.0}) as f:
        async with f.stream(deadline_s=1000.0) as stream:
            async for _ in stream:
                await anyio.sleep(5.0)
        assert stream.response.text == "x" * 40


# ---------------------------------------------------------------- T04


@EITHER
async def test_t04_a_backoff_that_does_not_fit_the_deadline_is_not_begun(faults, streamed):
    retry = {"use": "exponential", "initial_delay_s": 4.0, "jitter": False}
    async with faults(Fail(ServerError), retry=retry, patience_s=0.0) as f:
        error = await fails(f, AllAttemptsFailed, streamed, deadline_s=3.0)
        assert f.now() <= 3.0
        assert f.called == ["a", "b"]
        assert "a wait of 4 s does not fit the deadline" in error.trace.notes


@EITHER
async def test_t04_a_deadline_within_a_wait_ends_the_call_there(faults, streamed):
    """The wait fits when it begins; the attempt after it does not end in time."""
    retry = {"use": "exponential", "initial_delay_s": 2.0, "jitter": False}
    script = {"a": [Fail(ServerError), Hang()], "b": [Fail(ServerError), Hang()]}
    async with faults(script, retry=retry, patience_s=0.0) as f:
        await fails(f, DeadlineExceeded, streamed, deadline_s=3.0)
        assert f.now() == 3.0
        assert f.timeline == [("a", 0.0), ("b", 0.0), ("a", 2.0)]


@EITHER
async def test_t04_nor_is_a_retry_after_that_does_not_fit(faults, streamed):
    async with faults(Fail(RateLimited, retry_after_s=5.0)) as f:
        await fails(f, AllAttemptsFailed, streamed, deadline_s=3.0)
        assert f.now() == 0.0
        assert f.called == ["a", "b"]


# ---------------------------------------------------------------- T05


@EITHER
async def test_t05_a_deadline_in_the_last_fallback_names_all_that_was_tried(faults, streamed):
    groups = {
        "chat": {"deployments": ["a", "b"], "fallbacks": ["other"], "patience_s": 0.0},
        "other": {"deployments": ["x"]},
    }
    script = {"a": Slow(1.0, Fail(ServerError)), "b": Slow(1.0, Fail(RateLimited)), "x": Hang()}
    async with faults(script, groups=groups) as f:
        error = await fails(f, DeadlineExceeded, streamed, deadline_s=5.0)
        assert f.now() == 5.0
        assert isinstance(error, TimeoutError)
        assert str(error).endswith("attempts: a ServerError, b RateLimited, x AttemptTimedOut")
        assert [one.deployment for one in error.trace.attempts] == ["a", "b", "x"]


# ---------------------------------------------------------------- T06


@EITHER
async def test_t06_a_deadline_shorter_than_an_attempt_is_the_attempts_own(faults, streamed):
    async with faults(Hang()) as f:
        error = await fails(f, DeadlineExceeded, streamed, deadline_s=2.5)
        assert f.now() == 2.5
        assert f.called == ["a"]
        (attempt,) = error.trace.attempts
        assert (attempt.duration_s, type(attempt.error)) == (2.5, AttemptTimedOut)
        assert f.router.metrics().deployments["a"].breaker == "closed"


@EITHER
async def test_t06_what_is_left_goes_down_into_the_second(faults, streamed):
    async with faults({"a": Slow(2.0, Fail(ServerError)), "b": Hang()}) as f:
        error = await fails(f, DeadlineExceeded, streamed, deadline_s=2.5)
        assert f.now() == 2.5
        assert [one.duration_s for one in error.trace.attempts] == [2.0, 0.5]


@EITHER
async def test_t06_over_a_socket(wall, streamed):
    async with wall({"a": Silence()}) as f:
        await fails(f, DeadlineExceeded, streamed, deadline_s=0.3)
        assert f.asked == ["a"]
        await f.server.requests[0].disconnected.wait()
