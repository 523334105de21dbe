"""The simulated calls of ``adaptive.py``: recorded outcomes in place of models, the selector's own hooks."""

from __future__ import annotations

import random
from time import perf_counter_ns
from typing import Any

import attrs
import numpy as np
from asyncrouter_adaptive import AdaptiveSelector

from asyncrouter.lab.estimates import NamedEstimator
from asyncrouter.lab.outcomes import Outcomes
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.events import RequestFinished
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, AttemptKind, RouteTrace
from asyncrouter.types.trace import Outcome as Ended

GIVEN = 0.8
"""The share of the rows that calls are drawn from; what is known is looked at over the others."""
CHECK = 250
"""Calls between two looks at what is known."""
LOOKED_AT = 400
"""Rows of those never given that each look takes."""
WINDOW = 500


@attrs.frozen(eq=False)
class World:
    """Rows and models.  *values*: scores less what the call is worth; *means*: those of each category."""

    name: str
    models: tuple[str, ...]
    requests: tuple[Request, ...]
    named: tuple[Request, ...]
    estimates: tuple[Estimate, ...]
    scores: np.ndarray
    costs: np.ndarray
    price_weight: float
    category: np.ndarray
    means: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, outcomes: Outcomes, name: str, cost: float, estimator: NamedEstimator) -> World:
        """Return the world of *outcomes*: the models whose scores are all known.

        *cost*: what the mean call of the dearest model is worth, in points of quality.  *estimator*: whose estimates
        the selector gets.
        """
        known = np.flatnonzero(~np.isnan(outcomes.scores).any(axis=0))
        pair = {outcomes.strong, outcomes.weak} & {"strong", "weak"} if len(known) > 2 else set()
        known = np.array([one for one in known if outcomes.models[one] not in pair])
        scores = outcomes.scores[:, known]
        costs = np.zeros_like(scores)
        if cost and outcomes.costs is None:
            raise SystemExit(f"{name}: no prices are known; leave --cost out")
        if cost:
            costs = np.nan_to_num(outcomes.costs[:, known])
        weight = cost / float(costs.mean(axis=0).max()) if cost else 0.0
        categories, category = np.unique(np.array(outcomes.groups), return_inverse=True)
        values = scores - weight * costs
        means = np.array([values[category == one].mean(axis=0) for one in range(len(categories))])
        requests = tuple(Request(messages=[{"role": "user", "content": text}]) for text in outcomes.prompts)
        named = tuple(attrs.evolve(request, metadata={"kind": str(group)})
                      for request, group in zip(requests, outcomes.groups, strict=True))  # fmt: skip
        return cls(
            name=name,
            models=tuple(outcomes.models[one] for one in known),
            requests=requests,
            named=named,
            estimates=tuple(estimator.estimates(outcomes.prompts)),
            scores=scores,
            costs=costs,
            price_weight=weight,
            category=category,
            means=means,
            shares=np.bincount(category) / len(category),
        )

    @property
    def best(self) -> int:
        return int((self.shares @ self.means).argmax())

    @property
    def worst(self) -> int:
        return int((self.shares @ self.means).argmin())

    def changed(self, change: str) -> np.ndarray:
        """Return whose outcomes each model has after the change: "fall", the best's are as bad as the worst's, or
        "swap", and the worst's are as good as the best's were."""
        order = np.arange(len(self.models))
        order[self.best] = self.worst
        if change == "swap":
            order[self.worst] = self.best
        return order


@attrs.define(eq=False)
class Trial:
    """One seed.

    ``known`` and ``earned`` are shares of the gap, after so many calls; ``regret`` is cumulative, of each call, against
    the best model of its category; ``fixed_regret`` that of the best fixed model; ``decisions_us`` what each decision
    took, in microseconds.
    """

    world: str
    kinds: str
    seed: int
    gap: float
    known: list[tuple[int, float]] = attrs.field(factory=list)
    earned: list[tuple[int, float]] = attrs.field(factory=list)
    regret: np.ndarray = attrs.field(factory=lambda: np.zeros(0))
    fixed_regret: np.ndarray = attrs.field(factory=lambda: np.zeros(0))
    decisions_us: list[float] = attrs.field(factory=list)


@attrs.frozen
class Idle:
    """A fleet of which every deployment is ready: what the selector sees of the state."""

    random: random.Random
    ready_at: float = 0.0

    def now(self) -> float:
        return 0.0

    def __getitem__(self, deployment: str) -> Idle:
        return self


