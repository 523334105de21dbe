"""Rows B01 to B06 and C05: flaps, probes, whole fleets down, storms, herds.  Virtual time throughout."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from routed import Nested

from asyncrouter import (
    AllAttemptsFailed,
    AsyncRouterError,
    ContentFiltered,
    InvalidRequest,
    NoDeploymentAvailable,
    RateLimited,
    Router,
    ServerError,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, Stream
from asyncrouter.types.metrics import BreakerState

ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}
PROBES_A_MINUTE = 9
"""Of one breaker: 5, 10, 20, 20, … seconds apart, each drawn from its half to its whole."""


def now():
    return asyncio.get_running_loop().time()


def down(*times, step=Fail(ServerError), names="a", up=Reply("up")):  # noqa: B008 - they are frozen
    """Return the script of an upstream of which *names* do *step* within each of *times*, and else *up*."""

    def script(_request, deployment, _number):
        fails = deployment.name in names and any(begin <= now() < end for begin, end in times)
        return step if fails else up

    return script


async def traffic(f, per_s, until, **arguments):
    """Make calls at an even rate until a moment; return their answers and errors when all have ended."""
    tasks = []
    while now() < until - 1e-9:
        tasks.append(asyncio.create_task(f.caught(f.ask(**arguments))))
        await asyncio.sleep(1 / per_s)
    return await asyncio.gather(*tasks)


def began(f, name, since=0.0, until=1e9):
    """Return when the calls to *name* began, of those in a span of time."""
    return [one.started_at for one in f.sent if one.deployment == name and since <= one.started_at < until]


# ---------------------------------------------------------------- B01: flaps


@pytest.mark.parametrize("seed", range(8))
async def test_b01_a_minutes_outage_is_served_by_the_fallback_and_the_primary_is_back_within_30_s(faults, seed):
    async with faults(down((30.0, 90.0)), seed=seed) as f:
        answers = await traffic(f, 5, 150.0)
        assert {answer.text for answer in answers} == {"up"}
        assert len(began(f, "a", 30.0, 90.0)) <= 5 + PROBES_A_MINUTE
        back = [moment for moment in began(f, "a", 90.0) if moment < 120.0]
        assert back
        assert len(began(f, "a", 129.9, 149.9)) == 100


async def test_b01_an_upstream_that_flaps_for_ten_minutes_costs_no_call(faults):
    outages = [(60.0 * number, 60.0 * number + 30.0) for number in range(1, 10)]
    async with faults(down(*outages)) as f:
        answers = await traffic(f, 2, 630.0)
        assert {answer.text for answer in answers} == {"up"}
        for begin, end in outages:
            assert len(began(f, "a", begin, end)) <= 5 + PROBES_A_MINUTE
            assert began(f, "a", end, end + 30.0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_b01_once_the_breaker_is_open_the_fallback_adds_no_time(faults, streamed):
    """Median added: 0 ms, exactly; what is set aside is passed over without a call and without a wait."""
    async with faults({"a": Slow(3.0, then=Fail(ServerError)), "b": Slow(0.2, then=Reply("b"))}) as f:
        took = []
        for _ in range(40):
            began_at = now()
            reply = (await f.read())[1] if streamed else await f.ask()
            took.append(now() - began_at)
            assert reply.text == "b"
        assert [round(seconds, 9) for seconds in took[:5]] == [3.2] * 5
        assert sorted(took)[len(took) // 2] == pytest.approx(0.2, abs=1e-9)
        probes = [seconds for seconds in took[5:] if seconds > 0.2 + 1e-9]
        assert len(probes) <= 3
        assert all(seconds == pytest.approx(3.2) for seconds in probes)


# ---------------------------------------------------------------- B02: probes


@pytest.mark.parametrize(
    "end", [Fail(InvalidRequest), Fail(ContentFiltered), Fail(RateLimited, retry_after_s=2.0), Hang(), "cancelled"]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_b02_whatever_ends_a_probe_gives_its_slot_back(faults, end, streamed):
    probe = Hang() if end == "cancelled" else end
    timeouts = {"attempt_s": 4.0, "first_token_s": 4.0}
    script = {"a": [Fail(ServerError), probe, Reply("back")], "b": Reply("b")}
    async with faults(script, breaker={"failures": 1, "open_s": 5.0}, timeouts=timeouts) as f:
        await f.ask()
        await asyncio.sleep(5.0)
        task = asyncio.create_task(f.caught(f.read() if streamed else f.ask()))
        if end == "cancelled":
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        assert not f.state("a").breaker.is_probing
        assert len(began(f, "a")) == 2
        await asyncio.sleep(f.state("a").ready_at - now() if f.state("a").ready_at > now() else 0.0)
        assert (await f.ask()).text == "back"
        assert f.state("a").breaker.state is BreakerState.CLOSED


async def test_b02_while_a_probe_hangs_the_others_are_served_elsewhere(faults):
    script = {"a": [Fail(ServerError), Hang(), Reply("back")], "b": Reply("b")}
    async with faults(script, breaker={"failures": 1, "open_s": 5.0}, timeouts={"attempt_s": 30.0}) as f:
        await f.ask()
        await asyncio.sleep(5.0)
        probing = f.begin()
        await asyncio.sleep(1.0)
        assert [one.text for one in await f.many(50)] == ["b"] * 50
        assert len(began(f, "a")) == 2
        assert (await probing).text == "b"
        assert now() == 35.0
        assert f.state("a").breaker.state is BreakerState.OPEN


async def test_b02_where_nothing_else_is_left_a_slow_probe_is_waited_for_to_its_end(faults):
    """A probe of 12 s, longer than any row of looks would have been: whoever waits is woken when it answers."""
    script = [Fail(ServerError), Slow(12.0, then=Reply("back")), Reply("back")]
    async with faults(script, groups={"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}}}) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(5.0)
        probing = f.begin()
        await asyncio.sleep(0.5)
        replies = await f.many(5, deadline_s=15.0)
        assert [reply.text for reply in replies] == ["back"] * 5
        assert now() == 17.0
        assert (await probing).text == "back"


# ---------------------------------------------------------------- B03: everything is set aside


async def test_b03_one_forced_probe_and_a_typed_error_for_the_others(faults):
    async with faults(Fail(ServerError), breaker={"failures": 1, "open_s": 20.0}, retry="none") as f:
        await f.fails(AllAttemptsFailed)
        assert f.called == ["a", "b"]
        f.provider.play(Slow(0.5, then=Fail(ServerError)))
        await asyncio.sleep(5.0)
        for one in await f.many(20, deadline_s=3.0):  # neither has rested for half of open_s
            assert type(one) is NoDeploymentAvailable
            assert 0.0 < one.retry_after_s <= 15.0
        assert now() == 5.0
        await asyncio.sleep(5.0)
        ends = await f.many(20, deadline_s=3.0)
        assert Counter(type(one) for one in ends) == {AllAttemptsFailed: 1, NoDeploymentAvailable: 19}
        assert f.timeline[2:] == [("a", 10.0), ("b", 10.5)]  # one after the other, by the same request
        assert now() <= 13.0
        assert type(await f.fails(NoDeploymentAvailable, deadline_s=3.0)) is NoDeploymentAvailable
        assert len(f.called) == 4


async def test_b03_a_fleet_that_is_back_is_found_out_before_the_breakers_time_is_over(faults):
    """The breakers' own times have grown to 20 s; the first call after half of open_s finds the fleet."""
    async with faults(down((0.0, 300.0), names="ab")) as f:
        await traffic(f, 1, 300.0, deadline_s=1.0)
        answers = await traffic(f, 10, 310.0, deadline_s=1.0)
        lost = [number for number, answer in enumerate(answers) if isinstance(answer, AsyncRouterError)]
        assert max(lost, default=0) <= 25  # 2.5 s
        assert len(began(f, "a", 60.0, 300.0)) + len(began(f, "b", 60.0, 300.0)) <= 240


async def test_b03_a_forced_probe_costs_its_request_nothing(faults):
    """Chosen to look after half of open_s, it fails, and waits on as if it had never looked."""
    script = [*[Fail(ServerError)] * 4, Reply("back")]
    async with faults(script, breaker={"failures": 1, "open_s": 8.0}, retry="none") as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(4.0)
        reply = await f.ask()
        assert reply.text == "back"
        assert [one.reason for one in reply.trace.attempts[:2]] == ["every deployment is set aside"] * 2
        assert (reply.trace.waits, len(reply.trace.attempts)) == (1, 3)


async def test_b03_who_waits_is_woken_when_one_is_back(faults):
    async with faults(
        {"a": [Fail(ServerError), Reply("a")], "b": Fail(ServerError)},
        breaker={"failures": 1, "open_s": 20.0, "open_cap_s": 20.0},
        retry="none",
    ) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(1.0)
        waiting = asyncio.create_task(f.many(3))
        await asyncio.sleep(9.0)
        assert (await f.ask()).text == "a"  # a forced probe
        assert [one.text for one in await waiting] == ["a"] * 3
        assert now() == 10.0


async def test_b03_nobody_waits_for_ever(faults):
    async with faults(Hang(), timeouts={"attempt_s": 5.0}, breaker={"failures": 1}) as f:
        ends = await f.many(50, deadline_s=40.0)
        assert all(isinstance(one, AsyncRouterError) for one in ends)
        assert now() <= 40.0


@pytest.mark.parametrize("unfit", ["tools", "cooldown", "rate"])
async def test_b03_a_pass_opens_nothing_but_a_breaker(faults, unfit):
    limits = {"rpm": 1} if unfit == "rate" else {}
    deployments = {"a": {"capabilities": [] if unfit == "tools" else ["tools"], "limits": limits}}
    async with faults(
        Fail(ServerError),
        groups=ALONE | {"chat": {**ALONE["chat"], "breaker": {"failures": 1}}},
        deployments=deployments,
        alive=False,
    ) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(4.0)
        if unfit == "cooldown":
            f.state("a").cool_until(50.0)
        tools = {"tools": [{"type": "function", "function": {"name": "f"}}]} if unfit == "tools" else {}
        await f.fails(NoDeploymentAvailable, deadline_s=0.5, **tools)
        assert len(f.called) == 1


@pytest.mark.parametrize("case", ["slow", "forced", "turn"])
async def test_b03_a_pass_that_finds_no_slot_is_no_endless_errand(faults, case):
    """The one slot is taken and its line is full: the request waits for something else to change, or gives up."""
    holder = Slow(6.0, then=Reply("held"))
    first = Slow(2.0, then=Reply("slow")) if case == "slow" else Fail(ServerError)
    breaker = {"failures": 1, "open_s": 8.0, "slow_s": 1.0 if case == "slow" else None}
    groups = {"chat": {**ALONE["chat"], "breaker": breaker}}
    limits = {"a": {"limits": {"concurrency": 1, "queue": 0}}}
    script = {"slow": [first, holder], "forced": [first, holder], "turn": [first, Reply("back"), holder]}[case]
    async with faults([*script, Reply("back")], groups=groups, deployments=limits) as f:
        if case == "slow":
            await f.ask()
        else:
            await f.fails(AllAttemptsFailed)
            await asyncio.sleep(8.0)
        if case == "turn":
            await f.ask()
            for _ in range(30):
                f.state("a").breaker.take_turn(now())
        holding = f.begin(deadline_s=0.9 if case == "turn" else 60.0)
        await asyncio.sleep(0.1)
        assert len(f.sent) == len(script)
        await f.fails(NoDeploymentAvailable, deadline_s=0.5)
        assert now() <= 9.0
        await f.caught(holding)


# ---------------------------------------------------------------- B04: cooldowns are never shortened


async def test_b04_a_second_cooldown_ends_no_earlier_than_the_first(faults):
    script = {
        "a": [
            Slow(1.0, then=Fail(RateLimited, retry_after_s=30.0)),
            Slow(2.0, then=Fail(RateLimited, retry_after_s=3.0)),
            Slow(3.0, then=Fail(RateLimited, retry_after_s=40.0)),
        ],
        "b": Reply("b"),
    }
    async with faults(script) as f:
        assert [one.text for one in await f.many(3)] == ["b"] * 3
        assert f.state("a").ready_at == 43.0
        f.state("a").cool_until(5.0)
        assert f.state("a").ready_at == 43.0


async def test_b04_a_cooldown_is_kept_by_those_whose_turn_has_come(faults):
    """They have waited for their turn while the deployment came back, and meanwhile it has asked for a pause."""
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}, "retry": {"use": "exponential"}}}
    script = [Fail(ServerError), *[Reply("back")] * 8, Fail(RateLimited, retry_after_s=20.0), Reply("back")]
    async with faults(script, groups=groups) as f:
        await f.fails(AllAttemptsFailed, deadline_s=0.5)
        await asyncio.sleep(5.0)
        await f.ask()
        answers = await f.many(30)
        assert {one.text for one in answers} == {"back"}
        paused_at = began(f, "a")[9]
        assert not began(f, "a", paused_at + 1e-6, paused_at + 20.0 - 1e-6)


async def test_b04_a_cooldown_outlasts_a_breaker_and_a_breaker_a_cooldown(faults):
    script = {
        "a": [Slow(1.0, then=Fail(RateLimited, retry_after_s=30.0)), Slow(2.0, then=Fail(ServerError))],
        "b": Reply("b"),
    }
    async with faults(script, breaker={"failures": 1}) as f:
        await f.many(2)
        assert f.state("a").breaker.state is BreakerState.OPEN
        assert f.state("a").ready_at == 31.0


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
        assert now() <= 5.0 + 1.0 + 5.0
        assert sum(one.trace.duration_s == 5.0 for one in answers) >= 7


