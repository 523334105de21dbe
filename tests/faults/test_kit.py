"""The kit itself: scenarios that keep every invariant pass, and whatever breaks one of them is found out."""

from __future__ import annotations

import asyncio
import socket

import attrs
import faulted
import invariants
import pytest
import walled
from routed import KEY, PROMPT, RawStreams, delta

from asyncrouter import AllAttemptsFailed, ServerError, StreamInterrupted, hookimpl
from asyncrouter.state.tallies import INPUT_TOKENS
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream
from asyncrouter.testing.http_script import Http, Reset, Sse, chunk, chunks, completion
from asyncrouter.types.trace import Outcome


async def test_answers_failures_streams_and_cancellations_keep_every_invariant(faults):
    async with faults({"a": [Fail(ServerError), Hang()], "b": [Reply("b"), Stream(["o", "k"], cut_after=1)]}) as f:
        assert (await f.ask()).text == "b"
        task = f.begin()
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with f.stream() as stream:
            with pytest.raises(StreamInterrupted):
                [chunk async for chunk in stream]
        assert [call.outcome for call in f.calls] == ["answer", "cancelled", "error"]


async def test_over_sockets_too(wall):
    cut = Sse(chunks("one two"), cut_after=2)
    async with wall({"a": [Reset(), Reset("mid_body"), cut, Http(500)], "b": completion("b")}) as f:
        assert (await f.ask()).text == "b"
        async with f.stream() as stream:
            with pytest.raises(StreamInterrupted):
                [chunk async for chunk in stream]
        assert (await f.ask()).text == "b"
        assert f.asked == ["a", "a", "b", "a", "a", "b"]


# ---------------------------------------------------------------- every check can fail


async def broken(check, *, script=None, words="", use=lambda f: f.ask(), **settings):
    """Make calls in a scenario, break it by *check*, and expect the invariants to tell it in *words*."""

    async def scenario():
        async with faulted.faults(script or Reply(), **settings) as f:
            await use(f)
            await check(f)

    with pytest.raises(AssertionError, match=words):
        await scenario()


@pytest.mark.parametrize("end", ["lost", "twice", "another"])
async def test_i1_an_end_that_is_not_told_as_it_was(end):
    async def check(f):
        event = f.recorder.finished[0]
        f.recorder.events.remove(event)
        if end == "twice":
            f.recorder.events += [event, event]
        if end == "another":
            f.recorder.events.append(attrs.evolve(event, response=None))
        invariants.i1_one_end(f)

    await broken(check, words="^I1")


async def test_i2_two_successes():
    async def check(f):
        trace = f.recorder.finished[0].trace
        object.__setattr__(trace, "attempts", trace.attempts * 2)

    await broken(check, words="^I2")


@pytest.mark.parametrize("policy", ["raise", "continue"])
async def test_i2_two_attempts_in_one_answer(policy):
    async def check(f):
        first, second = f.sent[0].chunks, f.sent[1].chunks
        f.calls[0].policy = policy
        f.calls[0].chunks[:] = [first[0], second[0], first[1]]

    async def twice(f):
        await f.read()
        await f.read()

    await broken(check, words="^I2", use=twice, script=Stream(["o", "k"]))


async def test_i3_more_attempts_than_the_policy_allows():
    async def check(f):
        await f.fails(AllAttemptsFailed)
        f.router._assembler.catalogue.groups["chat"] = attrs.evolve(
            f.router._assembler.catalogue.groups["chat"],
            group=attrs.evolve(f.router._assembler.catalogue.groups["chat"].group, max_attempts=2),
        )

    await broken(check, words="^I3.*max_attempts", script=[Reply(), Fail(ServerError)])


async def test_i3_more_retries_than_the_budget_allows():
    async def check(f):
        await f.fails(AllAttemptsFailed)
        f.router.fleet.budget._floor = 0

    await broken(check, words="^I3.*allowed", script=[Reply(), Fail(ServerError)])


async def test_i4_too_late():
    async def late(f):
        f.calls[0].gave_back(0.0, f.calls[0].deadline + 0.001)

    await broken(late, words="^I4")


@pytest.mark.parametrize("what", ["task", "timer", "socket", "complaint", "in flight", "budget", "probe"])
async def test_i5_something_left(what):
    kept = []

    async def leave(f):
        loop = asyncio.get_running_loop()
        if what == "task":
            kept.append(asyncio.create_task(asyncio.sleep(1e6)))
        elif what == "timer":
            kept.append(loop.call_later(1e6, kept.clear))
        elif what == "socket":
            kept.append(socket.socket())
        elif what == "complaint":
            loop.call_exception_handler({"message": "never retrieved"})
        elif what == "in flight":
            f.state("a").in_flight += 1
        elif what == "budget":
            f.router.fleet.budget._extra_in_flight += 1
        else:
            f.state("a").breaker._probe = 7

    await broken(leave, words="^I5")
    for one in kept:
        (one.close if what == "socket" else one.cancel)()


