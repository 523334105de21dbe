"""The shared truth about every deployment of one router; only ``engine/attempt`` changes it."""

from __future__ import annotations

import random
import sys
import weakref
from array import array
from collections import Counter
from collections.abc import Callable, Iterable

import anyio

from asyncrouter.state.away import Away
from asyncrouter.state.breaker import Breaker, unknown_demand
from asyncrouter.state.budgets import ALWAYS, RetryBudget
from asyncrouter.state.gradient import CEILING, Gradient
from asyncrouter.state.latency import smoothed
from asyncrouter.state.limits import RateLimits, wait_s
from asyncrouter.state.shadows import ShadowBudget
from asyncrouter.state.silence import Silence
from asyncrouter.state.slots import Slots
from asyncrouter.state.tallies import Tally
from asyncrouter.types.allowances import Allowances
from asyncrouter.types.clock import Clock
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.metrics import DeploymentMetrics, Metrics

_LATENCY, _OUTPUT_TOKENS = range(2)
_UNKNOWN = array("d", (-1.0, -1.0))


class DeploymentState:
    """How one deployment fares.  Reads as :class:`~asyncrouter.types.deployments.DeploymentView`."""

    __slots__ = ("_away", "_clock", "_means", "_watchers", "_word", "breaker", "cooldown_until", "deployment",
                 "in_flight", "limits", "silence", "slots", "tally")  # fmt: skip

    def __init__(
        self,
        deployment: Deployment,
        clock: Clock,
        random: random.Random,
        demand: Callable[[float], float] = unknown_demand,
        away: Away | None = None,
    ) -> None:
        self._away = away or Away()
        self.deployment = deployment
        self.breaker = Breaker(deployment.breaker, random, demand, self._may_be_away)
        self.cooldown_until = float("-inf")
        self.in_flight = 0
        self._means = _UNKNOWN[:]
        self.silence = Silence()
        self._word: anyio.Event | None = None
        self.tally = Tally()
        self.limits = self._limits_of(deployment, clock.now())
        self.slots = _slots(deployment, None)
        self._clock = clock
        self._watchers: tuple[weakref.ref[set[str]], ...] = ()

    @property
    def latency_s(self) -> float | None:
        """The smoothed time until an answer, or until a stream's first output; ``None`` before the first."""
        latency_s = self._means[_LATENCY]
        return None if latency_s < 0.0 else latency_s

    @property
    def output_tokens(self) -> float | None:
        """The smoothed length of an answer; ``None`` before the first."""
        output_tokens = self._means[_OUTPUT_TOKENS]
        return None if output_tokens < 0.0 else output_tokens

    @property
    def set_aside_until(self) -> float:
        """When breaker and cooldown let it be called again; in the past when they do."""
        return max(self.breaker.ready_at, self.cooldown_until)

    @property
    def ready_at(self) -> float:
        """When it may be called again: breaker, cooldown and rate limits together."""
        at = self.breaker.ready_at
        if self.cooldown_until > at:  # noqa: PLR1730 - a quarter of the cost of max()
            at = self.cooldown_until
        if self.limits is not None:
            now = self._clock.now()
            at = _later(at, self.limits.ready_at(0, now), now)
        return at

    @property
    def turn_at(self) -> float:
        """When whoever comes now may be let in, after those who wait for their turn within the rate."""
        at = self.set_aside_until
        if self.limits is not None:
            now = self._clock.now()
            at = _later(at, self.limits.turn_at(now), now)
        return at

    @property
    def crowding(self) -> float:
        """How long the line for a slot is; 0 while one is free, or when calls at once have no limit."""
        return 0.0 if self.slots is None else self.slots.crowding

    @property
    def silent_s(self) -> float:
        """For how long calls have been waiting without a word from it."""
        return self.silence.lasts_s(self._clock.now()) if self.in_flight else self.silence.lasted_s

    @property
    def waiting(self) -> int:
        """The calls in line for a slot, or for their turn within the rate."""
        return (0 if self.slots is None else self.slots.waiting) + (0 if self.limits is None else len(self.limits.line))

    def adopt(self, deployment: Deployment) -> None:
        """Go on as *deployment*, of the same name: counters stay, and all the rest where it is the same target."""
        before, self.deployment = self.deployment, deployment
        if (before.provider, before.model) != (deployment.provider, deployment.model):
            self.breaker.renew(self._clock.now())
            self.cooldown_until = float("-inf")
            self._may_be_away()
            self._means[:] = _UNKNOWN
            self.silence.forget(self._clock.now())
            self._tell()
        self.breaker.adopt(deployment.breaker)
        if before.limits != deployment.limits:
            limits, self.limits = self.limits, self._limits_of(deployment, self._clock.now())
            if limits is not None:
                limits.call_first()
            self._may_be_away()
            self.slots = _slots(deployment, self.slots)

    def is_free_but_for_breaker(self, now: float) -> bool:
        """Whether it might be called now if its breaker were closed."""
        return self.cooldown_until <= now and (self.limits is None or self.limits.ready_at(0, now) <= now)

    def is_at_rest(self, now: float) -> bool:
        """Whether it is ready, and stays so until its breaker opens, it cools down, or a call takes of its limits."""
        return self.breaker.is_at_rest and self.is_free_but_for_breaker(now)

    def _may_be_away(self) -> None:
        self._away.note(self.deployment.name)

    def _limits_of(self, deployment: Deployment, now: float) -> RateLimits | None:
        limits = deployment.limits
        return RateLimits(limits, now, self._may_be_away) if limits.rpm or limits.tpm else None

    def cool_until(self, moment: float) -> None:
        """Set the deployment aside until *moment*; a longer cooldown that runs already stays."""
        self._may_be_away()
        self.cooldown_until = max(self.cooldown_until, moment)

    def heed(self, told: Allowances, tokens: float, now: float, *, closing: bool = True) -> None:
        """Take to heart what the upstream says is left of its limits.

        Where that does not suffice for one more request of about so many *tokens*, the deployment is not ready until it
        does; ``closing=False``: it said itself when to come back, and only the levels count.
        """
        closed_s = wait_s(told, tokens) if closing else 0.0
        if self.limits is None:
            if not closed_s:
                return
            self.limits = RateLimits(self.deployment.limits, now, self._may_be_away)
        self.limits.heed(told, now)
        if closed_s:
            self.limits.close_until(now + closed_s)

    def watch(self, changed: set[str]) -> None:
        """Put its name into *changed* whenever it may be less busy or faster than before, while somebody holds that."""
        self._watchers = (*[one for one in self._watchers if one() is not None], weakref.ref(changed))

    def _tell(self) -> None:
        for watcher in self._watchers:
            changed = watcher()
            if changed is not None:
                changed.add(self.deployment.name)

    def spoke(self, now: float) -> None:
        """Count the first output of a stream."""
        self.breaker.spoke_at = now
        self.silence.broken(now)
        self._tell()
        if self._word is not None:
            self._tell_word(self._word)

    def word(self) -> anyio.Event:
        """Return the event that is set with its next answer or first output: what waits to hear if it is well."""
        if self._word is None:
            self._word = anyio.Event()
        return self._word

    def _tell_word(self, word: anyio.Event) -> None:
        self._word = None
        word.set()

    def ended(self) -> None:
        """Count one call less in flight."""
        self.in_flight -= 1
        if self._watchers:
            self._tell()

    def answered(self, latency_s: float) -> None:
        """Count the time until an answer, or until a stream's first output."""
        self._means[_LATENCY] = smoothed(self.latency_s, latency_s)
        self.tally.latency.observe(latency_s)
        if self._watchers:
            self._tell()
        if self._word is not None:
            self._tell_word(self._word)

    def produced(self, output_tokens: int) -> None:
        """Count the length of an answer."""
        self._means[_OUTPUT_TOKENS] = smoothed(self.output_tokens, output_tokens)

    def metrics(self) -> DeploymentMetrics:
        """Return the snapshot of this deployment."""
        tally = self.tally
        return DeploymentMetrics(
            **tally.named(),
            in_flight=self.in_flight,
            cost_usd=tally.cost_usd,
            latency_s=tally.latency.quantiles(),
            breaker=self.breaker.state,
            waiting=self.waiting,
            slots=None if self.slots is None else self.slots.limit,
        )


