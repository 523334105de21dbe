"""Routers in routers: the outer one sees the inner one's end as a failure, falls back, and never asks again."""

from __future__ import annotations

import anyio
import pytest
from routed import Nested, check_secrecy, routed

from asyncrouter import (
    AllAttemptsFailed,
    AttemptTimedOut,
    ContentFiltered,
    DeadlineExceeded,
    Disposition,
    Overloaded,
    PluginContractError,
    RateLimited,
    Router,
    ServerError,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Stream


def outside(inner, spare=None, kind=Nested, **group):
    """Return the router around *inner*, with a deployment beside it where there is a *spare*."""
    deployments = {"inner": {"provider": "nested", "model": "m"}}
    providers = {"nested": kind(inner)}
    if spare is not None:
        providers["fake"] = FakeProvider(spare)
        deployments["spare"] = {"provider": "fake", "model": "m"}
    config = {
        "providers": providers,
        "deployments": deployments,
        "groups": {"chat": {"deployments": list(deployments), **group}},
    }
    return Router.from_config(config, seed=0)


async def answer(router, streamed, **arguments):
    if not streamed:
        return await router.generate("hi", **arguments)
    async with router.stream("hi", **arguments) as stream:
        async for _chunk in stream:
            pass
    return stream.response


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_passes(streamed):
    async with routed(Reply("from inside")) as inner, outside(inner.router) as outer:
        inner.began += 1
        reply = await answer(outer, streamed)
    assert reply.text == "from inside"
    assert [one.deployment for one in reply.trace.attempts] == ["inner"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_failed_inside_falls_back_outside(streamed):
    async with routed(Fail(ServerError), retry="none") as inner, outside(inner.router, Reply("spare")) as outer:
        inner.began += 1
        reply = await answer(outer, streamed)
        assert reply.text == "spare"
        assert inner.called == ["a", "b"]
    error = reply.trace.attempts[0].error
    assert (type(error), error.disposition) == (ServerError, Disposition.FALLBACK)
    assert type(error.__cause__) is AllAttemptsFailed
    check_secrecy(error)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_failed_inside_is_not_retried_outside(streamed):
    async with routed(Fail(ServerError), retry="none") as inner, outside(inner.router) as outer:
        inner.began += 1
        with pytest.raises(AllAttemptsFailed) as caught:
            await answer(outer, streamed)
        assert inner.called == ["a", "b"]
        assert anyio.current_time() == 0.0
    assert len(caught.value.errors) == 1


async def test_the_patience_that_the_inner_router_asks_for_is_kept_outside():
    script = Fail(RateLimited, retry_after_s=90.0)
    async with routed(script, retry="none") as inner, outside(inner.router, Reply("spare")) as outer:
        inner.began += 1
        assert (await outer.generate("hi")).text == "spare"
        assert outer.fleet["inner"].ready_at == pytest.approx(90.0)
        assert (await outer.generate("hi")).text == "spare"
        assert inner.called == ["a", "b"]


async def test_nobody_ready_inside_is_an_overload_outside():
    async with routed() as inner, outside(inner.router, Reply("spare")) as outer:
        for name in "ab":
            inner.state(name).cool_until(100.0)
        inner.began += 1
        reply = await outer.generate("hi")
    error = reply.trace.attempts[0].error
    assert (type(error), error.retry_after_s, error.disposition) == (Overloaded, 100.0, Disposition.FALLBACK)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_left_of_the_deadline_goes_down(streamed):
    async with routed({"a": Fail(ServerError), "b": Hang()}) as inner, outside(inner.router) as outer:
        inner.began += 1
        await anyio.sleep(3.0)
        with pytest.raises(DeadlineExceeded):
            await answer(outer, streamed, deadline_s=2.0)
        assert anyio.current_time() == 5.0
        assert inner.provider.calls[0].request.deadline == 5.0


async def test_a_deadline_inside_that_is_shorter_is_a_timeout_outside():
    class Ignorant(Nested):
        def _arguments(self, request):
            return {}

    async with routed(Hang(), deadline_s=2.0) as inner, outside(inner.router, Reply("spare"), kind=Ignorant) as outer:
        inner.began += 1
        reply = await outer.generate("hi")
        assert anyio.current_time() == 2.0
    assert type(reply.trace.attempts[0].error) is AttemptTimedOut


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_of_the_request_is_told_as_it_is(streamed):
    async with routed(Fail(ContentFiltered)) as inner, outside(inner.router, Reply("spare")) as outer:
        inner.began += 1
        with pytest.raises(ContentFiltered):
            await answer(outer, streamed)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_plugin_that_breaks_inside_is_a_failure_outside(streamed):
    class Broken:
        @hookimpl
        def asyncrouter_filter(self, request, candidates, state):
            raise ValueError("oh")

    async with (
        routed(plugins=[Broken()], alive=False) as inner,
        outside(inner.router, Stream(["spare"])) as outer,
    ):
        inner.began += 1
        reply = await answer(outer, streamed)
    assert reply.text == "spare"
    assert type(reply.trace.attempts[0].error.__cause__) is PluginContractError


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_hook_outside_that_breaks_is_no_failure_of_the_provider(streamed):
    class Broken:
        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            raise ValueError("oh")

        @hookimpl
        async def asyncrouter_around_attempt_stream(self, chunks, request, deployment):
            raise ValueError("oh")
            yield

    async with routed() as inner, outside(inner.router, Reply("spare")) as outer:
        outer.register(Broken())
        with pytest.raises(PluginContractError):
            await answer(outer, streamed)
