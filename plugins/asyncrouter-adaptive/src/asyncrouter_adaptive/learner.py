"""The learner: draws a deployment for a scene, and learns what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from asyncrouter_adaptive.chances import chances_of_best
from asyncrouter_adaptive.changes import LEARNED_FROM, Changes, Freshness
from asyncrouter_adaptive.features import SIZE, Features
from asyncrouter_adaptive.guard import Guard
from asyncrouter_adaptive.model import Model
from asyncrouter_adaptive.pending import Decision, Outcome, Pending

Vector = NDArray[np.floating]
Floats = Sequence[float]

KEPT_OF_STALE = 0.1
"""What is kept, after an alarm, of the others that were hardly asked of late: they may have changed too, and what is
known of them would keep them from being asked.  Where the worst of nine models became the best, 0.73 of the gap was
known after 1,000 calls, and 0.54 when all of it was kept (``benchmarks/adaptive.py --change swap``)."""
OTHERS_KNOWN = 2.0
"""After an alarm the others are explored as after so many times ``explore`` outcomes, if more have been seen.  So 0.87
of the gap is known 1,000 calls after a fall and 0.63 earned; as after one and a half of it 0.85 and 0.52, after
``explore`` 0.84 and 0.43.  Where two change places 0.71 is known and 0.38 earned; 0.69 and 0.29, 0.71 and 0.17 (sixteen
seeds that no page reports).  To learn anew what led to the alarm earns more after these, but took the deployment for
bad in every kind where it had become so in one."""
MOST_SETTLED = 8
"""Overdue decisions that are learned at a call's end, lest one pays for a thousand."""


@attrs.frozen(kw_only=True)
class Settings:
    """The options that the learner itself needs; see :class:`~asyncrouter_adaptive.selector.AdaptiveSelector`."""

    tag: str
    window: float
    explore: float
    epsilon: float
    regret: float
    incumbent: str | None
    price_weight: float
    feedback_s: float
    pending: int


@attrs.frozen(kw_only=True)
class Choice:
    """The order, best first, the chosen one in front; the probability of that; and how it was chosen."""

    order: tuple[int, ...]
    propensity: float
    mean: float
    deviation: float
    how: str


