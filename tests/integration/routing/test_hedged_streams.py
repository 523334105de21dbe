"""Streams side by side: the first output wins, hedged or raced, and nothing of the losers is seen."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from routed import ROLE, STOP, RawStreams, delta, routed
from side_by_side import HEDGE, racing, told

from asyncrouter import DeadlineExceeded, InvalidRequest, PluginContractError, ServerError, hookimpl
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream


def words(chunks):
    return "".join(chunk.text for chunk in chunks)


async def test_a_hedge_of_a_stream_wins_with_its_first_output():
    script = {"a": Slow(9.0, Stream(["from ", "a"])), "b": Slow(0.3, Stream(["from ", "b"], pause_s=1.0))}
    async with routed(script, hedge=HEDGE) as r:
        async with r.stream() as stream:
            assert anyio.current_time() == pytest.approx(0.8)
            assert r.provider.in_flight == 1, "the loser is gone before the first chunk is seen"
            chunks = [chunk async for chunk in stream]
        assert words(chunks) == stream.response.text == "from b"
        assert [chunk.delta.get("role") for chunk in chunks].count("assistant") == 1
        assert told(stream.response) == {"a": ("first", "cancelled"), "b": ("hedge", "ok")}
        assert r.provider.calls[0].outcome == "cancelled"
        assert r.router.metrics().total.hedges == 1


async def test_the_first_stream_may_win_after_all():
    script = {"a": Slow(1.0, Stream(["from ", "a"], pause_s=1.0)), "b": Slow(9.0)}
    async with routed(script, hedge=HEDGE) as r:
        chunks, response = await r.read()
        assert words(chunks) == response.text == "from a"
        assert told(response) == {"a": ("first", "ok"), "b": ("hedge", "cancelled")}


async def test_a_stream_that_speaks_in_time_is_not_hedged_however_slow_it_goes_on():
    async with routed({"a": Stream(["one ", "two ", "three"], pause_s=5.0), "b": Reply("b")}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert response.text == "one two three"
        assert r.called == ["a"]


async def test_a_role_is_no_output_and_what_the_loser_held_back_is_not_seen():
    provider = RawStreams(
        a=[[ROLE, delta(""), 9.0, delta("a"), STOP]], b=[[0.2, ROLE, delta(vendor=None), 0.2, delta("b"), STOP]]
    )
    async with routed(provider, hedge=HEDGE) as r:
        chunks, response = await r.read()
        assert [chunk.raw for chunk in chunks] == [ROLE, delta(vendor=None), delta("b"), STOP]
        assert response.text == "b"


async def test_a_raced_stream_takes_the_first_that_speaks():
    script = {"a": Slow(3.0), "b": Slow(1.0, Stream(["from ", "b"])), "c": Slow(2.0)}
    async with routed(script, groups=racing(3, "a", "b", "c")) as r:
        _, response = await r.read()
        assert response.text == "from b"
        assert told(response) == {"a": ("first", "cancelled"), "b": ("hedge", "ok"), "c": ("hedge", "cancelled")}
        assert {call.outcome for call in r.provider.calls} == {"ok", "cancelled"}


async def test_a_stream_that_fails_before_its_hedge_is_the_recoverys_care():
    async with routed({"a": Slow(0.1, Fail(ServerError)), "b": Stream(["b"])}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert told(response) == {"a": ("first", "failed"), "b": ("fallback", "ok")}


async def test_a_hedged_stream_that_fails_leaves_the_other():
    async with routed({"a": Slow(2.0, Stream(["a"])), "b": Stream(["b"], cut_after=0)}, hedge=HEDGE) as r:
        _, response = await r.read()
        assert (response.text, told(response)) == ("a", {"a": ("first", "ok"), "b": ("hedge", "failed")})


async def test_when_both_streams_fail_the_order_of_recovery_goes_on():
    script = {"a": Slow(2.0, Fail(ServerError)), "b": Fail(ServerError), "c": Stream(["c"])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "hedge": HEDGE}}
    async with routed(script, groups=groups) as r:
        _, response = await r.read()
        assert response.text == "c"


async def test_after_its_first_output_a_hedged_stream_is_like_any_other():
    script = {"a": Slow(9.0), "b": Stream(["one ", "two"], cut_after=1), "c": Stream(["two"])}
    groups = {"chat": {"deployments": ["a", "b", "c"], "hedge": HEDGE, "on_interrupt": "continue"}}
    async with routed(script, groups=groups) as r:
        chunks, response = await r.read()
        assert words(chunks) == response.text == "one two"
        assert r.called == ["a", "b", "c"]


async def test_a_hedged_stream_keeps_the_deadline():
    async with routed(Hang(), hedge=HEDGE) as r:
        with pytest.raises(DeadlineExceeded, match=r"attempts: . AttemptTimedOut, . AttemptTimedOut"):
            await r.read(deadline_s=2.0)
        assert anyio.current_time() == 2.0


async def test_the_request_itself_at_fault_ends_a_hedged_stream():
    async with routed({"a": Fail(InvalidRequest), "b": Reply("never")}, hedge=HEDGE) as r:
        with pytest.raises(InvalidRequest):
            await r.read()
        assert r.called == ["a"]


async def test_a_plugin_that_breaks_ends_a_raced_stream():
    class Breaks:
        @hookimpl
        async def asyncrouter_around_attempt_stream(self, chunks, request, deployment):
            async with aclosing(chunks):
                async for chunk in chunks:
                    if deployment.name == "b":
                        raise LookupError("mine")
                    yield chunk

    async with routed({"a": Hang(), "b": Reply()}, groups=racing(2, "a", "b"), plugins=[Breaks()], alive=False) as r:
        with pytest.raises(PluginContractError):
            await r.read()
        assert r.provider.in_flight == 0


async def test_leaving_while_hedged_streams_are_silent_closes_both():
    async with routed(Hang(), hedge=HEDGE) as r:
        with anyio.move_on_after(1.0):
            await r.read()
        assert [call.outcome for call in r.provider.calls] == ["cancelled", "cancelled"]
        assert r.router.metrics().total.cancelled == 1


async def test_an_answer_without_a_word_may_win_too():
    provider = RawStreams(a=[[ROLE, 9.0, delta("a"), STOP]], b=[[ROLE, delta(finish="length")]])
    async with routed(provider, hedge=HEDGE) as r:
        _, response = await r.read()
        assert (response.text, response.finish_reason) == ("", "length")
