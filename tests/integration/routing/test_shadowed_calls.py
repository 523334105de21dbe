"""Which answered calls get a shadow: none that a filter, a guardrail, a cache, a limit or a breaker speaks against."""

from __future__ import annotations

import anyio
import attrs
import pytest
from hooked import Cache
from shadowed import ALL, COST, PRICE, USAGE, Seen, router_of

from asyncrouter import ServerError, hookimpl
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, virtual_backend
from asyncrouter.types.metrics import ShadowMetrics


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def test_an_answer_of_its_own_deployment_and_what_must_not_be_done_twice_get_none():
    provider = FakeProvider()
    async with router_of(provider, shadow={**ALL, "deployment": "a"}) as router:
        await router.generate("hi")
        await anyio.sleep(1)
    assert len(provider.calls) == 1
    provider = FakeProvider()
    async with router_of(provider) as router:
        await router.generate("hi", metadata={"idempotent": False})
        await anyio.sleep(1)
    assert len(provider.calls) == 1


async def test_a_filter_that_keeps_data_in_its_place_keeps_it_from_shadows_too():
    class Private:
        name = "private"

        @hookimpl
        def asyncrouter_filter(self, request, candidates):
            if request.metadata.get("broken") and len(candidates) == 1:
                raise ValueError
            return tuple(one for one in candidates if one.name != "big") if "private" in request.metadata else None

    provider = FakeProvider()
    async with router_of(provider, plugins=[Private()]) as router:
        await router.generate("secret", metadata={"private": True})
        await anyio.sleep(1)
        assert len(provider.calls_to("big")) == 0
        assert router.metrics().shadows["chat"].skipped == 1
        await router.generate("public")
        await anyio.sleep(1)
        assert len(provider.calls_to("big")) == 1
        await router.generate("hi", metadata={"broken": True})
        assert router.metrics().plugin_failures == {"shadow": 1}
        assert len(provider.calls_to("big")) == 1


async def test_a_guardrail_around_the_request_has_changed_what_the_shadow_sees():
    class Redact:
        @hookimpl
        async def asyncrouter_around_request(self, call, request):
            return await call(attrs.evolve(request, messages=[{"role": "user", "content": "redacted"}]))

    provider = FakeProvider()
    async with router_of(provider, plugins=[Redact()]) as router:
        await router.generate("SENTINEL")
        await anyio.sleep(1)
    assert [call.request.messages[0]["content"] for call in provider.calls] == ["redacted", "redacted"]


async def test_an_answer_from_a_cache_gets_none():
    provider = FakeProvider()
    async with router_of(provider, plugins=[Cache()]) as router:
        for _ in range(5):
            await router.generate("hi")
            await anyio.sleep(1)
    assert len(provider.calls_to("big")) == 1


async def test_it_takes_no_slot_and_no_rate_that_somebody_wants():
    for limits in ({"concurrency": 1}, {"rpm": 1}):
        provider = FakeProvider({"a": Reply(), "b": Reply(), "big": Slow(5)})
        async with router_of(provider, big={"limits": limits}) as router, anyio.create_task_group() as tasks:
            tasks.start_soon(lambda router=router: router.generate("hi", model="big"))
            await anyio.sleep(1)
            await router.generate("hi")
            await anyio.sleep(1)
            assert len(provider.calls_to("big")) == 1
            assert router.metrics().shadows["chat"].skipped == 1


async def test_a_deployment_that_is_set_aside_gets_none():
    script = {"a": Reply(), "b": Reply(), "big": [*[Fail(ServerError)] * 5, Reply()]}
    provider = FakeProvider(script)
    async with router_of(provider, filters=[], shadow=ALL) as router:
        for _ in range(10):
            await router.generate("hi")
            await anyio.sleep(0.1)
        assert len(provider.calls_to("big")) == 5, "then its breaker has opened"
        await anyio.sleep(10)
        await router.generate("hi")
        await anyio.sleep(1)
        assert len(provider.calls_to("big")) == 6, "a shadow is as good a probe as a call"
        assert router.metrics().deployments["big"].breaker == "closed"


@pytest.mark.parametrize("limits", [{"concurrency": 1}, {"rpm": 1}])
async def test_of_two_that_are_drawn_at_once_the_second_begins_only_where_there_is_room(limits):
    provider, seen = FakeProvider({"a": Reply(), "b": Reply(), "big": Slow(5, Reply(usage=USAGE))}), Seen()
    async with router_of(provider, big={**PRICE, "limits": limits}, plugins=[seen]) as router:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(router.generate, "hi")
        await anyio.sleep(10)
        assert router.metrics().shadows["chat"] == ShadowMetrics(calls=1, skipped=1, cost_usd=pytest.approx(COST))
    assert len(provider.calls_to("big")) == len(seen.shadows) == 1