@attrs.frozen(kw_only=True)
class Plan:
    """*calls* calls, then *change*, and *after* more; *some*: the share that names its kind where some do.

    *options* of the selector beside those that the world gives.
    """

    calls: int
    after: int
    change: str
    some: float
    options: dict[str, Any]


def play(world: World, plan: Plan, seed: int, kinds: str) -> Trial:
    """Play *plan*; kinds of calls are "named", "found" from their texts, or "some" of them named."""
    calls, after = plan.calls, plan.after
    share = {"named": 1.0, "found": 0.0, "some": plan.some}[kinds]
    names = np.random.default_rng([seed, 1]).random(calls + after) < share
    chance = np.random.default_rng(seed)
    rows = chance.permutation(len(world.requests))
    border = int(GIVEN * len(rows))
    given, kept = rows[:border], rows[border:]
    drawn = chance.choice(given, calls + after)
    fleet = Idle(random.Random(seed))  # noqa: S311 - repeatable
    deployments = tuple(Deployment(name=name, provider="recorded", model=name) for name in world.models)
    given_options = {"price_weight": world.price_weight, "feedback_s": 0.0, "incumbent": world.models[world.best]}
    selector = AdaptiveSelector(**{**given_options, **plan.options})
    requests = world.named if kinds == "named" else world.requests
    means, order = world.means, np.arange(len(world.models))
    gap = float(world.shares @ means.max(axis=1) - (world.shares @ means).max())
    trial = Trial(world.name, kinds, seed, gap)
    earned, oracle, fixed = [], [], []
    for number, row in enumerate(drawn, start=1):
        if number == calls + 1:
            order = world.changed(plan.change)
            means = world.means[:, order]
        asked = world.named if names[number - 1] else world.requests
        request = attrs.evolve(asked[row], id=str(number))
        began = perf_counter_ns()
        first = selector.asyncrouter_select(request, world.estimates[row], deployments, fleet).deployments[0]
        trial.decisions_us.append((perf_counter_ns() - began) / 1e3)
        place = world.models.index(first.name)
        selector.asyncrouter_observe(_ended(request, first, world, row, order[place]))
        of_kind = means[world.category[row]]
        earned.append(of_kind[place])
        oracle.append(of_kind.max())
        fixed.append(of_kind[int((world.shares @ means).argmax())])
        if number % CHECK == 0:
            looked_at = chance.choice(kept, min(LOOKED_AT, len(kept)), replace=False)
            trial.known.append((number, known_share(selector, world, requests, looked_at, means)))
            last = slice(max(-WINDOW, calls - number) if number > calls else -WINDOW, None)
            trial.earned.append((number, _share(earned[last], fixed[last], oracle[last])))
    trial.regret = np.cumsum(np.array(oracle) - np.array(earned))
    trial.fixed_regret = np.cumsum(np.array(oracle) - np.array(fixed))
    return trial


def known_share(
    selector: AdaptiveSelector, world: World, requests: tuple[Request, ...], rows: np.ndarray, means: np.ndarray
) -> float:
    """Return the share of the gap that the expectations of *selector* reach on *rows*."""
    learner = selector.store.learner("")
    chosen = [
        int(np.argmax(learner.model.scores(learner.features.of(requests[row], world.estimates[row]), world.models)[0]))
        for row in rows
    ]
    of_kind = means[world.category[rows]]
    best = int((world.shares @ means).argmax())
    return _share(of_kind[np.arange(len(rows)), chosen], of_kind[:, best], of_kind.max(axis=1))


def _share(reached: object, fixed: object, oracle: object) -> float:
    gap = float(np.sum(oracle) - np.sum(fixed))
    return float(np.sum(reached) - np.sum(fixed)) / gap if gap else 0.0


def _ended(request: Request, chosen: Deployment, world: World, row: int, model: int) -> RequestFinished:
    """Return the end of a call that *chosen* answered as well as *model* did in the recording, and as a judge says."""
    attempt = Attempt(number=1, deployment=chosen.name, group="chat", kind=AttemptKind.FIRST, outcome=Ended.OK,
                      score=float(world.scores[row, model]), cost_usd=float(world.costs[row, model]))  # fmt: skip
    response = Response(raw=EMPTY, deployment=chosen.name, model=chosen.model)
    return RequestFinished(request, RouteTrace(request_id=request.id, attempts=(attempt,)), response)
