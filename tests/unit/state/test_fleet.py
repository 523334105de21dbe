"""The shared truth about deployments: readiness, cooldowns, metrics."""

from __future__ import annotations

import random

import attrs
import pytest

from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import DeploymentState, Fleet
from asyncrouter.state.tallies import CALLS, NUMBERS
from asyncrouter.testing import run_virtual
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.deployments import BreakerSettings, Deployment, DeploymentView, FleetView, Limits
from asyncrouter.types.metrics import AgentMetrics, BreakerState, DeploymentMetrics, Metrics

DICE = random.Random(1)  # noqa: S311 - repeatable


@attrs.define
class ManualClock:
    moment: float = 100.0

    def now(self):
        return self.moment


def deployment(name="a", **fields):
    return Deployment(name=name, provider="fake", model="m", **fields)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def fleet(clock):
    return Fleet(clock, DICE, RetryBudget(0.2, 3))


def state_of(clock, **fields):
    return DeploymentState(deployment(**fields), clock, DICE)


# ------------------------------------------------------------------ one deployment


def test_a_new_deployment_is_ready(clock):
    state = state_of(clock)
    assert state.ready_at < clock.now()
    assert (state.in_flight, state.latency_s, state.output_tokens) == (0, None, None)
    assert state.limits is None
    assert state.metrics() == DeploymentMetrics()


def test_a_longer_cooldown_stays(clock):
    state = state_of(clock)
    state.cool_until(130.0)
    state.cool_until(110.0)
    assert state.ready_at == 130.0
    state.cool_until(140.0)
    assert state.ready_at == 140.0


def test_an_open_breaker_is_waited_for(clock):
    state = state_of(clock, breaker=BreakerSettings(failures=1, open_s=8.0))
    state.breaker.failed(state.breaker.admit(100.0), 100.0)
    assert 104.0 <= state.ready_at <= 108.0
    state.cool_until(200.0)
    assert state.ready_at == 200.0


@pytest.mark.parametrize("limits", [Limits(rpm=6), Limits(tpm=600), Limits(rpm=6, tpm=600)])
def test_limits_are_waited_for(clock, limits):
    state = state_of(clock, limits=limits)
    assert state.ready_at <= 100.0
    for _ in range(6):
        state.limits.reserve(110, 100.0)
    expected = {(6, None): 110.0, (None, 600): 106.0, (6, 600): 110.0}[limits.rpm, limits.tpm]
    assert state.ready_at == pytest.approx(expected)
    clock.moment = 150.0
    assert state.ready_at <= 150.0


@pytest.mark.parametrize("limits", [Limits(rpm=6), Limits(tpm=600)])
def test_limits_that_let_in_do_so_for_who_has_asked_the_clock_before(clock, limits):
    state = state_of(clock, limits=limits)
    clock.moment = 200.0
    now = clock.now()
    clock.moment = 200.000_001  # real time goes on between two looks at it
    assert (state.ready_at <= now, state.turn_at <= now) == (True, True)


def test_concurrency_alone_needs_no_bucket(clock):
    assert state_of(clock, limits=Limits(concurrency=2)).limits is None


def test_latency_and_length_are_smoothed(clock):
    state = state_of(clock)
    state.answered(1.0)
    state.answered(2.0)
    state.produced(100)
    state.produced(200)
    assert state.latency_s == pytest.approx(1.2)
    assert state.output_tokens == pytest.approx(120.0)
    assert state.tally.latency.count == 2


def test_metrics_hold_every_count(clock):
    state = state_of(clock, breaker=BreakerSettings(failures=1))
    for place in range(len(NUMBERS)):
        state.tally.counts[place] = place + 1
    state.tally.count_usage(0, 0, 0.5)
    state.in_flight = 12
    state.answered(2.0)
    state.breaker.failed(state.breaker.admit(0.0), 0.0)
    found = state.metrics()
    assert [getattr(found, name) for name in NUMBERS] == list(range(1, len(NUMBERS) + 1))
    assert found.cost_usd == 0.5
    assert (found.in_flight, found.breaker) == (12, BreakerState.OPEN)
    assert found.latency_s.p50 == pytest.approx(2.0, rel=0.06)


def test_its_first_word_is_told_once_to_all_that_wait_for_it(clock):
    async def main():
        state = state_of(clock)
        state.silence.began(100.0)
        state.silence.began(100.0)
        word = state.word()
        assert state.word() is word
        state.spoke(101.0)
        assert word.is_set()
        later = state.word()
        assert not later.is_set()
        state.answered(1.0)
        assert later.is_set()

    run_virtual(main)


# ------------------------------------------------------------------ the fleet


