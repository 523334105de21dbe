"""What a call will take: tokens of output, of reasoning, and cached ones, learned for each deployment of a group.

Each is a running mean that starts at a prior and is drawn to it by the weight of a few calls; a deployment's own mean
is drawn to that of all in the group.  The oldest calls fade once a mean weighs :data:`MOST_CALLS`.

Where the estimator foretells lengths, what is learned is an answer's length at a usual forecast: twice the forecast,
twice the length.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import Request
from asyncrouter.types.response import Usage
from asyncrouter.types.tokens import requested_output_tokens

PRIOR_CALLS = 5.0
"""How many calls the prior of a mean weighs."""
MOST_CALLS = 500.0
"""What a mean weighs at most: it then follows a change within some hundreds of calls."""
DEVIATIONS = 2.0
"""A call is held to take so many standard deviations more output than the mean when money is set aside for it."""
MOST_SESSIONS = 10_000
"""Sessions whose last deployment is remembered; the one that was silent for the longest time makes room."""


class RunningMean:
    """A mean and a mean of squares of what was learned; ``weight`` is in calls, the prior's not among them."""

    __slots__ = ("mean", "square", "weight")

    def __init__(self) -> None:
        self.mean = 0.0
        self.square = 0.0
        self.weight = 0.0

    def learn(self, value: float) -> None:
        """Add one value."""
        self.weight = min(self.weight + 1.0, MOST_CALLS)
        self.mean += (value - self.mean) / self.weight
        self.square += (value * value - self.square) / self.weight

    def drawn_to(self, prior: float) -> float:
        """Return the mean, drawn to *prior*."""
        return (self.weight * self.mean + PRIOR_CALLS * prior) / (self.weight + PRIOR_CALLS)

    def square_drawn_to(self, prior: float) -> float:
        """Return the mean of the squares, drawn to *prior*."""
        return (self.weight * self.square + PRIOR_CALLS * prior) / (self.weight + PRIOR_CALLS)


class _Habits:
    """What the answers of one deployment, or of a whole group, take."""

    __slots__ = ("cached", "output", "reasoning", "session_cached")

    def __init__(self) -> None:
        self.output = RunningMean()
        self.reasoning = RunningMean()
        self.cached = RunningMean()
        self.session_cached = RunningMean()


class Forecast:
    """The costs to expect; ``output_tokens`` is the prior of an answer's length."""

    def __init__(self, output_tokens: int) -> None:
        self._prior = float(output_tokens)
        self._foretold = RunningMean()
        self._all = _Habits()
        self._habits: dict[str, _Habits] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()

    def cost_usd(self, deployment: Deployment, request: Request, estimate: Estimate, *, most: bool = False) -> float:
        """Return the cost to expect in US dollars; with *most*, what it is unlikely to exceed.

        ``math.inf`` without a price.
        """
        if deployment.price is None:
            return math.inf
        habits = self._habits.get(deployment.name) or self._all
        mean = habits.output.drawn_to(self._group_mean())
        output = mean
        if most:
            square = habits.output.square_drawn_to(self._group_square())
            output = mean + DEVIATIONS * math.sqrt(max(square - mean * mean, 0.0))
        output *= self._stretch(request, estimate)
        bound = requested_output_tokens(request)
        if bound is not None:
            output = min(output, bound)
        reasoning = output * habits.reasoning.drawn_to(self._all.reasoning.mean)
        cached = 0.0 if most else estimate.input_tokens * self._cached_share(habits, request, deployment.name)
        return deployment.price.cost_usd(estimate.input_tokens, output, cached, reasoning)

    def learn(self, deployment: str, request: Request, estimate: Estimate | None, usage: Usage) -> None:
        """Take to heart what an answer of *deployment* to *request* took."""
        habits, session = self._habits.setdefault(deployment, _Habits()), request.session
        stretch = 1.0 if estimate is None else self._stretch(request, estimate)
        if estimate is not None and (tokens := _foretold(request, estimate)) is not None:
            self._foretold.learn(tokens)
        goes_on = session is not None and self._sessions.get(session) == deployment
        for one in (habits, self._all):
            one.output.learn(usage.output_tokens / stretch)
            if usage.output_tokens:
                one.reasoning.learn(min(usage.reasoning_tokens / usage.output_tokens, 1.0))
            if usage.input_tokens and not usage.estimated:
                cached = min(usage.cached_input_tokens / usage.input_tokens, 1.0)
                (one.session_cached if goes_on else one.cached).learn(cached)
        if session is not None:
            self._sessions[session] = deployment
            self._sessions.move_to_end(session)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)

    def _cached_share(self, habits: _Habits, request: Request, deployment: str) -> float:
        """Return the share of the input to be read from the upstream's prompt cache: more where a session goes on."""
        goes_on = request.session is not None and self._sessions.get(request.session) == deployment
        if goes_on:
            return habits.session_cached.drawn_to(self._all.session_cached.mean)
        return habits.cached.drawn_to(self._all.cached.mean)

    def _stretch(self, request: Request, estimate: Estimate) -> float:
        """Return how many times a usual length is foretold of the answer; 1 where nothing is."""
        tokens = _foretold(request, estimate)
        return 1.0 if tokens is None else tokens / self._foretold.drawn_to(tokens)

    def _group_mean(self) -> float:
        return self._all.output.drawn_to(self._prior)

    def _group_square(self) -> float:
        return self._all.output.square_drawn_to(2.0 * self._prior**2)  # lengths of answers spread as widely as long


def _foretold(request: Request, estimate: Estimate) -> int | None:
    """Return the length that the estimator foretells; what repeats the caller's bound is none."""
    tokens = estimate.output_tokens
    return None if not tokens or tokens == requested_output_tokens(request) else tokens
