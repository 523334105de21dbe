"""The sync door's streams: read as they come, left early, failing, restarted."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from routed import PROMPT, RawStreams, check_secrecy, delta
from sync_routers import WORDS, open_router

from asyncrouter import AllAttemptsFailed, ServerError, StreamInterrupted, UnknownModelGroup
from asyncrouter.sync import BUFFERED_CHUNKS
from asyncrouter.testing import Fail, FakeProvider, Stream


def test_a_stream_left_early_closes_its_upstream():
    provider = FakeProvider(Stream([f"{number} " for number in range(10 * BUFFERED_CHUNKS)]))
    with open_router(provider) as router:
        with router.stream(PROMPT) as stream:
            for chunk in stream:
                if chunk.text == "3 ":
                    break
        assert provider.in_flight == 0
        assert provider.calls[0].outcome == "closed"
        assert router.metrics().total.cancelled == 1
        assert list(stream) == []
        with pytest.raises(RuntimeError, match="not complete"):
            _ = stream.response


def test_the_upstream_is_not_read_far_ahead_of_the_reader():
    sent = []

    class Counting(FakeProvider):
        async def stream(self, request, deployment, timeouts):
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    sent.append(chunk)
                    yield chunk

    async def settle():
        for _ in range(20 * BUFFERED_CHUNKS):
            await anyio.lowlevel.checkpoint()

    with open_router(Counting(Stream(["x "] * (10 * BUFFERED_CHUNKS)))) as router, router.stream(PROMPT) as stream:
        next(stream)
        router.run(settle)
        assert len(sent) <= 2 * BUFFERED_CHUNKS + 3
        assert sum(1 for _ in stream) == 10 * BUFFERED_CHUNKS + 1
        assert stream.response.text == "x " * (10 * BUFFERED_CHUNKS)


def test_a_stream_left_with_an_error_passes_it_on():
    provider = FakeProvider(Stream(["x "] * 1000))

    def leave(router):
        with router.stream(PROMPT) as stream:
            next(stream)
            raise ZeroDivisionError

    with open_router(provider) as router:
        with pytest.raises(ZeroDivisionError):
            leave(router)
        assert provider.in_flight == 0


def test_an_error_in_the_middle_comes_after_what_came_before_it():
    with open_router(Stream(WORDS, cut_after=3)) as router, router.stream(PROMPT) as stream:
        seen = []
        with pytest.raises(StreamInterrupted) as caught:
            seen.extend(chunk.text for chunk in _kept(stream, seen))
        assert [text for text in seen if text] == WORDS[:3]
        assert caught.value.partial == "The answer is "
        assert list(stream) == [], "the error is raised once"
        check_secrecy(caught.value)


def _kept(stream, seen):
    for chunk in stream:
        seen.append(chunk.text)
    return []


def test_errors_before_the_first_output_are_raised_on_entering():
    with open_router(Fail(ServerError)) as router:
        stream = router.stream(PROMPT)
        with pytest.raises(AllAttemptsFailed), stream:
            pass
        with pytest.raises(UnknownModelGroup):
            router.stream(PROMPT, model="nobody")


def test_a_stream_is_entered_first_and_once():
    with open_router(Stream(WORDS)) as router:
        stream = router.stream(PROMPT)
        with pytest.raises(RuntimeError, match="enter the stream first"):
            next(stream)
        with stream:
            with pytest.raises(RuntimeError, match="entered before"):
                stream.__enter__()
            assert "".join(chunk.text for chunk in stream) == "The answer is 42."
        with pytest.raises(RuntimeError, match="entered before"):
            stream.__enter__()


def test_a_stream_that_is_never_entered_leaves_nothing():
    with open_router(Stream(WORDS)) as router:
        router.stream(PROMPT)
        assert router.metrics().total.calls == 0


def test_a_restart_is_passed_on():
    script = RawStreams(a=[[delta("never "), StreamInterrupted("cut")]], b=[[delta("this"), delta(finish="stop")]])
    with open_router(script, on_interrupt="restart") as router, router.stream(PROMPT) as stream:
        assert [chunk.kind for chunk in stream] == ["delta", "restart", "delta", "delta"]
        assert stream.response.text == "this"