def test_they_read_as_what_strategies_are_promised(fleet):
    fleet.add([deployment()])
    view: FleetView = fleet
    one: DeploymentView = fleet["a"]
    assert view.now() == 100.0
    assert isinstance(view.random, random.Random)
    promised = {name for name in vars(DeploymentView) if not name.startswith("_")}
    assert promised == {"in_flight", "latency_s", "silent_s", "output_tokens", "ready_at"}
    assert all(hasattr(one, name) for name in promised)


def test_a_deployment_keeps_its_state(fleet):
    fleet.add([deployment("a"), deployment("b")])
    fleet["a"].cool_until(500.0)
    fleet.add([deployment("a"), deployment("c")])
    assert fleet["a"].ready_at == 500.0
    assert set(fleet.metrics().deployments) == {"a", "b", "c"}


def test_an_unknown_deployment_is_a_key_error(fleet):
    with pytest.raises(KeyError, match="zed"):
        _ = fleet["zed"]


def test_an_agents_tally_is_made_once(fleet):
    fleet.agent("recon").counts[CALLS] += 1
    fleet.agent("recon").counts[CALLS] += 1
    assert fleet.metrics().agents == {"recon": AgentMetrics(calls=2)}


def test_the_snapshot_does_not_follow(fleet):
    fleet.add([deployment()])
    fleet.total.counts[CALLS] = 3
    fleet.plugin_failures["judge"] += 1
    before = fleet.metrics()
    fleet.add([deployment("b")])
    fleet["a"].tally.counts[CALLS] += 1
    fleet.agent("recon").counts[CALLS] += 1
    fleet.total.counts[CALLS] += 1
    fleet.plugin_failures["judge"] += 1
    assert before == Metrics(
        total=AgentMetrics(calls=3), deployments={"a": DeploymentMetrics()}, agents={}, plugin_failures={"judge": 1}
    )


def test_two_fleets_share_nothing(clock):
    one, other = (Fleet(clock, DICE, RetryBudget(0.2, 3)) for _ in range(2))
    one.add([deployment()])
    one.agent("recon")
    assert other.metrics() == Metrics(total=AgentMetrics(), deployments={}, agents={}, plugin_failures={})


def test_a_request_counts_in_the_whole_and_for_its_agent(fleet):
    assert fleet.tallies(None) == (fleet.total,)
    assert fleet.tallies("recon") == (fleet.total, fleet.agent("recon"))


def test_a_rate_limit_sets_nothing_aside(clock):
    state = state_of(clock, limits=Limits(rpm=1))
    state.limits.reserve(0, 100.0)
    assert state.set_aside_until < 100.0 < state.ready_at
    state.cool_until(300.0)
    assert state.set_aside_until == 300.0


def test_slots_follow_the_limit_with_those_who_hold_and_wait(clock):
    state = state_of(clock, limits=Limits(concurrency=1))
    slots, woken = state.slots, []
    slots.take()
    for number in range(3):
        slots.line_up(float(number), lambda number=number: woken.append(number))
    state.adopt(deployment(limits=Limits(concurrency=2, queue=7)))
    assert state.slots is slots
    assert (slots.limit, slots.queue, woken) == (2, 7, [0])
    state.adopt(deployment(limits=Limits(rpm=5)))
    assert (state.slots, state.crowding, woken) == (None, 0.0, [0, 1, 2])
    state.adopt(deployment(limits=Limits(concurrency=3)))
    assert (state.slots.limit, state.slots.in_use) == (3, 0)


def test_what_is_left_upstream_closes_it_though_no_limit_is_configured(clock):
    state = state_of(clock)
    state.heed(Allowances(requests=Allowance(5, 20.0, 60)), 10, 100.0)
    assert state.limits is None
    state.heed(Allowances(requests=Allowance(0, 20.0)), 10, 100.0, closing=False)
    assert state.limits is None
    state.heed(Allowances(requests=Allowance(0, 20.0)), 10, 100.0)
    assert state.ready_at == 120.0
    assert state.set_aside_until < 100.0
    clock.moment = 130.0
    assert state.ready_at <= 130.0


def test_what_is_left_upstream_lowers_the_configured_limits(clock):
    state = state_of(clock, limits=Limits(rpm=60))
    state.heed(Allowances(requests=Allowance(1, 59.0, 60)), 10, 100.0)
    assert state.ready_at <= 100.0
    state.limits.reserve(0, 100.0)
    assert state.ready_at == 101.0
    state.heed(Allowances(requests=Allowance(0, 60.0)), 10, 100.0, closing=False)
    assert state.ready_at == 101.0


def test_an_adaptive_limit_begins_low_and_ends_at_the_configured_one(clock):
    state = state_of(clock, limits=Limits(adaptive=True))
    assert (state.slots.limit, state.slots.gradient.limit, state.metrics().slots) == (3, 3, 3)
    slots, woken = state.slots, []
    for number in range(3):
        slots.take()
        slots.line_up(float(number), lambda number=number: woken.append(number))
    state.adopt(deployment(limits=Limits(adaptive=True, concurrency=2)))
    assert (state.slots, slots.limit, woken) == (slots, 2, [])
    state.adopt(deployment(limits=Limits(concurrency=4)))
    assert (state.slots, slots.limit, slots.gradient, woken) == (slots, 4, None, [0])


def test_it_is_free_but_for_its_breaker(clock):
    state = state_of(clock, limits=Limits(rpm=1), breaker=BreakerSettings(failures=1))
    state.breaker.failed(state.breaker.admit(100.0), 100.0)
    assert state.ready_at > 100.0
    assert state.is_free_but_for_breaker(100.0)
    state.cool_until(101.0)
    assert not state.is_free_but_for_breaker(100.0)
    assert state.is_free_but_for_breaker(101.0)
    state.limits.reserve(0, 101.0)
    assert not state.is_free_but_for_breaker(101.0)
    assert state_of(clock).is_free_but_for_breaker(100.0)


async def test_news_wake_those_that_wait_and_are_told_once(fleet):
    fleet.tell_news()  # nobody waits
    news = fleet.news()
    assert fleet.news() is news
    fleet.tell_news()
    assert news.is_set()
    assert not fleet.news().is_set()


def test_ramps_go_by_the_requests_of_the_whole_fleet(fleet):
    fleet.add([deployment("a", breaker=BreakerSettings(failures=1, open_s=1.0)), deployment("b")])
    for _ in range(10_000):
        fleet.budget.first_attempt(100.0)
    breaker = fleet["a"].breaker
    breaker.failed(breaker.admit(100.0), 100.0)
    breaker.succeeded(breaker.admit(101.0), 101.0)
    herd = [breaker.take_turn(101.0) for _ in range(500)]
    assert 1.0 < herd[-1] - herd[0] < 2.0


def test_the_turn_of_a_deployment_is_the_latest_of_breaker_cooldown_and_line(clock):
    state = state_of(clock, limits=Limits(rpm=60))
    assert state.turn_at <= 100.0
    for _ in range(60):
        state.limits.reserve(0, 100.0)
    state.limits.line.join(0.0, lambda: None)
    assert (state.ready_at, state.turn_at, state.waiting, state.metrics().waiting) == (101.0, 102.0, 1, 1)
    state.cool_until(150.0)
    assert state.turn_at == 150.0
    assert state_of(clock).turn_at < 100.0
    assert state_of(clock).waiting == 0


def test_who_waits_for_his_turn_hears_of_other_limits(clock):
    state = state_of(clock, limits=Limits(rpm=1))
    called = []
    state.limits.line.join(0.0, lambda: called.append("called"))
    state.adopt(deployment(limits=Limits(rpm=1), weight=2.0))
    assert called == []
    state.adopt(deployment())
    assert (called, state.limits) == (["called"], None)


# ------------------------------------------------------------------ another configuration


def test_the_same_target_keeps_what_is_known_of_it(fleet):
    fleet.add([deployment()])
    state = fleet["a"]
    state.answered(0.5)
    state.cool_until(200.0)
    limits = Limits(rpm=60, concurrency=3)
    fleet.adopt([deployment(breaker=BreakerSettings(failures=2), limits=limits), deployment("b")])
    assert fleet["a"] is state
    assert (state.latency_s, state.cooldown_until) == (0.5, 200.0)
    assert state.breaker.settings.failures == 2
    assert (state.limits is None, state.slots.limit) == (False, 3)
    with pytest.raises(KeyError):
        fleet["b"]  # adopting adds nobody


def test_another_target_behind_the_name_begins_anew_but_for_its_counters(fleet):
    fleet.add([deployment(limits=Limits(rpm=60))])
    state = fleet["a"]
    state.tally.counts[CALLS] = 7
    state.answered(0.5)
    state.produced(9)
    state.cool_until(200.0)
    limits = state.limits
    fleet.adopt([attrs.evolve(state.deployment, model="another")])
    assert (state.latency_s, state.output_tokens, state.ready_at <= 100.0) == (None, None, True)
    assert (state.tally.counts[CALLS], state.limits) == (7, limits)


def test_limits_that_are_lifted_wake_who_waits_for_his_turn(fleet):
    fleet.add([deployment(limits=Limits(rpm=60))])
    woken = []
    fleet["a"].limits.line.join(100.0, lambda: woken.append("first"))
    fleet.adopt([deployment()])
    assert (fleet["a"].limits, woken) == (None, ["first"])


def test_who_is_configured_no_longer_is_forgotten(fleet):
    fleet.add([deployment(), deployment("b")])
    fleet.forget(["b", "never there"])
    assert list(fleet.metrics().deployments) == ["a"]
