"""What can be called: deployments, the groups they form, and how their present state looks to a strategy."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import attrs

from asyncrouter.types.request import EMPTY

OnInterrupt = Literal["raise", "continue", "restart"]


class Capability:
    """Names of what a deployment may be able to do, as written in a configuration."""

    TOOLS = "tools"
    VISION = "vision"
    JSON_SCHEMA = "json_schema"
    STREAMING = "streaming"


ALL_CAPABILITIES = frozenset({Capability.TOOLS, Capability.VISION, Capability.JSON_SCHEMA, Capability.STREAMING})


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens.  ``cached_input`` defaults to ``input``, ``reasoning`` to ``output``."""

    input: float
    output: float
    cached_input: float | None = None
    reasoning: float | None = None

    def cost_usd(
        self,
        input_tokens: float,
        output_tokens: float,
        cached_input_tokens: float = 0,
        reasoning_tokens: float = 0,
    ) -> float:
        """Return the cost in US dollars of so many tokens.

        The cached ones are part of the input ones, those of reasoning part of the output ones.  An upstream that counts
        more of a part than of the whole has left the part out of it.
        """
        if not cached_input_tokens and not reasoning_tokens:
            return (input_tokens * self.input + output_tokens * self.output) / 1e6
        cached_price = self.input if self.cached_input is None else self.cached_input
        reasoning_price = self.output if self.reasoning is None else self.reasoning
        fresh = input_tokens - cached_input_tokens if cached_input_tokens <= input_tokens else input_tokens
        written = output_tokens - reasoning_tokens if reasoning_tokens <= output_tokens else output_tokens
        input_cost = fresh * self.input + cached_input_tokens * cached_price
        return (input_cost + written * self.output + reasoning_tokens * reasoning_price) / 1e6


@attrs.frozen(kw_only=True)
class Limits:
    """What a deployment takes: requests and tokens per minute, calls at once.  ``None`` is no limit.

    ``queue``: how many calls at most stand in line for one of the ``concurrency`` slots, and how many for their turn
    within the rates.  It bounds memory (some KB a waiting call), not the wait: that is bounded by the deadline,
    and for a slot by :attr:`Timeouts.queue_s`.  ``adaptive``:
    ``concurrency`` is only the most, and how many calls at once are good is found by the time that answers take.
    """

    rpm: float | None = None
    tpm: float | None = None
    concurrency: int | None = None
    queue: int = 10_000
    adaptive: bool = False


@attrs.frozen(kw_only=True)
class Timeouts:
    """Bounds of one attempt, and of what comes before it, in seconds but for the last.

    ``connect_s`` for the connection, ``first_token_s`` until the first output of a stream, ``idle_s`` between two
    chunks of it, ``attempt_s`` for the whole attempt; ``estimate_s`` for an estimator that awaits something.
    ``queue_s``, before an attempt: how long a call stands in line for a slot before it looks elsewhere (5 s, as HTTPX
    waits for a connection of its pool).
    ``min_chunks_per_s`` is the least rate at which a stream may drip after its first output; 0 is no bound.
    """

    connect_s: float = 5.0
    first_token_s: float = 15.0
    idle_s: float = 15.0
    attempt_s: float = 60.0
    estimate_s: float = 2.0
    queue_s: float = 5.0
    min_chunks_per_s: float = 0.0


@attrs.frozen(kw_only=True)
class BreakerSettings:
    """When a deployment is set aside, for how long, and how it comes back.

    It opens after ``failures`` in a row, or when at least ``ratio`` of the calls of the last ``window_s`` seconds
    failed and there were at least ``min_calls``; in the same way for answers that took longer than ``slow_s``, with
    ``slow_ratio``.  It stays open for ``open_s``, doubling up to ``open_cap_s``.  Afterwards calls come back over
    ``ramp_s``, 0 being at once.  Without ``slow_s`` no answer is too slow.
    """

    failures: int = 5
    ratio: float = 0.5
    slow_s: float | None = None
    slow_ratio: float = 0.5
    window_s: float = 30.0
    min_calls: int = 20
    open_s: float = 5.0
    open_cap_s: float = 20.0
    ramp_s: float = 10.0


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


