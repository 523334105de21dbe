"""Rows B05 and B06: storms while everything is down, and herds when it is back.  Virtual time throughout."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from outages import began, down, now, traffic
from routed import Nested

from asyncrouter import AllAttemptsFailed, AsyncRouterError, Router, ServerError
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, Stream

# ---------------------------------------------------------------- B05: storms


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("streamed", [False, True])
async def test_b05_a_thousand_requests_a_second_with_everything_down(faults, count, streamed):
    names = "abc"[:count]
    async with faults(Slow(0.05, then=Fail(ServerError)), groups={"chat": {"deployments": list(names)}}) as f:
        tasks = []
        for _ in range(1000):
            one = f.read() if streamed else f.ask()
            tasks.append(asyncio.create_task(f.caught(one)))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert len(f.sent) <= 1.2 * 1000 + 3
        assert len(f.sent) < 500  # and mostly far less


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("many", [2, 10, 100, 1000])
async def test_b05_many_at_once_with_everything_down(faults, many, count, streamed):
    """All are sent before the first failure is known; what is made beyond them is the budget's share and its floor."""
    groups = {"chat": {"deployments": list("abc"[:count])}}
    async with faults(Slow(0.05, then=Fail(ServerError)), groups=groups) as f:
        await f.many(many, streamed=streamed, deadline_s=1.9)
        assert len(f.sent) <= 1.2 * many + 3


async def test_b05_an_outage_of_all_for_two_seconds_costs_no_call(faults):
    def script(_request, _deployment, _number):
        return Slow(0.02, then=Fail(ServerError) if now() < 2.0 else Reply("up"))

    async with faults(script, groups={"chat": {"deployments": list("abc")}}) as f:
        assert {one.text for one in await f.many(20, deadline_s=5.0)} == {"up"}


async def test_b05_an_outage_of_one_moves_all_of_its_traffic(faults):
    """The bound is one of outages of everything: here each call falls back, and each is answered at once."""
    async with faults(
        {"a": Slow(0.5, then=Fail(ServerError)), "b": Slow(0.1, then=Reply("b"))},
        breaker={"failures": 10**6, "min_calls": 10**6},
    ) as f:
        answers = await traffic(f, 50, 20.0)
        assert {one.text for one in answers} == {"b"}
        assert len(f.sent) == 2 * 1000
        assert max(one.trace.duration_s for one in answers) <= 0.6 + 0.36
        late = [one for one in answers if one.trace.duration_s > 0.6 + 1e-6]
        assert len(late) < 20  # those of the first moments, before anything was known of b


async def test_b05_a_burst_that_falls_back_waits_for_the_first_news(faults):
    """Nobody knows whether b is well: some find out, the others go as soon as it has answered."""
    async with faults(
        {"a": Fail(ServerError), "b": Slow(5.0, then=Reply("b"))}, breaker={"failures": 10**6, "min_calls": 10**6}
    ) as f:
        answers = await f.many(100)
        assert {one.text for one in answers} == {"b"}
        assert now() == 5.0 + 5.0
        assert sum(one.trace.duration_s == 5.0 for one in answers) >= 7


async def test_b05_of_a_stream_the_first_output_is_news(faults):
    async with faults(
        {"a": Fail(ServerError), "b": Slow(1.0, then=Stream(["b"] * 20, pause_s=1.0))},
        breaker={"failures": 10**6, "min_calls": 10**6},
        timeouts={"first_token_s": 5.0},
    ) as f:
        assert {one.text for one in await f.many(100, streamed=True)} == {"b" * 20}
        assert now() == 1.0 + 1.0 + 19.0


@pytest.mark.parametrize("streamed", [False, True])
async def test_b05_three_layers_of_routers_do_not_multiply(streamed):
    """A thousand requests a second at the outermost; only the innermost has upstreams, and all of them fail."""

    def layered(providers, depth):
        config = {
            "providers": providers,
            "deployments": {
                name: {"provider": provider, "model": name}
                for name, provider in zip("ab", [*providers] * 2, strict=False)
            },
            "groups": {"chat": {"deployments": ["a", "b"], "retry": {"use": "exponential", "max_retries": 5}}},
        }
        return Router.from_config(config, seed=depth)

    provider = FakeProvider(Slow(0.05, then=Fail(ServerError)))
    inner = layered({"fake": provider}, 1)
    middle = layered({"inner": Nested(inner)}, 2)
    outer = layered({"middle": Nested(middle)}, 3)
    ends = Counter()

    async def one():
        try:
            if streamed:
                async with outer.stream("hi", deadline_s=20.0) as stream:
                    async for _chunk in stream:
                        pass
            else:
                await outer.generate("hi", deadline_s=20.0)
        except AsyncRouterError as error:
            ends[type(error)] += 1

    async with inner, middle, outer:
        tasks = []
        for _ in range(3000):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
    assert ends.total() == 3000
    assert len(provider.calls) <= 1.2 * 3000 + 3
    assert inner.metrics().total.calls <= 1.2 * 3000 + 3
    assert provider.in_flight == 0


# ---------------------------------------------------------------- B06: herds


@pytest.mark.parametrize("seed", range(3))
async def test_b06_those_that_waited_come_back_at_no_more_than_twice_the_usual_rate(faults, seed):
    """Twenty requests a second, nowhere else to go: when the upstream is back, four hundred are waiting."""
    async with faults(down((10.0, 30.0)), groups={"chat": {"deployments": ["a"]}}, seed=seed) as f:
        answers = await traffic(f, 20, 60.0)
        assert {one.text for one in answers} == {"up"}
        assert len([one for one in answers if one.trace.waited_s > 1.0]) >= 400
        back = f.recorder.breaker_changes.index(("a", "half_open", "closed"))
        assert back > 0
        spikes = Counter(int(moment) for moment in began(f, "a", 30.0))
        assert max(spikes.values()) <= 40


async def test_b06_the_last_attempt_is_kept_for_a_deployment_that_is_back(faults):
    """While others have more attempts left, they probe; whoever waits loses no call by having tried before."""
    groups = {"chat": {"deployments": ["a"], "breaker": {"failures": 1, "open_s": 1.0, "open_cap_s": 2.0}}}
    async with faults(down((0.0, 8.0)), groups=groups, settings={"max_attempts": 3}) as f:
        answers = await f.many(20)
        assert not [one for one in answers if isinstance(one, AsyncRouterError)]


async def test_b06_its_share_grows_where_another_deployment_answers(faults):
    async with faults(down((10.0, 20.0)), breaker={"ramp_s": 10.0}) as f:
        answers = await traffic(f, 40, 45.0)
        assert {one.text for one in answers} == {"up"}
        assert max(one.trace.waited_s for one in answers) <= 2.5
        back = next(moment for moment in began(f, "a", 20.0))
        shares = [len(began(f, "a", back + second, back + second + 2)) for second in (0, 2, 4, 10)]
        assert shares[0] <= 40  # of 80: a fifth at first, and the five that always pass
        assert shares[0] < shares[1] < shares[2]
        assert shares[3] == 80


async def test_b06_a_turn_that_would_be_too_late_is_not_waited_for(faults):
    """Better a few at once than none in time."""
    groups = {"chat": {"deployments": ["a"], "breaker": {"failures": 1, "open_s": 5.0}, "retry": "none"}}
    async with faults([Fail(ServerError), Reply("back")], groups=groups) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(5.0)
        assert (await f.ask()).text == "back"
        answers = await f.many(200, deadline_s=1.0)
        assert {one.text for one in answers} == {"back"}
        assert now() <= 6.0
