"""Layers around requests and attempts when they misbehave: who failed is named, and nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import anyio.lowlevel
import pytest
from compiled import ANSWER, ASK, A, named, pipeline_of, plugin

from asyncrouter.types.errors import PluginContractError, RateLimited
from asyncrouter.types.response import Chunk

# ------------------------------------------------------------------ onions


@pytest.mark.parametrize(("hook", "arguments"), [("around_request", (ASK,)), ("around_attempt", (ASK, A))])
async def test_a_layer_that_fails_or_answers_junk_is_named(hook, arguments):
    async def core(*given):
        assert given == arguments
        return ANSWER

    async def fail(call):
        raise KeyError

    async def junk(call):
        return "text"

    async def cancel(call):
        raise asyncio.CancelledError

    async def passing(call, request):
        return await call(*arguments)

    cases = (fail, "raised KeyError"), (cancel, "raised CancelledError"), (junk, "returned str, expected Response")
    for layer, message in cases:
        call = getattr(pipeline_of(plugin(hook, layer), plugin(hook, passing)), hook)(core)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await call(*arguments)
    assert await getattr(pipeline_of(plugin(hook, passing)), hook)(core)(*arguments) is ANSWER


@pytest.mark.parametrize(("hook", "arguments"), [("around_request", (ASK,)), ("around_attempt", (ASK, A))])
async def test_a_layer_that_is_cancelled_is_not_at_fault(hook, arguments):
    async def core(*given):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def passing(call, request):
        return await call(*arguments)

    call = getattr(pipeline_of(plugin(hook, passing)), hook)(core)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(call(*arguments))


async def test_the_errors_of_the_call_pass_through_the_layers():
    error = RateLimited("slow down")

    async def core(request):
        raise error

    async def passing(call, request):
        return await call(request)

    with pytest.raises(RateLimited) as caught:
        await pipeline_of(*(plugin("around_request", passing) for _ in range(3))).around_request(core)(ASK)
    assert caught.value is error


# ------------------------------------------------------------------ onions around streams


STREAMS = [("around_request_stream", (ASK,)), ("around_attempt_stream", (ASK, A))]


class Source:
    """An upstream's chunks, and whether they were closed."""

    def __init__(self, count=3):
        self.closed = False
        self.count = count

    async def chunks(self):
        try:
            for number in range(self.count):
                yield Chunk({"number": number})
        finally:
            self.closed = True


async def sloppy(chunks):
    """Pass everything on, and close nothing."""
    async for chunk in chunks:
        yield chunk


async def careful(chunks):
    async with contextlib.aclosing(chunks) as inner:
        async for chunk in inner:
            yield chunk


async def numbers(chunks):
    return [chunk.raw["number"] async for chunk in chunks]


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
@pytest.mark.parametrize("layers", [[sloppy], [careful], [sloppy, careful], [careful, sloppy], [sloppy, sloppy]])
async def test_leaving_a_stream_closes_it_to_the_bottom_whatever_the_layers_forget(hook, arguments, layers):
    source = Source()
    wrap = getattr(pipeline_of(*(plugin(hook, layer) for layer in layers)), hook)
    chunks = wrap(source.chunks(), *arguments)
    assert (await anext(chunks)).raw == {"number": 0}
    assert not source.closed
    await chunks.aclose()
    assert source.closed

    source = Source()
    assert await numbers(wrap(source.chunks(), *arguments)) == [0, 1, 2]
    assert source.closed


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_layer_that_stops_early_closes_what_is_under_it(hook, arguments):
    async def two(chunks):
        yield await anext(chunks)
        yield await anext(chunks)

    source = Source()
    assert await numbers(getattr(pipeline_of(plugin(hook, two)), hook)(source.chunks(), *arguments)) == [0, 1]
    assert source.closed


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_stream_layer_that_misbehaves_is_named(hook, arguments):
    async def fail(chunks):
        yield await anext(chunks)
        raise KeyError

    async def junk(chunks):
        yield "text"

    for layer, message in ((fail, "raised KeyError"), (junk, "returned str, expected Chunk")):
        source = Source()
        chunks = getattr(pipeline_of(plugin(hook, layer), plugin(hook, sloppy)), hook)(source.chunks(), *arguments)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await numbers(chunks)
        assert source.closed or layer is junk  # that one had not begun to read


@pytest.mark.parametrize(("hook", "arguments"), STREAMS)
async def test_a_layer_that_fails_while_it_is_closed_is_named_and_all_is_closed(hook, arguments):
    async def clumsy(chunks):
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            raise ZeroDivisionError

    async def stubborn(chunks):
        try:
            async for chunk in chunks:
                yield chunk
        except GeneratorExit:
            yield Chunk({"number": -1})

    for layer, message in ((clumsy, "raised ZeroDivisionError"), (stubborn, "raised RuntimeError")):
        source = Source()
        chunks = getattr(pipeline_of(plugin(hook, layer)), hook)(source.chunks(), *arguments)
        await anext(chunks)
        with pytest.raises(PluginContractError, match=named(hook) + message):
            await chunks.aclose()
        assert source.closed


async def test_errors_of_the_stream_pass_as_they_are():
    error = RateLimited("slow down")

    async def broken():
        yield Chunk({"number": 0})
        raise error

    chunks = pipeline_of(plugin("around_request_stream", sloppy)).around_request_stream(broken(), ASK)
    await anext(chunks)
    with pytest.raises(RateLimited) as caught:
        await anext(chunks)
    assert caught.value is error


async def test_an_iterator_that_cannot_be_closed_will_do():
    class Plain:
        def __init__(self):
            self.left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return Chunk({"number": self.left})

    chunks = pipeline_of(plugin("around_attempt_stream", sloppy)).around_attempt_stream(Plain(), ASK, A)
    assert await numbers(chunks) == [1, 0]


async def test_cancelling_a_stream_closes_it():
    source = Source()

    async def stall(chunks):
        yield await anext(chunks)
        await anyio.sleep_forever()

    chunks = pipeline_of(plugin("around_request_stream", stall)).around_request_stream(source.chunks(), ASK)
    await anext(chunks)
    task = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed
