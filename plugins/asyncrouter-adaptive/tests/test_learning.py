"""It learns which deployment serves which kind, notices changes, and keeps its promises while it does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from asyncrouter_adaptive import AdaptiveSelector
from asyncrouter_adaptive.chances import chances_of_best
from asyncrouter_adaptive.learner import KEPT_OF_STALE, OTHERS_KNOWN
from asyncrouter_adaptive.model import BLOCK, Model

from asyncrouter import Deployment, Estimate, Request, Response
from asyncrouter.testing import FakeFleet
from asyncrouter.testing.fleet import FakeView
from asyncrouter.types.events import FeedbackGiven, RequestFinished
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

DEPLOYMENTS = tuple(Deployment(name=name, provider="p", model=name) for name in "abc")
TEXTS = {"code": "Write a function def f(x): return x", "prose": "who was the first emperor of rome"}
QUALITY = {"code": {"a": 0.9, "b": 0.3, "c": 0.5}, "prose": {"a": 0.3, "b": 0.9, "c": 0.5}}


class Traffic:
    """Calls of two kinds that the selector serves, with chance of its own."""

    texts = TEXTS

    def __init__(self, seed=0, *, named=True, quality=QUALITY, vectors=None, **options):
        self.selector = AdaptiveSelector(**{"feedback_s": 0.0, "explore": 200, "regret": 1, **options})
        self.fleet = FakeFleet(seed=seed)
        self.chance = random.Random(seed)  # noqa: S311 - repeatable
        self.named, self.vectors = named, vectors or {}
        self.quality = quality
        self.number = 0
        self.rewards = []

    def ask(self, kind, **fields):
        self.number += 1
        metadata = {"kind": kind} if self.named else {}
        messages = [{"role": "user", "content": f"{self.texts[kind]} {self.number}"}]
        request = Request(messages=messages, metadata=metadata, id=str(self.number), **fields)
        estimate = Estimate(complexity=0.5, input_tokens=20, features=self.vectors.get(kind, ()))
        return request, self.selector.asyncrouter_select(request, estimate, DEPLOYMENTS, self.fleet)

    def end(self, request, *attempts, answered_by=None):
        response = answered_by and Response(raw={}, deployment=answered_by, model="m")
        trace = RouteTrace(request_id=request.id, attempts=attempts)
        self.selector.asyncrouter_observe(RequestFinished(request, trace, response or None))
        return response, trace

    def serve(self, count):
        chosen = []
        for _ in range(count):
            kind = self.chance.choice(("code", "prose"))
            request, selection = self.ask(kind)
            name = selection.deployments[0].name
            good = self.chance.random() < self.quality[kind][name]
            self.end(request, attempt(name, score=float(good)), answered_by=name)
            chosen.append(self.quality[kind][name])
        return chosen


def attempt(name, outcome=Outcome.OK, **fields):
    return Attempt(number=1, deployment=name, group="chat", kind=AttemptKind.FIRST, outcome=outcome, **fields)


@pytest.mark.parametrize("named", [True, False])
def test_each_kind_gets_the_deployment_that_serves_it(named):
    traffic = Traffic(named=named)
    traffic.serve(600)
    later = traffic.serve(200)
    assert sum(later) / len(later) > 0.85  # the best fixed deployment has 0.6


def test_the_same_seed_repeats_a_run():
    assert Traffic(3).serve(100) == Traffic(3).serve(100)
    assert Traffic(3).serve(100) != Traffic(4).serve(100)


def test_a_deployment_that_falls_is_left_and_one_that_rises_is_found():
    traffic = Traffic()
    traffic.serve(600)
    traffic.quality = {"code": {"a": 0.1, "b": 0.3, "c": 0.9}, "prose": {"a": 0.9, "b": 0.1, "c": 0.5}}
    traffic.serve(500)
    later = traffic.serve(200)
    assert sum(later) / len(later) > 0.8


def test_what_an_estimator_tells_of_the_kind_is_as_good_as_its_name():
    traffic = Traffic(named=False, vectors={"code": (0.9, 0.1), "prose": (0.1, 0.9)})
    traffic.texts = dict.fromkeys(TEXTS, "the same words for both")
    traffic.serve(600)
    later = traffic.serve(200)
    assert sum(later) / len(later) > 0.85


def test_an_alarm_forgets_the_one_and_those_of_whom_nobody_would_have_noticed():
    traffic = Traffic(explore=200)
    learner = traffic.selector.store.learner("")
    model = learner.model

    def answered(name, score, count=1):
        for _ in range(count):
            request, _ = traffic.ask("code")
            traffic.end(request, attempt(name, score=score), answered_by=name)

    answered("a", 0.5, 100)
    for _ in range(100):
        answered("b", 0.5, 9)
        answered("c", 0.5)
    before = {name: model.pulls(name) for name in "abc"}
    while model.pulls("b") > 1:  # until the alarm
        answered("b", 0.0)
    assert model.pulls("a") == pytest.approx(before["a"] * KEPT_OF_STALE, rel=0.1)
    assert model.pulls("c") == pytest.approx(before["c"], rel=0.1)
    assert model.outcomes < 1000 + 100 + 60
    others = model.outcomes - 1 - OTHERS_KNOWN * 200
    assert learner._renewed == {"b": model.outcomes - 1, "a": others, "c": others}


def test_epsilon_is_a_floor_for_every_ready_candidate():
    traffic = Traffic(epsilon=0.3)
    traffic.serve(300)
    seen = [traffic.ask("code")[1] for _ in range(900)]
    first = [selection.deployments[0].name for selection in seen]
    assert first.count("b") / len(first) == pytest.approx(0.1, abs=0.04)
    assert min(selection.propensity for selection in seen) >= 0.1 - 1e-9


def test_those_that_are_not_ready_are_not_explored():
    traffic = Traffic(epsilon=1.0)
    traffic.fleet = FakeFleet({"b": FakeView(ready_at=1e9)})
    assert {traffic.ask("code")[1].deployments[0].name for _ in range(100)} == {"a", "c"}


def test_a_draw_against_all_odds_goes_to_the_likeliest():
    """Beyond the standard deviations that chances count with, while the incumbent is not ready to take it."""
    traffic = Traffic(quality={kind: {"a": 0.9, "b": 0.0, "c": 0.0} for kind in TEXTS}, incumbent="c", epsilon=0.0)
    traffic.serve(600)
    traffic.fleet = FakeFleet({"c": FakeView(ready_at=1e9)})
    drawn = iter([0.0, 1000.0])  # of "a" and of "b"
    traffic.fleet.random.gauss = lambda *_: next(drawn)
    selection = traffic.ask("code")[1]
    assert (selection.deployments[0].name, selection.propensity) == ("a", pytest.approx(1.0))
    assert selection.reason.startswith("likeliest")


def test_propensities_are_true_after_learning():
    traffic = Traffic(epsilon=0.05, explore=1e9)
    traffic.serve(150)
    seen = [traffic.ask("prose")[1] for _ in range(1200)]
    for name in "abc":
        mine = [one.propensity for one in seen if one.deployments[0].name == name]
        assert len(mine) / len(seen) == pytest.approx(mine[0], abs=0.05)


def test_chances_are_those_of_many_draws():
    chance = np.random.default_rng(1)
    for count in (1, 2, 5, 12):
        means, deviations = chance.normal(0.5, 0.1, count), chance.uniform(0.001, 0.2, count)
        drawn = (means + deviations * chance.standard_normal((40_000, count))).argmax(axis=1)
        expected = np.bincount(drawn, minlength=count) / 40_000
        assert chances_of_best(means, deviations) == pytest.approx(expected, abs=0.02)
    assert chances_of_best([0.3, 0.3], [0.0, 0.0]) == pytest.approx([0.5, 0.5])
    assert chances_of_best([0.3, 0.3, 0.3], [0.0, 0.0, 0.0]) == pytest.approx([1 / 3] * 3)
    assert chances_of_best([0.5, 0.2], [0.3, 0.4]) == pytest.approx([0.7257, 0.2743], abs=1e-4)  # 0.6 deviations apart


def test_the_guard_bounds_what_learning_costs():
    quality = {kind: {"a": 0.9, "b": 0.0, "c": 0.0} for kind in TEXTS}
    losses = {}
    for regret in (0.05, 1):
        traffic = Traffic(quality=quality, regret=regret, incumbent="a", epsilon=0.3)
        losses[regret] = [0.9 - reward for reward in traffic.serve(800)]
        if regret < 1:
            worst = np.cumsum(losses[regret]) - 0.05 * 0.9 * np.arange(1, 801)
    assert worst.max() < 20  # while it does not know yet what the incumbent brings, and by chance
    assert sum(losses[0.05]) < 0.08 * 0.9 * 800
    assert sum(losses[1]) > 0.15 * 0.9 * 800


def test_what_the_guard_forbids_is_the_incumbents_with_its_propensity():
    traffic = Traffic(quality={k: {"a": 0.9, "b": 0.0, "c": 0.0} for k in TEXTS}, regret=0, incumbent="a", epsilon=1.0)
    traffic.serve(300)
    selection = traffic.ask("code")[1]
    assert (selection.deployments[0].name, selection.propensity) == ("a", 1.0)
    assert "as the guard demands" in selection.reason or selection.reason.startswith("explored")


def test_decisions_that_come_to_nothing_leave_no_stake():
    traffic = Traffic(regret=0.1, pending=10)
    traffic.serve(50)
    guard = traffic.selector.store.learner("").guard
    before = guard.surplus
    requests = [traffic.ask("code")[0] for _ in range(5)]
    assert guard.surplus != before
    for request in requests[:2]:
        traffic.end(request)  # its caller left
    for _ in range(20):
        traffic.ask("code")  # explained, and never made
    staked = [traffic.selector.store.learner("").pending.find(str(traffic.number - back)).staked for back in range(10)]
    assert guard.surplus == pytest.approx(before + sum(staked))


# ------------------------------------------------------------------------------------------------ rewards


def learned(traffic, name):
    return traffic.selector.store.learner("").model.average(name)


def test_every_attempt_tells_of_its_deployment():
    traffic = Traffic()
    request, _ = traffic.ask("code")
    attempts = [
        attempt("a", Outcome.FAILED),
        attempt("b", Outcome.REJECTED, score=0.3),
        attempt("c", Outcome.CANCELLED),
    ]
    traffic.end(request, *attempts, attempt("c"), answered_by="c")
    assert [learned(traffic, name) for name in "abc"] == [0.0, 0.3, 1.0]


def test_a_reward_is_quality_less_the_weight_of_its_cost():
    traffic = Traffic(price_weight=10)
    request, _ = traffic.ask("code")
    traffic.end(request, attempt("a", score=0.8, cost_usd=0.02), answered_by="a")
    assert learned(traffic, "a") == pytest.approx(0.6)


def test_feedback_is_waited_for_and_the_implicit_reward_comes_in_its_place():
    traffic = Traffic(feedback_s=30.0)
    request, _ = traffic.ask("code")
    response, trace = traffic.end(request, attempt("a"), answered_by="a")
    model = traffic.selector.store.learner("").model
    assert model.outcomes == 0
    traffic.fleet = FakeFleet(now=31.0)
    later, _ = traffic.ask("code")
    assert model.outcomes == 0  # nobody's decision waits for it
    traffic.end(later)
    assert (model.outcomes, learned(traffic, "a")) == (1, 1.0)
    late = Response(raw={}, deployment="a", model="m", trace=trace)
    traffic.selector.asyncrouter_observe(FeedbackGiven(late, 0.25))
    assert (model.outcomes, learned(traffic, "a")) == (1, pytest.approx(0.25))
    assert response is not None


def test_feedback_in_time_is_the_reward():
    traffic = Traffic(feedback_s=30.0)
    request, _ = traffic.ask("code")
    _, trace = traffic.end(request, attempt("a", score=0.9), answered_by="a")
    for _ in range(2):
        traffic.selector.asyncrouter_observe(
            FeedbackGiven(Response(raw={}, deployment="a", model="m", trace=trace), 0.4)
        )
    assert learned(traffic, "a") == pytest.approx(0.4)
    assert traffic.selector.store.learner("").model.outcomes == 1


def test_late_feedback_counts_as_much_as_its_outcome_does_by_then():
    one, other = Model(3, 200), Model(3, 200)
    x = np.array([1.0, 0.5, 0.0])
    one.learn(x, "a", 1.0)
    other.learn(x, "a", 0.2)
    for _ in range(3 * BLOCK):
        for model in (one, other):
            model.learn(x[::-1].copy(), "b", 0.5)
    one.correct(x, "a", -0.8, 0)
    assert one.scores(x, ["a", "b"])[0] == pytest.approx(other.scores(x, ["a", "b"])[0])


def test_the_table_is_bounded_and_strangers_are_ignored():
    traffic = Traffic(pending=5, feedback_s=30.0)
    for _ in range(20):
        request, _ = traffic.ask("code")
        traffic.end(request, attempt("a"), answered_by="a")
    learner = traffic.selector.store.learner("")
    assert len(learner.pending) == 5
    assert learner.model.outcomes == 15  # what made room was learned
    gone = Response(raw={}, deployment="a", model="m", trace=RouteTrace(request_id="1"))
    traffic.selector.asyncrouter_observe(FeedbackGiven(gone, 0.0))
    assert learned(traffic, "a") == 1.0
