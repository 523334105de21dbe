"""Plans: a group or an agent with the strategies of its calls, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from asyncrouter.config.schema import CONTENT_FILTER, GroupSettings, HedgeSettings, RouterSettings
from asyncrouter.config.specs import StrategySpec
from asyncrouter.types.decisions import Parallel
from asyncrouter.types.deployments import AffinitySettings, Deployment, ModelGroup, ShadowSettings

ESTIMATE = StrategySpec(use="heuristic")
SELECT = StrategySpec(use="priority")
RETRY = StrategySpec(use="exponential")
FILTERS = tuple(StrategySpec(use=name) for name in ("capability", "context_window", "cooldown"))
"""What a group does where it does not say otherwise."""


@attrs.frozen(kw_only=True)
class GroupPlan:
    """A group with the strategies of its calls.

    ``fallbacks`` stand in the order in which they answer; ``path`` is where faults of the strategies are reported.
    """

    group: ModelGroup
    estimate: StrategySpec
    select: StrategySpec
    retry: StrategySpec
    fallbacks: tuple[StrategySpec, ...]
    filters: tuple[StrategySpec, ...]
    judge: StrategySpec | None
    hedge: HedgeSettings | None
    affinity: AffinitySettings | None
    parallel: Parallel | None
    shadow: ShadowSettings | None
    path: str


@attrs.frozen(kw_only=True)
class AgentPlan:
    """An agent's defaults: its plan (``None``: nothing is configured that it could ask) and its parameters.

    ``deadline_s`` and ``max_attempts`` are in the plan's group too; ``None`` is the group's own.
    """

    name: str
    plan: GroupPlan | None
    params: Mapping[str, Any] = attrs.field(repr=False)
    deadline_s: float | None
    max_attempts: int | None


def plan_of(
    name: str, settings: GroupSettings, deployments: tuple[Deployment, ...], router: RouterSettings, path: str
) -> GroupPlan:
    """Return the plan of the group called *name*; what *settings* leave open is the router's, or the default."""
    group = ModelGroup(
        name=name,
        deployments=deployments,
        fallbacks=settings.fallbacks,
        patience_s=settings.patience_s,
        deadline_s=settings.deadline_s or router.deadline_s,
        max_attempts=settings.max_attempts or router.max_attempts,
        timeouts=settings.timeouts,
        on_interrupt=settings.on_interrupt,
        params={**router.params, **settings.params},
    )
    return GroupPlan(
        group=group,
        estimate=settings.estimate or ESTIMATE,
        select=settings.select or SELECT,
        retry=settings.retry or RETRY,
        fallbacks=tuple(_fallbacks(settings)),
        filters=FILTERS if settings.filters is None else settings.filters,
        judge=settings.judge,
        hedge=settings.hedge,
        affinity=settings.affinity,
        parallel=settings.parallel,
        shadow=settings.shadow,
        path=path,
    )


def _fallbacks(settings: GroupSettings) -> Iterator[StrategySpec]:
    """Yield the fallbacks in the order in which they answer; the last two answer for one class of errors each."""
    groups = {"groups": settings.fallbacks} if settings.fallbacks else {}
    if settings.fallback is not None:
        yield settings.fallback
    yield StrategySpec(use="next")
    if groups:
        yield StrategySpec(use="group_chain", options=groups)
    yield StrategySpec(use="larger_context", options=groups)
    if CONTENT_FILTER in settings.fallback_on:
        yield StrategySpec(use=CONTENT_FILTER, options=groups)
