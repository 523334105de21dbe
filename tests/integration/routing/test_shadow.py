"""Shadows: a bounded sample in the background that delays, fails and costs no call, judged and told to observers."""

from __future__ import annotations

import anyio
import pytest
from shadowed import ALL, COST, PRICE, USAGE, Seen, router_of

from asyncrouter import ConfigError, Router, ServerError, Verdict, hookimpl
from asyncrouter.telemetry.outcomes import OutcomeLog, read_calls
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, fake_router, virtual_backend
from asyncrouter.types.events import AttemptFinished, RequestFinished, ShadowFinished
from asyncrouter.types.metrics import ShadowMetrics


@pytest.fixture
def anyio_backend():
    return virtual_backend


async def test_the_call_is_answered_as_without_it_and_the_shadow_is_told_with_a_link():
    seen, provider = Seen(), FakeProvider({"a": Reply("given"), "big": Slow(30, Reply("other", usage=USAGE))})
    async with router_of(provider, plugins=[seen]) as router:
        reply = await router.generate("hi", temperature=0.5, session="s")
        assert (reply.text, anyio.current_time()) == ("given", 0.0)
        await anyio.sleep(31)
        metrics = router.metrics()
    (shadow,) = seen.shadows
    assert (shadow.of, shadow.request.id) == (reply.trace.request_id, f"{reply.trace.request_id}/shadow")
    assert (shadow.response.text, shadow.response.deployment, shadow.verdict) == ("other", "big", None)
    assert (shadow.attempt.duration_s, shadow.attempt.cost_usd) == (30.0, pytest.approx(COST))
    (call,) = provider.calls_to("big")
    assert (call.request.messages[0]["content"], call.request.params) == ("hi", {"temperature": 0.5, "top_k": 7})
    assert metrics.shadows == {"chat": ShadowMetrics(calls=1, cost_usd=pytest.approx(COST))}


async def test_it_is_none_of_the_callers_attempts_tokens_or_cost():
    seen = Seen()
    async with router_of(plugins=[seen]) as router:
        reply = await router.for_agent("recon").generate("hi")
        await anyio.sleep(1)
        metrics = router.metrics()
    assert [one.deployment for one in reply.trace.attempts] == ["a"]
    assert (metrics.total.calls, metrics.total.input_tokens) == (1, 1000)
    assert metrics.total.cost_usd == metrics.agents["recon"].cost_usd == pytest.approx(0.0012)
    assert (metrics.deployments["big"].calls, metrics.deployments["big"].cost_usd) == (1, pytest.approx(COST))
    kinds = [type(one) for one in seen.events]
    assert kinds == [AttemptFinished, RequestFinished, ShadowFinished], "learning plugins see no attempt of it"


@pytest.mark.parametrize("trouble", [Fail(ServerError), Fail(ValueError), Hang()])
async def test_nothing_that_happens_to_it_harms_the_call(trouble):
    async with router_of({"a": Reply("given"), "big": trouble}, timeouts={"attempt_s": 20.0}) as router:
        assert (await router.generate("hi")).text == "given"
        await anyio.sleep(21)
        assert router.metrics().shadows["chat"] == ShadowMetrics(calls=1, failed=1)
        assert router.metrics().total.failures == 0


async def test_no_retry_and_no_fallback_is_made_for_it():
    provider = FakeProvider({"a": Reply(), "b": Reply(), "big": Fail(ServerError)})
    async with router_of(provider) as router:
        await router.generate("hi")
        await anyio.sleep(100)
    assert [len(provider.calls_to(name)) for name in ("a", "b", "big")] == [1, 0, 1]


async def test_the_share_is_kept():
    provider = FakeProvider()
    async with router_of(provider, shadow={**ALL, "share": 0.1, "max_in_flight": 100}) as router:
        for _ in range(2000):
            await router.generate("hi")
            await anyio.sleep(0.01)
    assert 150 <= len(provider.calls_to("big")) <= 250


async def test_the_calls_draw_what_they_drew_without_it():
    async def order(shadow):
        group = {"select": {"use": "weighted", "weights": {"a": 1, "b": 1}}}
        async with router_of(shadow=shadow, **group) as router:
            return [(await router.generate("hi")).deployment for _ in range(20)]

    assert await order(ALL) == await order(None)


