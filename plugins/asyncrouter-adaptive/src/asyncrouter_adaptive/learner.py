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
from asyncrouter_adaptive.changes import LEARNED_FROM, Changes
from asyncrouter_adaptive.features import SIZE, Features
from asyncrouter_adaptive.guard import Guard
from asyncrouter_adaptive.model import Model
from asyncrouter_adaptive.pending import Decision, Outcome, Pending

Vector = NDArray[np.floating]

KEPT_AFTER_ALARM = 0.05
"""What is kept of a deployment that has changed."""
RENEWAL = 0.5
"""After an alarm the others are explored as after this share of ``explore``."""
MOST_SETTLED = 8
"""Overdue decisions that are learned at one time, lest one call pays for a thousand."""


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
        self._renewed: dict[str, float] = {}
        self._now = 0.0

    # ------------------------------------------------------------------ deciding

    def choose(
        self, request: str, x: Vector, names: Sequence[str], ready: Sequence[int], *, now: float, random: Random
    ) -> Choice:
        """Choose for *request* among *names*, of which the places *ready* may be explored; remember the decision."""
        self._pass_time(now)
        means, deviations = self.model.scores(x, names)
        place = self._incumbent(names)
        spreads = deviations * np.array([self._zeal(name) for name in names])
        chances = self._chances(means, deviations, spreads, ready, place)
        chosen, how = self._draw(means, spreads, ready, random)
        if chances[chosen] <= 0.0 and chances[place] > 0.0:
            chosen, how = place, "the incumbent, as the guard demands"
        elif chances[chosen] <= 0.0:  # a draw from farther out than chances are counted
            chosen, how = int(chances.argmax()), "likeliest"
        expected = float(means[place])
        doubt = 0.0 if chosen == place else float(deviations[chosen])
        staked = self.guard.stake(float(means[chosen]), doubt, expected)
        self.guard.enter(staked)
        decision = Decision(x=x, expected=expected, staked=staked)
        for pushed_out in self.pending.add(request, decision):
            self._settle(pushed_out)
        others = [int(one) for one in np.argsort(-means, kind="stable") if one != chosen]
        return Choice(order=(chosen, *others), propensity=min(1.0, float(chances[chosen])), mean=float(means[chosen]),
                      deviation=float(deviations[chosen]), how=how)  # fmt: skip

    def _draw(self, means: Vector, spreads: Vector, ready: Sequence[int], random: Random) -> tuple[int, str]:
        if random.random() < self._settings.epsilon:
            return ready[random.randrange(len(ready))], "explored"
        drawn = [means[place] + spreads[place] * random.gauss(0.0, 1.0) for place in ready]
        return ready[max(range(len(ready)), key=drawn.__getitem__)], "drawn"

    def _chances(self, means: Vector, deviations: Vector, spreads: Vector, ready: Sequence[int], incumbent: int
                 ) -> Vector:  # fmt: skip
        """Return with what probability each is chosen: what the guard forbids goes to the incumbent."""
        epsilon, places = self._settings.epsilon, list(ready)
        chances = np.zeros(len(means))
        chances[places] = epsilon / len(places) + (1.0 - epsilon) * chances_of_best(means[places], spreads[places])
        forbidden = ~self.guard.permits(means, deviations, float(means[incumbent]))
        forbidden[incumbent] = False
        chances[incumbent] += chances[forbidden].sum()
        chances[forbidden] = 0.0
        return chances

    def _incumbent(self, names: Sequence[str]) -> int:
        """Return the place of the incumbent: the named one, else the one with the best outcomes, else the first."""
        named = self._settings.incumbent
        if named is not None:
            return names.index(named) if named in names else 0
        tried = [place for place, name in enumerate(names) if self.model.pulls(name) >= LEARNED_FROM]
        return max(tried, key=lambda place: self.model.average(names[place]), default=0)

    def _zeal(self, name: str) -> float:
        """Return by how much of its posterior's spread *name* is explored: less, the longer it has been known.

        Thompson sampling with less exploration is as good in the long run and better before (Jin, Yang, Xiao and Xu
        2023); here it goes down as 1 / sqrt(1 + (outcomes / explore)^2).
        """
        since = self.model.outcomes - self._renewed.get(name, 0.0)
        return 1.0 / math.sqrt(1.0 + (since / self._settings.explore) ** 2)

    # ------------------------------------------------------------------ learning

    def ended(self, request: str, outcomes: Sequence[Outcome], answered: int | None) -> None:
        """Take note of what *request* came to; its answer's reward is learned when feedback comes, or is overdue."""
        decision = self.pending.find(request)
        if decision is None or decision.outcomes:
            return
        decision.outcomes, decision.answered = list(outcomes), answered
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

    def _pass_time(self, now: float) -> None:
        self._now = max(self._now, now)
        for decision in self.pending.overdue(self._now, MOST_SETTLED):
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
            if self._changes.see(name, reward - float(mean)):
                self._has_changed(name)
        self.model.learn(x, name, reward)
        outcome.block = self.model.blocks

    def _has_changed(self, name: str) -> None:
        """Forget most of what is known of *name*, and explore anew."""
        self.model.forget(name, KEPT_AFTER_ALARM)
        outcomes, others = float(self.model.outcomes), self._settings.explore * RENEWAL
        for one, renewed in self._renewed.items():
            self._renewed[one] = outcomes if one == name else max(renewed, outcomes - others)

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
            "renewed": dict(self._renewed),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped; raise ``ValueError``, ``KeyError`` or ``TypeError`` when it does not fit."""
        self.features.load(state["features"])
        self.model.load(state["model"])
        self.guard.load(state["guard"])
        self._changes.load(state["changes"])
        self._renewed = {str(name): float(at) for name, at in state["renewed"].items()}