async def test_b05_of_a_stream_the_first_output_is_news(faults):
    async with faults(
        {"a": Fail(ServerError), "b": Slow(1.0, then=Stream(["b"] * 20, pause_s=1.0))},
        breaker={"failures": 10**6, "min_calls": 10**6},
        timeouts={"first_token_s": 5.0},
    ) as f:
        assert {one.text for one in await f.many(100, streamed=True)} == {"b" * 20}
        assert now() <= 20.0 + 1.0 + 1.0


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


# ---------------------------------------------------------------- C05


@pytest.mark.parametrize("streamed", [False, True])
async def test_c05_a_thousand_callers_that_leave_a_half_open_breaker(faults, streamed):
    groups = {"chat": {**ALONE["chat"], "breaker": {"failures": 1, "open_s": 5.0}}}
    async with faults([Fail(ServerError), *[Hang()] * 50, Reply("back")], groups=groups) as f:
        await f.fails(AllAttemptsFailed)
        await asyncio.sleep(5.0)
        tasks = [asyncio.create_task(f.read() if streamed else f.ask()) for _ in range(1000)]
        await asyncio.sleep(0.5)
        assert f.state("a").breaker.is_probing
        assert len(f.sent) == 2
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert not f.state("a").breaker.is_probing
        f.provider.play(Reply("back"))
        assert (await f.ask()).text == "back"
        assert f.state("a").breaker.state is BreakerState.CLOSED


# ---------------------------------------------------------------- brown-outs

SELECTORS = [
    "priority",
    {"use": "weighted", "weights": {"a": 1, "b": 1}},
    "round_robin",
    "least_busy",
    "latency",
    "cost",
    {"use": "complexity", "threshold": 0.9},
]


@pytest.mark.parametrize("select", SELECTORS, ids=lambda one: one if isinstance(one, str) else one["use"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_brown_out_is_left_within_30_s_under_any_selector(faults, select, streamed):
    """Deployment a takes ten times as long from the 60th second on, and never fails."""

    def script(_request, deployment, _number):
        return Slow(10.0 if deployment.name == "a" and now() >= 60.0 else 1.0, then=Reply())

    async with faults(script, select=select, breaker={"slow_s": 3.0}) as f:
        tasks = []
        while now() < 120.0:
            tasks.append(asyncio.create_task(f.read() if streamed else f.ask()))
            await asyncio.sleep(0.2)
        await asyncio.gather(*tasks)
        if select != "latency":
            assert len(began(f, "a", 30.0, 60.0)) >= 30
        assert len(began(f, "a", 90.0, 120.0)) <= PROBES_A_MINUTE
        assert len(began(f, "b", 90.0, 120.0)) >= 140


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("select", ["priority", "round_robin"])
async def test_an_upstream_that_hangs_counts_as_slow_before_its_calls_end(faults, select, streamed):
    """Deployment a never answers from the 60th second on: its calls are slow after three seconds, not when they end."""

    def script(_request, deployment, _number):
        return Hang() if deployment.name == "a" and now() >= 60.0 else Slow(1.0, then=Reply())

    async with faults(script, select=select, breaker={"slow_s": 3.0}) as f:
        tasks = []
        while now() < 100.0:
            tasks.append(asyncio.create_task(f.caught(f.read() if streamed else f.ask())))
            await asyncio.sleep(0.2)
        answers = await asyncio.gather(*tasks)
        assert not [one for one in answers if isinstance(one, AsyncRouterError)]
        assert len(began(f, "a", 60.0, 63.5)) >= 5
        assert len(began(f, "a", 64.5, 100.0)) <= PROBES_A_MINUTE
        assert len(began(f, "b", 64.5, 100.0)) >= 160


async def test_a_brown_out_of_everything_costs_no_call(faults):
    """Where all that is left is slow, the slow ones are asked."""

    def script(_request, _deployment, _number):
        return Slow(10.0 if now() >= 60.0 else 1.0, then=Reply("slow but sure"))

    async with faults(script, select="round_robin", breaker={"slow_s": 3.0}) as f:
        answers = await traffic(f, 5, 120.0)
        assert {one.text for one in answers} == {"slow but sure"}
        assert max(one.trace.duration_s for one in answers) <= 10.0 + 1e-6
        assert f.state("a").breaker.passable
        assert f.state("b").breaker.passable