def _later(at: float, limits_at: float, now: float) -> float:
    """Return the later of both; limits that let in *now* are none.

    Else who asks the clock first and then here would be told a moment that is later than his, for ever.
    """
    return max(at, limits_at) if limits_at > now else at


def _slots(deployment: Deployment, before: Slots | None) -> Slots | None:
    """Return the slots of *deployment*: those of *before*, with who holds them and who waits, where there are some."""
    limits = deployment.limits
    gradient = Gradient(limits.concurrency or CEILING) if limits.adaptive else None
    limit = gradient.limit if gradient else limits.concurrency
    if before is not None:
        before.resize(sys.maxsize if limit is None else limit, limits.queue, gradient)
    if limit is None:
        return None
    return before or Slots(limit, limits.queue, gradient)


class Fleet:
    """Every deployment's state, the shared retry budget, and the tallies of agents.

    Reads as :class:`~asyncrouter.types.deployments.FleetView`.  ``now`` tells the time; a router that has entered an
    event loop puts that loop's own in its place.  ``states`` are those of the deployments, by name: the engine looks
    them up there, without the frame of :meth:`__getitem__`.
    """

    def __init__(self, clock: Clock, random: random.Random, budget: RetryBudget) -> None:
        self.random = random
        self.budget = budget
        self.now: Callable[[], float] = clock.now
        self.total = Tally()
        self.agents: dict[str, Tally] = {}
        self.plugin_failures: Counter[str] = Counter()
        self.strays: set[object] = set()
        """Work that did not end when it was told to, held until it does."""
        self.shadows: dict[str, ShadowBudget] = {}
        self.states: dict[str, DeploymentState] = {}
        self._away = Away()
        self._news: anyio.Event | None = None

    def __getitem__(self, deployment: str) -> DeploymentState:
        """Return the state of the deployment with that name; ``KeyError`` when it was never added."""
        return self.states[deployment]

    @property
    def answered_at(self) -> float:
        """When a deployment last answered, in the clock's seconds."""
        return max((state.breaker.answered_at for state in self.states.values()), default=ALWAYS)

    def add(self, deployments: Iterable[Deployment]) -> None:
        """Make a state for each of *deployments* that has none."""
        for deployment in deployments:
            if deployment.name not in self.states:
                self.states[deployment.name] = DeploymentState(
                    deployment, self, self.random, self.budget.demand, self._away
                )

    def away(self) -> frozenset[str]:
        """Return the names of the deployments that are not ready; the same set while they are the same."""
        return self._away.names(self.states, self.now)

    def watch(self, deployments: Iterable[str]) -> set[str]:
        """Return a set that gets the names of those of *deployments* whose view may have become less busy or faster.

        That is since their names were last taken out of it.  It is filled for as long as somebody holds it.
        """
        changed: set[str] = set()
        for name in deployments:
            self.states[name].watch(changed)
        return changed

    def news(self) -> anyio.Event:
        """Return the event that is set when a deployment is back, or may be probed: what waiting requests wait for."""
        if self._news is None:
            self._news = anyio.Event()
        return self._news

    def tell_news(self) -> None:
        """Wake the requests that wait for a deployment."""
        if self._news is not None:
            self._news.set()
            self._news = None

    def adopt(self, deployments: Iterable[Deployment]) -> None:
        """Take up what another configuration says of *deployments*; those that it does not name stay as they are."""
        for deployment in deployments:
            state = self.states.get(deployment.name)
            if state is not None and state.deployment != deployment:
                state.adopt(deployment)

    def forget(self, deployments: Iterable[str]) -> None:
        """Drop the states of *deployments*, which no call uses any longer."""
        for name in deployments:
            self.states.pop(name, None)
            self._away.forget(name)

    def beside(self) -> Fleet:
        """Return a view with the same deployments, whose calls count in no tally of requests or agents here."""
        return _Beside(self)

    def agent(self, name: str) -> Tally:
        """Return the tally of the agent called *name*, new when it has none."""
        return self.agents.setdefault(name, Tally())

    def tallies(self, agent: str | None) -> tuple[Tally, ...]:
        """Return the tallies that a request of *agent* counts in, beside those of its deployments."""
        return (self.total,) if agent is None else (self.total, self.agent(agent))

    def metrics(self) -> Metrics:
        """Return the snapshot of everything."""
        return Metrics(
            total=self.total.as_agent(),
            deployments={name: state.metrics() for name, state in self.states.items()},
            agents={name: tally.as_agent() for name, tally in self.agents.items()},
            plugin_failures=dict(self.plugin_failures),
            shadows={group: budget.metrics() for group, budget in self.shadows.items()},
        )


class _Beside(Fleet):
    """See :meth:`Fleet.beside`."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet, fleet.random, fleet.budget)
        self.now = fleet.now
        self.plugin_failures = fleet.plugin_failures
        self.strays = fleet.strays
        self._fleet = fleet
        self.states = fleet.states
        self._away = fleet._away  # noqa: SLF001 - its own kind

    def tell_news(self) -> None:
        self._fleet.tell_news()