@attrs.frozen(kw_only=True)
class AffinitySettings:
    """When a conversation stays with the deployment that has its prompt cache, and when it comes down a tier.

    ``ease``: easy requests in a row after which it may go to a weaker tier again; ``ahead``: further requests that a
    switch is reckoned to be followed by; ``ttl_s`` and ``min_tokens``: how long, and from how many tokens on, a prompt
    cache holds what it read (5 minutes and 1024 tokens at OpenAI and Anthropic); ``sessions``: how many are remembered.
    ``tiers``: lists of names, weakest first, where the group's own order is not it.
    """

    ease: int = 3
    ahead: float = 2.0
    ttl_s: float = 300.0
    min_tokens: int = 1024
    sessions: int = 10_000
    tiers: tuple[tuple[str, ...], ...] | None = attrs.field(default=None, converter=_tuples)


@attrs.frozen(kw_only=True)
class ShadowSettings:
    """Which answered calls are sent to another deployment too, in the background.

    ``deployment``: its name; ``share``: the share of calls that are drawn; ``max_in_flight``: how many at once at most;
    ``usd_per_hour``: what they may cost in US dollars, ``None`` is no bound.
    """

    deployment: str = attrs.field(metadata={"cure": 'name one: deployment = "big"'})
    share: float = 0.01
    max_in_flight: int = 4
    usd_per_hour: float | None = None


@attrs.frozen(kw_only=True)
class Deployment:
    """One callable target: a provider's name, a model, and what is known of them.

    ``params`` are defaults laid under the caller's; ``tags`` are free words for strategies; ``weight`` is the share
    that the ``weighted`` selector gives it; ``context_window`` is in tokens.  Its ``repr`` names it and no more.
    """

    name: str
    provider: str
    model: str
    price: Price | None = attrs.field(default=None, repr=False)
    limits: Limits = attrs.field(default=Limits(), repr=False)
    context_window: int | None = attrs.field(default=None, repr=False)
    capabilities: frozenset[str] = attrs.field(default=ALL_CAPABILITIES, repr=False)
    weight: float = attrs.field(default=1.0, repr=False)
    params: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False, eq=False)
    tags: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    breaker: BreakerSettings = attrs.field(default=BreakerSettings(), repr=False)


@attrs.frozen(kw_only=True)
class ModelGroup:
    """A named set of interchangeable deployments, cheapest or weakest first, with the settings of its calls.

    ``fallbacks`` names the groups to ask when this one has failed; ``patience_s`` bounds the wait for one more try
    before leaving it; ``deadline_s`` and ``max_attempts`` bound a whole request.
    """

    name: str
    deployments: tuple[Deployment, ...]
    fallbacks: tuple[str, ...] = ()
    patience_s: float = 2.5
    deadline_s: float = 60.0
    max_attempts: int = 6
    timeouts: Timeouts = Timeouts()
    on_interrupt: OnInterrupt = "raise"
    params: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False, eq=False)


class DeploymentView(Protocol):
    """How one deployment fares, as a strategy may read it."""

    @property
    def in_flight(self) -> int:
        """Calls under way now."""
        ...

    @property
    def latency_s(self) -> float | None:
        """Smoothed time to an answer (for streams: to the first output), in seconds; ``None`` before the first."""
        ...

    @property
    def silent_s(self) -> float:
        """For how many seconds calls have been waiting for an answer while none came: at least so slow it is now."""
        ...

    @property
    def output_tokens(self) -> float | None:
        """Smoothed output tokens of an answer; ``None`` before the first."""
        ...

    @property
    def ready_at(self) -> float:
        """When it may be called again, in the clock's seconds: in the past when it may be called now."""
        ...


class FleetView(Protocol):
    """How all deployments fare, with the present moment and the random numbers that a strategy may use.

    The router's own has two more methods, for those who look at many.  ``away()``: the names of all that are not ready,
    the same set while they are the same.  ``watch(names)``: a set that gets the name of each of them that may have
    become less busy or faster, while somebody holds it.
    """

    random: random.Random

    def now(self) -> float:
        """Return the present moment in the clock's seconds."""
        ...

    def __getitem__(self, deployment: str) -> DeploymentView:
        """Return the view of the deployment with that name."""
        ...


NEVER = math.inf
