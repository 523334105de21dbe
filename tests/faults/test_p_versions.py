"""Rows P03 and P04: another configuration under load, and closing with calls and streams under way."""

from __future__ import annotations

import anyio
import pytest

from asyncrouter import ConfigError, PluginContractError, Router, RouterClosed, hookimpl
from asyncrouter.testing import FakeProvider, Hang, Recorder, Reply, Slow, Stream, fake_router, run_virtual


def config(provider, *, model="one", deployments=("a",), **more):
    return {
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": model, **more} for name in deployments},
        "groups": {"chat": {"deployments": list(deployments)}},
        "agents": {"recon": {"group": "chat", "params": {"user": model}}},
    }


class Alive:
    """Tells whether it was started and shut down."""

    def __init__(self, name="alive"):
        self.name = name
        self.log = []

    @hookimpl
    def asyncrouter_startup(self):
        self.log.append("up")

    @hookimpl
    def asyncrouter_shutdown(self):
        self.log.append("down")


def test_p03_each_of_500_calls_sees_one_version_and_none_is_lost():
    old, new = FakeProvider(Slow(5.0, Reply())), FakeProvider(Slow(1.0, Reply()))
    models = {}

    async def main():
        async with Router.from_config(config(old), seed=0) as router, anyio.create_task_group() as tasks:

            async def call(number):
                models[number] = (await router.generate("hi")).model

            for number in range(500):
                tasks.start_soon(call, number)
            await anyio.sleep(1.0)
            tasks.start_soon(router.reconfigure, config(new, model="two"))
            await anyio.sleep(0.5)
            assert not old.closed  # it still answers what began with it
            for number in range(500, 600):
                tasks.start_soon(call, number)
            await anyio.sleep(2.0)
            assert len(models) == 100
            assert not old.closed
            await anyio.sleep(2.0)
            assert (old.closed, new.closed) == (True, False)
        assert new.closed
        metrics = router.metrics()
        assert (metrics.total.calls, metrics.total.failures) == (600, 0)
        assert metrics.deployments["a"].calls == 600

    run_virtual(main)
    assert all(models[number] == ("one" if number < 500 else "two") for number in range(600))
    assert (len(old.calls), len(new.calls)) == (500, 100)


def test_p03_a_stream_under_way_ends_with_the_version_it_began_with():
    old, new = FakeProvider(Stream(["x"] * 10, pause_s=1.0)), FakeProvider()

    async def main():
        async with Router.from_config(config(old), seed=0) as router, anyio.create_task_group() as tasks:
            async with router.stream("hi") as stream:
                tasks.start_soon(router.reconfigure, config(new, model="two"))
                text = "".join([chunk.text async for chunk in stream])
                assert not old.closed
            assert (text, stream.response.model) == ("x" * 10, "one")
            await anyio.sleep(0.1)
            assert old.closed

    run_virtual(main)


@pytest.mark.parametrize("source", [{"deployments": {"a": {}}}, {"group": {}}], ids=["deployment", "key"])
def test_p03_a_wrong_configuration_changes_nothing(source):
    provider = FakeProvider()

    async def main():
        async with Router.from_config(config(provider), seed=0) as router:
            with pytest.raises(ConfigError):
                await router.reconfigure(source)
            assert (await router.generate("hi")).model == "one"
        assert provider.closed

    run_virtual(main)


def test_p03_a_plugin_whose_startup_fails_changes_nothing_and_is_undone():
    old, new = FakeProvider(), FakeProvider()
    first, carried = Alive("first"), Alive("carried")

    class Broken(Alive):
        @hookimpl
        def asyncrouter_startup(self):
            raise OSError

    async def main():
        async with Router.from_config(config(old), plugins=[carried], seed=0) as router:
            source = config(new)
            source["router"] = {"plugins": [first, Broken("broken")]}
            with pytest.raises(PluginContractError, match="'broken', asyncrouter_startup: raised OSError"):
                await router.reconfigure(source)
            assert (first.log, new.closed, old.closed) == (["up", "down"], True, False)
            assert (await router.generate("hi")).text == "ok"
            assert carried.log == ["up"]
        assert carried.log == ["up", "down"]

    run_virtual(main)


def test_p03_plugins_and_providers_that_both_versions_use_live_on():
    provider, given, named, later = FakeProvider(), Alive("given"), Alive("named"), Recorder()

    async def main():
        source = config(provider)
        source["router"] = {"plugins": [named]}
        async with Router.from_config(source, plugins=[given], seed=0) as router:
            router.register(later, "later")
            await router.reconfigure(config(provider, model="two"))
            assert (given.log, named.log, provider.closed) == (["up"], ["up", "down"], False)
            assert (await router.generate("hi")).model == "two"
            assert len(later.finished) == 1
            router.unregister("later")
            await router.reconfigure(config(provider))
            await router.generate("hi")
            assert len(later.finished) == 1
        assert (given.log, named.log, provider.closed) == (["up", "down"], ["up", "down"], True)

    run_virtual(main)


