"""Layers around a streamed call: they refuse, fail, change, answer, end early or hang, and the call is accounted."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from routed import delta, routed

from asyncrouter import Chunk, InvalidRequest, PluginContractError, hookimpl
from asyncrouter.testing import Stream


class Guard:
    """A layer around streamed calls, made of an async generator function of (chunks, request)."""

    name = "guard"

    def __init__(self, function):
        self.function = function

    @hookimpl
    async def asyncrouter_around_request_stream(self, chunks, request):
        async with aclosing(self.function(chunks, request)) as guarded:
            async for chunk in guarded:
                yield chunk


async def test_a_guard_that_refuses_ends_the_call_with_its_error_and_trace():
    async def refuse(chunks, request):
        raise InvalidRequest("not here")
        yield

    guard = Guard(refuse)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(InvalidRequest) as caught:
            await r.read()
        assert caught.value.trace.attempts == ()
        assert r.router.metrics().total.failures == 1
        assert r.called == []
        r.router.unregister(guard)


async def test_a_guard_that_fails_in_the_middle_cancels_the_attempt():
    async def fail(chunks, request):
        async for chunk in chunks:
            yield chunk
            if chunk.text:
                raise ZeroDivisionError

    guard = Guard(fail)
    async with routed(Stream(["a ", "b ", "c"], pause_s=1.0), plugins=[guard]) as r:
        with pytest.raises(PluginContractError) as caught:
            await r.read()
        assert (caught.value.plugin, caught.value.hook) == ("guard", "asyncrouter_around_request_stream")
        assert [str(one.outcome) for one in caught.value.trace.attempts] == ["cancelled"]
        assert r.router.metrics().total.failures == 1
        r.router.unregister(guard)


async def test_a_guard_that_fails_after_the_last_chunk_fails_the_call():
    async def fail(chunks, request):
        async for chunk in chunks:
            yield chunk
        raise ZeroDivisionError

    guard = Guard(fail)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(PluginContractError):
            await r.read()
        assert r.router.metrics().total.failures == 1
        assert r.router.metrics().deployments["a"].failures == 0
        r.router.unregister(guard)


async def test_the_response_is_what_the_caller_saw():
    async def shout(chunks, request):
        async for chunk in chunks:
            raw = chunk.raw
            if chunk.text:
                raw = delta(chunk.text.upper())
            yield Chunk(raw)

    async with routed(Stream(["some ", "words"]), plugins=[Guard(shout)]) as r:
        chunks, response = await r.read()
        assert "".join(chunk.text for chunk in chunks) == response.text == "SOME WORDS"
        assert response.usage.total_tokens == 15
        assert response.raw["usage"]["total_tokens"] == 15
        assert response.deployment == "a"


async def test_a_guard_may_answer_by_itself():
    async def cached(chunks, request):
        yield Chunk(delta("from the cache", finish="stop", model="m"))

    guard = Guard(cached)
    async with routed(plugins=[guard]) as r:
        chunks, response = await r.read()
        assert (response.text, response.deployment, response.usage.total_tokens) == ("from the cache", "", 0)
        assert len(chunks) == 1
        assert r.called == []
        assert r.router.metrics().total.calls == 1
        assert r.router.metrics().total.input_tokens == 0
        r.router.unregister(guard)


async def test_a_guard_may_end_the_answer_early():
    async def short(chunks, request):
        async for chunk in chunks:
            yield chunk
            if chunk.text:
                return

    guard = Guard(short)
    async with routed(Stream(["some ", "words"], pause_s=1.0), plugins=[guard]) as r:
        _, response = await r.read()
        assert (response.text, response.deployment) == ("some ", "a")
        assert r.provider.calls[0].outcome == "closed"
        assert r.router.metrics().total.cancelled == 0
        assert r.router.metrics().deployments["a"].cancelled == 1
        r.router.unregister(guard)


async def test_a_guard_that_hangs_is_ended_at_the_deadline():
    from asyncrouter import DeadlineExceeded

    async def hang(chunks, request):
        await anyio.sleep_forever()
        yield

    guard = Guard(hang)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(DeadlineExceeded, match="none ended"):
            await r.read(deadline_s=4.0)
        assert anyio.current_time() == 4.0
        r.router.unregister(guard)


async def test_a_restart_is_seen_through_the_guard():
    async def plain(chunks, request):
        async for chunk in chunks:
            yield chunk

    script = {"a": Stream(["never ", "mind"], cut_after=1), "b": Stream(["this"])}
    async with routed(script, on_interrupt="restart", plugins=[Guard(plain)]) as r:
        chunks, response = await r.read()
        assert [chunk.kind for chunk in chunks].count("restart") == 1
        assert response.text == "this"


async def test_a_guard_that_fails_while_it_is_closed_is_counted_and_harms_nobody():
    async def clumsy(chunks, request):
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            raise ZeroDivisionError

    guard = Guard(clumsy)
    async with routed(Stream(["some ", "words"], pause_s=1.0), plugins=[guard]) as r:
        async with r.stream() as stream:
            await anext(stream)
        assert r.router.metrics().plugin_failures == {"guard": 1}
        assert r.router.metrics().total.cancelled == 1
        assert r.provider.in_flight == 0
        r.router.unregister(guard)


async def test_leaving_after_the_finish_reason_is_no_cancellation_behind_a_guard_either():
    async def plain(chunks, request):
        async for chunk in chunks:
            yield chunk

    async with routed(Stream(["some ", "words"]), plugins=[Guard(plain)]) as r:
        async with r.stream() as stream:
            async for chunk in stream:
                if chunk.finish_reason:
                    break
        assert stream.response.text == "some words"
        assert r.router.metrics().total.cancelled == 0
