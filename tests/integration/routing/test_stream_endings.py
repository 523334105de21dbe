"""How a streamed call ends before its answer does: at the deadline, or because its caller leaves."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from routed import ALONE, EXACT, PROMPT, STOP, RawStreams, delta, routed
from streamed import WORDS, collect, texts

from asyncrouter import AllAttemptsFailed, DeadlineExceeded, ServerError, StreamInterrupted, hookimpl
from asyncrouter.testing import Fail, Hang, Reply, Slow, Stream

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