def test_p03_deployments_keep_their_state_and_agents_follow():
    provider = FakeProvider(Slow(1.0, Reply()))

    async def main():
        async with Router.from_config(config(provider, deployments=("a", "b")), seed=0) as router:
            recon = router.for_agent("recon")
            await recon.generate("hi")
            state = router.fleet["a"]
            state.cool_until(100.0)
            await router.reconfigure(config(provider, price={"input": 1e6, "output": 0}))
            assert router.fleet["a"] is state
            assert (state.latency_s, state.cooldown_until) == (1.0, 100.0)
            assert "b" not in router.metrics().deployments  # it is configured no longer
            await router.reconfigure(config(provider, model="two"))
            assert (state.latency_s, state.ready_at < 0) == (None, True)  # another upstream stands behind the name
            reply = await recon.generate("hi")
            assert (reply.model, provider.calls[-1].request.params) == ("two", {"user": "two"})
            assert router.metrics().deployments["a"].calls == 2
            source = config(provider)
            del source["agents"]
            await router.reconfigure(source)
            with pytest.raises(ConfigError, match="no such agent"):
                await recon.generate("hi")

    run_virtual(main)


def test_p03_limits_and_breaker_follow_their_settings():
    provider = FakeProvider()

    async def main():
        async with Router.from_config(config(provider), seed=0) as router:
            assert router.fleet["a"].limits is None
            source = config(provider, limits={"rpm": 2})
            source["groups"]["chat"]["breaker"] = {"failures": 1}
            await router.reconfigure(source)
            state = router.fleet["a"]
            assert (state.breaker.settings.failures, state.limits is None) == (1, False)
            for _ in range(3):
                await router.generate("hi")
            assert anyio.current_time() == pytest.approx(30.0)
            await router.reconfigure(config(provider))
            assert router.fleet["a"].limits is None

    run_virtual(main)


def test_p03_closing_while_an_old_version_drains_closes_both():
    old, new = FakeProvider(Hang()), FakeProvider(Hang())
    ends = []

    async def call(router):
        try:
            await router.generate("hi", deadline_s=1000)
        except RouterClosed:
            ends.append(anyio.current_time())

    async def main():
        async with anyio.create_task_group() as tasks, Router.from_config(config(old), seed=0) as router:
            tasks.start_soon(call, router)
            await anyio.sleep(1.0)
            tasks.start_soon(router.reconfigure, config(new))
            await anyio.sleep(1.0)
            tasks.start_soon(call, router)
            await anyio.sleep(1.0)
            await router.aclose(grace_s=5.0)
            assert (old.closed, new.closed) == (True, True)
        assert ends == [8.0, 8.0]

    run_virtual(main)


async def test_p04_closing_waits_for_calls_within_its_grace():
    async with anyio.create_task_group() as tasks:
        router = fake_router(Slow(0.01, Reply("in time")))
        replies = []

        async def call():
            replies.append((await router.generate("hi")).text)

        async with router:
            tasks.start_soon(call)
            await anyio.lowlevel.checkpoint()
            await router.aclose(grace_s=30.0)
            assert replies == ["in time"]
            with pytest.raises(RuntimeError, match="not open"):
                await router.generate("hi")


def test_p04_after_the_grace_calls_end_with_a_typed_error_and_nothing_is_left():
    provider = FakeProvider(Hang())

    async def main():
        errors = []

        async def call(router, **arguments):
            try:
                await router.generate("hi", **arguments)
            except RouterClosed as error:
                errors.append((anyio.current_time(), error))

        async with fake_router(provider, deployments={"a": {"limits": {"concurrency": 1}}}) as router:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, router)
                tasks.start_soon(call, router)  # waits for its slot
                await anyio.sleep(1.0)
                await router.aclose(grace_s=2.0)
            assert [at for at, _ in errors] == [3.0, 3.0]
            ends = sorted(([one.outcome for one in error.trace.attempts] for _, error in errors), key=len)
            assert ends == [[], ["cancelled"]]
            assert provider.in_flight == 0
            metrics = router.metrics()
            assert (metrics.total.failures, metrics.deployments["a"].cancelled) == (2, 1)
            assert metrics.deployments["a"].failures == 0

    run_virtual(main)


def test_p04_a_call_without_a_deadline_is_ended_too():
    async def main():
        async with fake_router(Hang()) as router, anyio.create_task_group() as tasks:

            async def call():
                with pytest.raises(RouterClosed):
                    await router.generate("hi", deadline_s=float("inf"))

            tasks.start_soon(call)
            await anyio.sleep(1.0)
            await router.aclose()
            assert anyio.current_time() == 1.0

    run_virtual(main)


@pytest.mark.parametrize("hooked", [False, True], ids=["bare", "hooked"])
def test_p04_a_stream_that_waits_for_its_upstream_is_ended_after_the_grace(hooked):
    provider = FakeProvider(Stream(["x"] * 100, pause_s=1.0))

    class Around:
        name = "around"

        @hookimpl
        async def asyncrouter_around_request_stream(self, chunks):
            async for chunk in chunks:
                yield chunk

    async def main():
        async with fake_router(provider, plugins=[Around()] if hooked else []) as router:
            async with anyio.create_task_group() as tasks:

                async def read():
                    seen = []
                    with pytest.raises(RouterClosed) as caught:
                        async with router.stream("hi") as stream:
                            seen.extend([chunk.text async for chunk in stream])
                    assert anyio.current_time() == 4.5
                    assert caught.value.trace.attempts[0].outcome == "cancelled"

                tasks.start_soon(read)
                await anyio.sleep(1.5)
                await router.aclose(grace_s=3.0)
            assert provider.in_flight == 0

    run_virtual(main)


def test_p04_a_stream_whose_reader_is_busy_ends_at_its_next_chunk():
    async def main():
        router = fake_router(Stream(["a", "b"], pause_s=1.0))
        async with router, router.stream("hi") as stream:
            await router.aclose()
            assert router._version.in_flight.closing
            with pytest.raises(RouterClosed):
                [chunk async for chunk in stream]
        assert router.metrics().total.failures == 1

    run_virtual(main)