async def test_no_more_run_at_once_than_may():
    provider = FakeProvider({"a": Reply(), "big": Slow(10)})
    async with router_of(provider, shadow={**ALL, "max_in_flight": 2}) as router:
        for _ in range(5):
            await router.generate("hi")
        await anyio.sleep(11)
        await router.generate("hi")
        await anyio.sleep(11)
        assert router.metrics().shadows["chat"] == ShadowMetrics(calls=3, skipped=3, cost_usd=pytest.approx(0.0006))
    assert max(sum(c.started_at <= t < c.ended_at for c in provider.calls_to("big")) for t in (0.0, 5.0, 9.9)) == 2


async def test_the_money_of_an_hour_is_kept_and_comes_back():
    provider = FakeProvider(Reply(usage=USAGE))
    async with router_of(provider, shadow={**ALL, "usd_per_hour": 5.5 * COST}) as router:
        spent = []
        for _hour in range(3):
            for _ in range(40):
                await router.generate("hi")
                await anyio.sleep(90)
            spent.append(len(provider.calls_to("big")))
    assert spent[0] <= 5
    assert spent[1] - spent[0] in range(3, 7)
    assert spent[2] <= 16


async def test_two_versions_and_agents_share_the_money():
    provider = FakeProvider(Reply(usage=USAGE))
    async with router_of(provider, shadow={**ALL, "usd_per_hour": 2.5 * COST}) as router:
        await router.generate("hi")
        await anyio.sleep(1)
        await router.for_agent("recon").generate("hi")
        await anyio.sleep(1)
        for _ in range(3):
            await router.generate("hi")
            await anyio.sleep(1)
    assert len(provider.calls_to("big")) == 2


async def test_another_configuration_shares_them_and_one_that_is_refused_changes_nothing():
    provider = FakeProvider(Reply(usage=USAGE))

    def config(**shadow):
        return {
            "providers": {"fake": provider},
            "deployments": {name: {"provider": "fake", "model": name, **PRICE} for name in ("a", "big")},
            "groups": {"chat": {"deployments": ["a"], "shadow": {**ALL, **shadow}}},
        }

    async with Router.from_config(config(usd_per_hour=2.5 * COST)) as router:
        for _ in range(2):
            await router.generate("hi")
            await anyio.sleep(1)
        await router.reconfigure(config(usd_per_hour=2.5 * COST))
        await router.generate("hi")
        assert router.metrics().shadows["chat"].calls == 2
        assert router.metrics().shadows["chat"].skipped == 1
        refused = config(usd_per_hour=100.0)
        refused["groups"]["chat"]["select"] = "no such selector"
        with pytest.raises(ConfigError):
            await router.reconfigure(refused)
        await router.generate("hi")
        assert router.metrics().shadows["chat"].skipped == 2
        await router.reconfigure(config(usd_per_hour=100.0))
        await router.generate("hi")
        await anyio.sleep(1)
    assert len(provider.calls_to("big")) == 3


async def test_a_stream_that_was_read_to_its_end_gets_a_plain_one():
    provider, seen = FakeProvider(Reply("one two", usage=USAGE)), Seen()
    async with router_of(provider, plugins=[seen]) as router:
        async with router.stream("hi", stream_options={"include_usage": True}) as stream:
            assert [chunk async for chunk in stream]
        async with router.stream("hi") as stream:
            await anext(aiter(stream))
        await anyio.sleep(1)
    (shadow,) = seen.shadows
    assert (shadow.request.stream, "stream_options" in shadow.request.params) == (False, False)
    assert shadow.response.text == "one two"


async def test_the_groups_judge_judges_it():
    class Strict:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=response.text == "good", score=0.25)

    script = {"a": Reply("good"), "b": Reply("good"), "big": [Reply("bad"), Reply("good")]}
    seen = Seen()
    async with router_of(script, judge=Strict(), plugins=[seen]) as router:
        for _ in range(2):
            await router.generate("hi")
            await anyio.sleep(1)
        shadows = router.metrics().shadows["chat"]
    assert [one.verdict.accept for one in seen.shadows] == [False, True]
    assert (shadows.accepted, shadows.rejected) == (1, 1)