class Learner:
    """All that one group, or one agent of it, has learned."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.features = Features(settings.tag)
        self.model = Model(SIZE, settings.window)
        self.pending = Pending(settings.pending)
        self.guard = Guard(settings.regret, settings.window)
        self._changes = Changes()
        self._freshness = Freshness()
        self._renewed: dict[str, float] = {}
        self._now = 0.0

    # ------------------------------------------------------------------ deciding

    def choose(
        self, request: str, x: Vector, names: Sequence[str], ready: Sequence[int], *, now: float, random: Random
    ) -> Choice:
        """Choose for *request* among *names*, of which the places *ready* may be explored; remember the decision."""
        self._now = max(self._now, now)
        means, deviations = self.model.scores(x, names)
        place = self._incumbent(names)
        expected = means[place]
        spreads = self._spreads(names, deviations)
        chances = self._chances(means, deviations, spreads, ready, place)
        chosen, how = self._draw(means, spreads, ready, random)
        if chances[chosen] <= 0.0 and chances[place] > 0.0:
            chosen, how = place, "the incumbent, as the guard demands"
        elif chances[chosen] <= 0.0:  # a draw from farther out than chances are counted
            chosen, how = chances.index(max(chances)), "likeliest"
        staked = self.guard.stake(means[chosen], 0.0 if chosen == place else deviations[chosen], expected)
        self.guard.enter(staked)
        for pushed_out in self.pending.add(request, Decision(x=x, expected=expected, staked=staked)):
            self._settle(pushed_out)
        order = sorted(range(len(names)), key=means.__getitem__, reverse=True)
        order.remove(chosen)
        return Choice(order=(chosen, *order), propensity=min(1.0, chances[chosen]), mean=means[chosen],
                      deviation=deviations[chosen], how=how)  # fmt: skip

    def _draw(self, means: Floats, spreads: Floats, ready: Sequence[int], random: Random) -> tuple[int, str]:
        if random.random() < self._settings.epsilon:
            return ready[random.randrange(len(ready))], "explored"
        drawn = [means[place] + spreads[place] * random.gauss(0.0, 1.0) for place in ready]
        return ready[drawn.index(max(drawn))], "drawn"

    def _chances(
        self, means: Floats, deviations: Floats, spreads: Floats, ready: Sequence[int], incumbent: int
    ) -> list[float]:
        """Return with what probability each is chosen: what the guard forbids goes to the incumbent."""
        epsilon = self._settings.epsilon
        best = chances_of_best([means[place] for place in ready], [spreads[place] for place in ready])
        chances = [0.0] * len(means)
        for place, chance in zip(ready, best, strict=True):
            permitted = place == incumbent or self.guard.permits(means[place], deviations[place], means[incumbent])
            chances[place if permitted else incumbent] += epsilon / len(best) + (1.0 - epsilon) * chance
        return chances

    def _incumbent(self, names: Sequence[str]) -> int:
        """Return the place of the incumbent: the named one, else the one with the best outcomes, else the first."""
        named = self._settings.incumbent
        if named is not None:
            return names.index(named) if named in names else 0
        tried = [place for place, name in enumerate(names) if self.model.pulls(name) >= LEARNED_FROM]
        return max(tried, key=lambda place: self.model.average(names[place]), default=0)

    def _spreads(self, names: Sequence[str], deviations: Floats) -> list[float]:
        """Return how wide each is drawn: less than its posterior, the longer it has been known.

        Thompson sampling with less exploration is as good in the long run and better before (Jin, Yang, Xiao and Xu
        2023); here it goes down as 1 / sqrt(1 + (outcomes / explore)^2).
        """
        outcomes, explore, renewed = self.model.outcomes, self._settings.explore, self._renewed
        return [
            deviation / math.sqrt(1.0 + ((outcomes - renewed.get(name, 0.0)) / explore) ** 2)
            for name, deviation in zip(names, deviations, strict=True)
        ]

    # ------------------------------------------------------------------ learning

    def ended(self, request: str, outcomes: Sequence[Outcome], answered: int | None) -> None:
        """Take note of what *request* came to; its answer's reward is learned when feedback comes, or is overdue."""
        decision = self.pending.find(request)
        if decision is None or decision.outcomes:
            return
        decision.outcomes, decision.answered = list(outcomes), answered
        for overdue in self.pending.overdue(self._now, MOST_SETTLED):
            self._settle(overdue)
        if answered is not None and self._settings.feedback_s > 0:
            self.pending.wait(request, decision, self._now + self._settings.feedback_s)
        else:
            self._settle(decision)

    def feedback(self, request: str, score: float) -> None:
        """Take *score* for the quality of the answer to *request*, also when its reward was learned without it."""
        decision = self.pending.find(request)
        if decision is None or decision.answered is None:
            return
        outcome = decision.outcomes[decision.answered]
        before, outcome.quality = outcome.quality, score
        self.pending.settle(request)
        if outcome.block is None:
            self._settle(decision)
        else:
            self.model.correct(decision.x, outcome.deployment, score - before, outcome.block)
            self.guard.enter(score - before)

    def settle_all(self) -> None:
        """Learn every reward that is still waited for, without its feedback."""
        for decision in self.pending.drain():
            self._settle(decision)

    def _settle(self, decision: Decision) -> None:
        """Learn what *decision* came to, and put its reward into the ledger in place of its stake."""
        self.guard.enter(-decision.staked)
        decision.staked = 0.0
        fresh = [outcome for outcome in decision.outcomes if outcome.block is None]
        if not fresh:
            return
        self.guard.tick()
        first = fresh[0]
        self.guard.enter(self._reward(first) - self.guard.floor(decision.expected))
        for outcome in fresh:
            self._learn(decision.x, outcome)

    def _learn(self, x: Vector, outcome: Outcome) -> None:
        name, reward = outcome.deployment, self._reward(outcome)
        if name not in self._renewed:
            self._renewed[name] = float(self.model.outcomes) if self.model.outcomes > LEARNED_FROM else 0.0
        if self.model.pulls(name) >= LEARNED_FROM:
            (mean,), _ = self.model.scores(x, [name])
            if self._changes.see(name, reward - mean):
                self._has_changed(name)
        self.model.learn(x, name, reward)
        self._freshness.note(name, self.model.outcomes)
        outcome.block = self.model.blocks

    def _has_changed(self, name: str) -> None:
        """Forget what is known of *name*, most of what is known of those that were hardly asked, and explore anew."""
        self.model.forget(name, 0.0)
        outcomes = float(self.model.outcomes)
        others = outcomes - OTHERS_KNOWN * self._settings.explore
        for one, renewed in self._renewed.items():
            self._renewed[one] = outcomes if one == name else max(renewed, others)
            if one != name and self._freshness.is_stale(one, self.model.outcomes):
                self.model.forget(one, KEPT_OF_STALE)

    def _reward(self, outcome: Outcome) -> float:
        return outcome.quality - self._settings.price_weight * outcome.cost

    # ------------------------------------------------------------------ state

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {
            "features": self.features.dump(),
            "model": self.model.dump(),
            "guard": self.guard.dump(),
            "changes": self._changes.dump(),
            "freshness": self._freshness.dump(),
            "renewed": dict(self._renewed),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped; raise ``ValueError``, ``KeyError`` or ``TypeError`` when it does not fit."""
        self.features.load(state["features"])
        self.model.load(state["model"])
        self.guard.load(state["guard"])
        self._changes.load(state["changes"])
        self._freshness.load(state["freshness"])
        self._renewed = {str(name): float(at) for name, at in state["renewed"].items()}