async def test_i6_a_stream_without_its_end_is_no_answer():
    provider = RawStreams(a=[[delta("half")]])

    async def read(f):
        await f.read()

    async def nothing(f):
        pass

    await broken(nothing, script=provider, use=read, words="^I6")


async def test_i6_an_answer_that_its_upstream_did_not_give():
    async def shorten(f):
        f.sent[0].response = attrs.evolve(f.sent[0].response, raw=completion("longer").value)

    await broken(shorten, words="^I6")
    async with faulted.faults(rewritten=True) as f:
        await f.ask()
        await shorten(f)


async def test_i6_an_answer_cut_on_the_wire(wall):
    async def scenario():
        async with wall({"a": Sse(chunks("one two"))}) as f:
            await f.read()
            f.served["a"][0] = Sse(chunks("one two"), cut_after=1)

    with pytest.raises(AssertionError, match=r"^I6"):
        await scenario()


@pytest.mark.parametrize("script", [Reset(), Sse([chunk({"content": "half"})], done=False), Http(content_length=7)])
def test_i6_scripts_that_cut(script):
    assert walled.whole_text(script) is walled.CUT


@pytest.mark.parametrize("sentinel", [PROMPT, KEY])
@pytest.mark.parametrize("sink", ["error", "cause", "attempt", "standard output"])
async def test_i7_a_secret_seen(sentinel, sink):
    async def leak(f):
        error = ServerError(f"upstream said {sentinel}" if sink != "cause" else "")
        if sink == "cause":
            error.__cause__ = ValueError(sentinel)
        if sink == "attempt":
            attempt = f.recorder.attempts[0]
            object.__setattr__(attempt, "reason", sentinel)
        elif sink == "standard output":
            f.sinks = lambda: {"standard output": f"... {sentinel}"}
        else:
            f.calls[0].error = error
        invariants.i7_secrets(f)

    await broken(leak, words="SENTINEL")


async def test_i7_the_sinks_are_read(sinks):
    print(PROMPT)  # noqa: T201 - what is looked for
    assert "PROMPT-SENTINEL" in sinks()["standard output"]


@pytest.mark.parametrize("what", ["unrecorded", "outcome", "unknown request"])
async def test_i8_an_attempt_recorded_wrongly(what):
    async def check(f):
        if what == "unrecorded":
            f.sent.append(attrs.evolve(f.sent[0]))
        elif what == "outcome":
            f.sent[0].outcome = "ok"
            object.__setattr__(f.recorder.attempts[0], "outcome", Outcome.CANCELLED)
        else:
            f.sent.append(attrs.evolve(f.sent[0], request="another"))

    await broken(check, words="^I8", script={"a": Fail(ServerError), "b": Reply()})


@pytest.mark.parametrize("cancelled", [False, True])
async def test_i8_tokens_that_were_not_counted(cancelled):
    async def use(f):
        task = f.begin()
        await asyncio.sleep(1.0)
        if cancelled:
            task.cancel()
        await asyncio.wait([task])

    async def check(f):
        for tally in (f.router.fleet.total, f.state("a").tally):
            tally.counts[INPUT_TOKENS] -= 1

    await broken(check, words="^I8.*tokens", script=Slow(2.0), use=use)


@pytest.mark.parametrize("usage", ["other", "unmarked"])
async def test_i8_usage_that_is_not_the_winners(usage):
    async def check(f):
        raw = f.sent[0].response
        changed = attrs.evolve(raw.usage, output_tokens=raw.usage.output_tokens + 1 if usage == "other" else 0)
        if usage == "unmarked":
            changed = attrs.evolve(changed, input_tokens=0)
        f.sent[0].response = attrs.evolve(raw, usage=changed)

    await broken(check, words="^I8")


@pytest.mark.parametrize("what", ["trace", "cause", "words", "errors"])
async def test_i9_an_error_that_does_not_tell_all(what):
    async def check(f):
        error = await f.fails(AllAttemptsFailed)
        if what == "trace":
            error.trace = None
        elif what == "cause":
            error.__cause__ = None
        elif what == "words":
            error.args = ("all failed",)
        else:
            error.errors = error.errors[:-1]
        invariants.i9_errors(f)

    await broken(check, words="^I9", script=[Reply(), Fail(ServerError)])


async def test_i10_no_healthy_call_afterwards():
    class Sulking:
        name = "sulking"

        @hookimpl
        def asyncrouter_filter(self, request):
            return () if "still" in request.messages[0]["content"] else None

    async def nothing(f):
        pass

    await broken(nothing, words="^I10", plugins=[Sulking()])