async def test_a_plugin_that_breaks_around_it_is_counted(tmp_path):
    class Broken:
        name = "broken"

        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            if deployment.name == "big":
                raise ValueError("no shadow for you")
            return await call(request, deployment)

    log = OutcomeLog(path=tmp_path / "log.sqlite")
    async with router_of(FakeProvider(), plugins=[Broken(), log]) as router:
        await router.generate("hi")
        await anyio.sleep(1)
        metrics = router.metrics()
    assert metrics.plugin_failures == {"broken": 1}
    assert metrics.shadows["chat"] == ShadowMetrics(calls=1, failed=1)
    (shadow,) = [row for row in read_calls(tmp_path / "log.sqlite") if row.shadow_of]
    assert (shadow.outcome, shadow.deployment) == ("failed", None)


async def test_closing_cancels_and_awaits_what_is_under_way():
    provider, seen = FakeProvider({"a": Reply(), "big": Hang()}), Seen()
    async with router_of(provider, plugins=[seen]) as router:
        await router.generate("hi")
        await anyio.sleep(1)
        assert provider.in_flight == 1
    assert provider.in_flight == 0
    assert provider.calls_to("big")[0].outcome == "cancelled"
    assert [one.response for one in seen.shadows] == [None]
    assert router.metrics().shadows["chat"].cancelled == 1
    assert not provider.closed or provider.calls_to("big")[0].ended_at is not None


async def test_the_outcome_log_has_it_with_its_link(tmp_path):
    class Fair:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=True, score=0.75)

    path = tmp_path / "outcomes.sqlite"
    script = {"a": Reply("ok", usage=USAGE), "big": [Reply(usage=USAGE), Fail(ServerError)]}
    async with router_of(script, plugins=[OutcomeLog(path=path)], judge=Fair()) as router:
        replies = []
        for _ in range(2):
            replies.append(await router.generate("SENTINEL"))
            await anyio.sleep(1)
    rows = list(read_calls(path))
    first, shadow, _second, failed = rows
    assert (first.shadow_of, shadow.shadow_of) == (None, replies[0].trace.request_id)
    assert (shadow.group, shadow.deployment, shadow.chosen, shadow.outcome) == ("chat", "big", "big", "answered")
    assert (shadow.accepted, shadow.judged, first.judged) == (True, 0.75, 0.75)
    assert (shadow.cost_usd, shadow.spent_usd) == (pytest.approx(COST), pytest.approx(COST))
    assert (failed.outcome, failed.error, failed.shadow_of) == ("failed", "ServerError", replies[1].trace.request_id)
    assert [row.id for row in read_calls(path, shadows=False)] == [one.trace.request_id for one in replies]
    assert b"SENTINEL" not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_too():
    seen = Seen()
    async with fake_router(deployments=["a", "b"], shadow={"deployment": "b", "share": 1.0}, plugins=[seen]) as router:
        await router.generate("hi")
        with anyio.fail_after(5):
            while not seen.shadows:
                await anyio.lowlevel.checkpoint()
    assert [one.response.deployment for one in seen.shadows] == ["b"]


@pytest.mark.parametrize(
    ("shadow", "path"),
    [
        ({"share": 0.5}, "shadow.deployment"),
        ({**ALL, "deployment": "bgi"}, "shadow.deployment"),
        ({**ALL, "share": 0}, "shadow.share"),
        ({**ALL, "share": 1.5}, "shadow.share"),
        ({**ALL, "max_in_flight": 0}, "shadow.max_in_flight"),
        ({**ALL, "usd_per_hour": 0}, "shadow.usd_per_hour"),
        ({**ALL, "deployment": "b", "usd_per_hour": 1}, "shadow.usd_per_hour"),
        ({**ALL, "shares": 1}, "shadow.shares"),
    ],
)
def test_each_fault_has_its_path(shadow, path):
    with pytest.raises(ConfigError) as caught:
        router_of(shadow=shadow)
    assert f"groups.chat.{path}" in [fault.path for fault in caught.value.faults]
