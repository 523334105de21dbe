"""What ``router.metrics()`` returns: a frozen snapshot of counts, tokens, cost and latency."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs


class BreakerState(enum.StrEnum):
    """Whether a deployment is called: as usual, not for now, or by one probe at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


CLOSED, HALF_OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN
"""Asked for by every call: looked up in its class, a member costs 60 ns, and a global one."""


@attrs.frozen(kw_only=True)
class LatencyQuantiles:
    """Seconds until the answer of successful attempts (for streams: the first output); ``None`` before the first."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@attrs.frozen(kw_only=True)
class DeploymentMetrics:
    """One deployment's attempts since the router was made.

    ``calls`` counts attempts of every kind; ``failures``, ``cancelled`` and ``rejected`` how some of them ended;
    ``retries``, ``fallbacks``, ``cascades`` and ``hedges`` why some of them were made.  ``waiting``: calls in line for
    a slot, or for their turn within the rate; ``slots``: how many may run at once, ``None`` without a limit.
    """

    calls: int = 0
    failures: int = 0
    cancelled: int = 0
    rejected: int = 0
    retries: int = 0
    fallbacks: int = 0
    cascades: int = 0
    hedges: int = 0
    in_flight: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: LatencyQuantiles = LatencyQuantiles()
    breaker: BreakerState = BreakerState.CLOSED
    waiting: int = 0
    slots: int | None = None


@attrs.frozen(kw_only=True)
class Savings:
    """US dollars that answers cost, beside what the same tokens cost at the strongest and at the weakest deployment.

    ``calls`` were compared: those answered by a deployment of known price, in a group whose first (weakest) and last
    (strongest) deployments have one.  ``cost_usd`` holds all their attempts, those whose answer was not given included.
    """

    calls: int = 0
    cost_usd: float = 0.0
    strong_usd: float = 0.0
    weak_usd: float = 0.0

    @property
    def saved_usd(self) -> float:
        """What was saved against asking the strongest each time; negative when it cost more."""
        return self.strong_usd - self.cost_usd

    @property
    def saved_share(self) -> float | None:
        """That as a share of what the strongest would have cost; ``None`` when that is nothing."""
        return self.saved_usd / self.strong_usd if self.strong_usd else None


@attrs.frozen(kw_only=True)
class AgentMetrics:
    """One agent's routed calls since the router was made.

    ``calls`` counts requests, ``failures`` those that ended in an error, ``cancelled`` those that the caller left;
    ``retries``, ``fallbacks``, ``cascades`` and ``hedges`` count the attempts that its requests made beyond the first.
    """

    calls: int = 0
    failures: int = 0
    cancelled: int = 0
    retries: int = 0
    fallbacks: int = 0
    cascades: int = 0
    hedges: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: LatencyQuantiles = LatencyQuantiles()
    savings: Savings = Savings()


@attrs.frozen(kw_only=True)
class ShadowMetrics:
    """One group's shadows: ``calls`` were sent, ``skipped`` were drawn and yet not sent, for want of room or money.

    ``failed``, ``cancelled``, ``accepted`` and ``rejected`` (by the group's judge) are how some of the calls ended;
    ``cost_usd`` is not part of any other cost but that of their deployment.
    """

    calls: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    accepted: int = 0
    rejected: int = 0
    cost_usd: float = 0.0


@attrs.frozen(kw_only=True)
class Metrics:
    """The snapshot: all requests together, per deployment, per agent, and how often each plugin failed unheard.

    ``shadows``: by group, for those that have any.
    """

    total: AgentMetrics
    deployments: Mapping[str, DeploymentMetrics]
    agents: Mapping[str, AgentMetrics]
    plugin_failures: Mapping[str, int]
    shadows: Mapping[str, ShadowMetrics] = attrs.field(factory=dict)
