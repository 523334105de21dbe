"""The hooks that wrap requests and attempts, and their twins for streams, on a whole router."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import attrs
import pytest
from hooked import ask, plugin

from asyncrouter import (
    AllAttemptsFailed,
    DeadlineExceeded,
    InvalidRequest,
    PluginContractError,
    Response,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Recorder, Reply, Stream, fake_router, virtual_backend
from asyncrouter.types.events import RequestFinished


class Layer:
    """Notes on its way in and out."""

    def __init__(self, name, lines):
        self.name = name
        self.lines = lines

    @hookimpl
    async def asyncrouter_around_request(self, call, request):
        return await self.around(call, request)

    @hookimpl
    async def asyncrouter_around_attempt(self, call, request, deployment):
        return await self.around(call, request, deployment)

    @hookimpl
    async def asyncrouter_around_request_stream(self, chunks, request):
        async for chunk in self.around_stream(chunks, "request"):
            yield chunk

    @hookimpl
    async def asyncrouter_around_attempt_stream(self, chunks, request, deployment):
        async for chunk in self.around_stream(chunks, deployment.name):
            yield chunk

    async def around(self, call, request, *deployment):
        place = deployment[0].name if deployment else "request"
        self.lines.append(f"{self.name} into {place}")
        try:
            return await call(request, *deployment)
        finally:
            self.lines.append(f"{self.name} out of {place}")

    async def around_stream(self, chunks, place):
        self.lines.append(f"{self.name} into {place}")
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
        self.lines.append(f"{self.name} out of {place}")


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_onions_and_their_twins_wrap_request_and_attempts_the_last_registered_outermost(streamed):
    lines = []
    script = {"a": Fail(ServerError), "b": Stream(["Hello ", "world"])}
    async with fake_router(script, plugins=[Layer("inner", lines), Layer("outer", lines)]) as router:
        assert (await ask(router, streamed)).text == "Hello world"
    begun = [line for line in lines if " into " in line]
    places = ["request", "a", "b"]
    assert begun == [f"{layer} into {place}" for place in places for layer in ("outer", "inner")]
    assert lines[-4:] == ["inner out of b", "outer out of b", "inner out of request", "outer out of request"]


async def test_around_request_may_answer_itself_and_its_error_is_the_callers():
    async def around(self, call, request):
        if request.metadata.get("refuse"):
            raise InvalidRequest("not here")
        if request.metadata.get("break"):
            raise KeyError("x")
        return Response(raw={"choices": [{"message": {"content": "mine"}}]}, deployment="-", model="-")

    provider, recorder = FakeProvider(), Recorder()
    async with fake_router(provider, plugins=[plugin("around_request", around), recorder]) as router:
        reply = await router.generate("hi")
        with pytest.raises(InvalidRequest, match="not here") as refused:
            await router.generate("hi", metadata={"refuse": True})
        with pytest.raises(PluginContractError, match="asyncrouter_around_request: raised KeyError"):
            await router.generate("hi", metadata={"break": True})
    assert (reply.text, reply.trace.attempts, provider.calls) == ("mine", (), [])
    assert refused.value.trace is not None
    assert len(recorder.of(RequestFinished)) == 3


async def test_around_request_may_change_the_request_but_not_its_route():
    seen = []

    async def around(self, call, request):
        try:
            return await call(attrs.evolve(request, params={"changed": True}, model="b"))
        except AllAttemptsFailed as error:
            seen.append(error)
            raise

    provider = FakeProvider(Fail(ServerError))
    async with fake_router(provider, plugins=[plugin("around_request", around)], retry="none") as router:
        with pytest.raises(AllAttemptsFailed) as caught:
            await router.generate("hi")
    assert seen == [caught.value]
    assert provider.calls[0].request.params == {"changed": True}
    assert provider.calls[0].deployment.name == "a"  # the route is chosen already


@pytest.mark.parametrize("anyio_backend", [virtual_backend])
async def test_the_onions_are_inside_deadline_and_timeout():
    async def slowly(self, call, request):
        await anyio.sleep(100)
        return await call(request)

    async with fake_router(plugins=[plugin("around_request", slowly)], deadline_s=30) as router:
        with pytest.raises(DeadlineExceeded):
            await router.generate("hi")
    assert anyio.current_time() == 30.0

    async def slowly_at_a(self, call, request, deployment):
        await anyio.sleep(100 if deployment.name == "a" else 0)
        return await call(request, deployment)

    around = plugin("around_attempt", slowly_at_a)
    async with fake_router(plugins=[around], deadline_s=60, timeouts={"attempt_s": 5}) as router:
        assert (await router.generate("hi")).deployment == "b"
    assert anyio.current_time() == 35.0


async def test_around_attempt_makes_failures_of_answers_and_fails_closed():
    async def around(self, call, request, deployment):
        response = await call(request, deployment)
        if response.text == "":
            raise ServerError("empty", deployment=deployment.name)
        raise KeyError("x")

    provider = FakeProvider({"a": Reply(""), "b": Reply("Hello"), "c": Reply("never asked")})
    async with fake_router(provider, deployments=3, plugins=[plugin("around_attempt", around)]) as router:
        with pytest.raises(PluginContractError, match="asyncrouter_around_attempt: raised KeyError"):
            await router.generate("hi")
    assert [call.deployment.name for call in provider.calls] == ["a", "b"]


async def test_a_stream_that_is_left_closes_through_both_twins():
    lines = []
    provider = FakeProvider(Stream(["one ", "two ", "three"]))
    async with fake_router(provider, plugins=[Layer("layer", lines)]) as router, router.stream("hi") as stream:
        await anext(stream)
        assert provider.in_flight == 1
    assert (provider.in_flight, provider.calls[0].outcome) == (0, "closed")
    assert lines == ["layer into request", "layer into a"]


@pytest.mark.parametrize("hook", ["around_request_stream", "around_attempt_stream"])
async def test_a_twin_that_fails_ends_the_stream(hook):
    async def around(self, chunks):
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
                if chunk.text:
                    raise KeyError("x")

    provider = FakeProvider(Stream(["one ", "two "]))
    async with fake_router(provider, plugins=[plugin(hook, around)]) as router:
        with pytest.raises(PluginContractError, match=f"asyncrouter_{hook}: raised KeyError"):
            async with router.stream("hi") as stream:
                [chunk async for chunk in stream]
    assert [call.deployment.name for call in provider.calls] == ["a"]
    assert provider.in_flight == 0
