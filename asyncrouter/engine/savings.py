"""What an answer cost beside what its tokens would have cost at the strongest and the weakest of its group."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrouter.types.deployments import Deployment, Price
from asyncrouter.types.metrics import Savings
from asyncrouter.types.response import Response
from asyncrouter.types.trace import RouteTrace

Baselines = tuple[Price, Price]
"""The prices of a group's weakest and of its strongest deployment."""


def baselines_of(deployments: Sequence[Deployment]) -> Baselines | None:
    """Return the prices of the first and the last of *deployments*, weakest first; ``None`` without one of them."""
    weak, strong = deployments[0].price, deployments[-1].price
    return None if weak is None or strong is None else (weak, strong)


def costs_of(baselines: Baselines | None, response: Response, trace: RouteTrace) -> tuple[float, float, float] | None:
    """Return what the given answer cost, and what it would have at the strongest and the weakest, in US dollars.

    ``None`` where a price is unknown or no attempt was made.  The cost is that of all attempts, rejected answers and
    losers of a race included: the baselines would have made one.
    """
    if baselines is None or response.cost_usd is None or not trace.attempts:
        return None
    weak, strong = baselines
    cost_usd, usage = response.cost_usd, response.usage
    if len(trace.attempts) > 1:
        cost_usd = sum([one.cost_usd for one in trace.attempts if one.cost_usd is not None])
    return cost_usd, usage.cost_usd(strong), usage.cost_usd(weak)


def compared(cost_usd: float, strong_usd: float, weak_usd: float) -> Savings:
    """Return the comparison of one answer, as observers are told it."""
    return Savings(calls=1, cost_usd=cost_usd, strong_usd=strong_usd, weak_usd=weak_usd)
