"""What the router works from: deployments, and for each name that can be asked for the plan of its calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from asyncrouter.config.checks import named
from asyncrouter.config.names import Target, default_name, find_target, nearest
from asyncrouter.config.plans import SELECT, AgentPlan, GroupPlan, plan_of
from asyncrouter.config.prices import charges_by_list, price_of
from asyncrouter.config.references import reference_faults
from asyncrouter.config.schema import (
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    ProviderSettings,
    RouterConfig,
    RouterSettings,
)
from asyncrouter.config.two_model import by_threshold, retry_of
from asyncrouter.hooks.options import refuse
from asyncrouter.types.deployments import BreakerSettings, Deployment
from asyncrouter.types.errors import UnknownModelGroup

__all__ = ["AgentPlan", "Catalogue", "GroupPlan", "build_catalogue"]

DEFAULT_THRESHOLD = 0.7
"""Complexity from which an agent's backup model is asked first, when nothing says otherwise."""


@attrs.frozen(kw_only=True)
class Catalogue:
    """Everything that can be called.

    ``groups`` holds the agents' own groups too; ``default`` is any name that :meth:`resolve` takes, or ``None``;
    ``base`` are the settings of the default group, for names that stand alone, or ``None`` when it is no group.
    """

    deployments: Mapping[str, Deployment]
    groups: Mapping[str, GroupPlan]
    agents: Mapping[str, AgentPlan]
    providers: Mapping[str, ProviderSettings]
    default: str | None
    router: RouterSettings
    base: GroupSettings | None

    def resolve(self, name: str | None) -> GroupPlan:
        """Return the plan for a name: a deployment, a group, ``provider/model``, or a model known to be served.

        ``None`` is the default.  A name that is no group is called alone, with the default group's estimate, retry,
        filters, timeouts and bounds.  Plans of such names are made anew each time.

        Raises :class:`~asyncrouter.types.errors.UnknownModelGroup` with the nearest names.
        """
        if name is None:
            name = self.default
        if name is None:
            raise UnknownModelGroup("no model was named and there is no default; pass model= or set router.default")
        if name in self.groups:
            return self.groups[name]
        target = find_target(name, self.deployments, self.providers)
        if target is None:
            raise UnknownModelGroup("; ".join(nearest("model", name, self.deployments, self.providers, self.groups)))
        if target.deployment is not None:
            return self._alone(self.deployments[target.deployment])
        return self._alone(_implied(name, target, self.providers, self.base))

    def _alone(self, deployment: Deployment) -> GroupPlan:
        path = "router" if self.base is None or self.default is None else f"groups.{named(self.default)}"
        base = self.base or GroupSettings(deployments=(deployment.name,))
        kept = ("estimate", "retry", "filters", "patience_s", "deadline_s", "max_attempts", "timeouts", "on_interrupt")
        settings = GroupSettings(deployments=(deployment.name,), **{key: getattr(base, key) for key in kept})
        return plan_of(deployment.name, settings, (deployment,), self.router, path)


def build_catalogue(config: RouterConfig) -> Catalogue:
    """Return the catalogue of *config*.

    Raises :class:`~asyncrouter.types.errors.ConfigError` with every fault that its parts have together: unknown
    names, circles of fallbacks, names given twice.
    """
    refuse(reference_faults(config))
    default = default_name(config)
    base = config.groups.get(default or "")
    breakers = {name: group.breaker for group in config.groups.values() if group.breaker for name in group.deployments}
    deployments = {
        name: _deployment(name, settings, config.providers, breakers.get(name))
        for name, settings in config.deployments.items()
    }
    own = {name: agent for name, agent in config.agents.items() if agent.model_name is not None}
    settings = {f"groups.{named(name)}": (name, group) for name, group in config.groups.items()}
    for name, agent in own.items():
        names = tuple(dict.fromkeys(_deployed(agent, deployments, config, base)))
        settings[f"agents.{named(name)}"] = (name, _own_group(agent, names, base))
    groups = {
        name: plan_of(name, group, tuple(deployments[one] for one in group.deployments), config.router, path)
        for path, (name, group) in settings.items()
    }
    kinds = {name: _with_kind(name, provider) for name, provider in config.providers.items()}
    catalogue = Catalogue(
        deployments=deployments,
        groups=groups,
        agents={},
        providers=kinds,
        default=default,
        router=config.router,
        base=base,
    )
    agents = {name: _agent_plan(name, agent, catalogue) for name, agent in config.agents.items()}
    return attrs.evolve(catalogue, agents=agents)


def _deployment(
    name: str,
    settings: DeploymentSettings,
    providers: Mapping[str, ProviderSettings],
    breaker: BreakerSettings | None,
) -> Deployment:
    provider = _with_kind(settings.provider, providers.get(settings.provider, ProviderSettings()))
    price = settings.price
    if price is None and provider.kind is not None and charges_by_list(provider.kind, provider.options):
        price = price_of(provider.kind, settings.model)
    return Deployment(
        name=name,
        provider=settings.provider,
        model=settings.model,
        price=price,
        limits=settings.limits,
        context_window=settings.context_window,
        capabilities=settings.capabilities,
        weight=settings.weight,
        params=settings.params,
        tags=settings.tags,
        breaker=breaker or BreakerSettings(),
    )


def _with_kind(name: str, settings: ProviderSettings) -> ProviderSettings:
    """Return *settings* with the kind told: by default the provider's own name; a ready instance has none."""
    return settings if settings.kind or settings.instance else attrs.evolve(settings, kind=name)


def _implied(
    name: str, target: Target, providers: Mapping[str, ProviderSettings], base: GroupSettings | None
) -> Deployment:
    """Return the deployment of a model that only a name tells of."""
    settings = DeploymentSettings(provider=target.provider, model=target.model)
    return _deployment(name, settings, providers, base.breaker if base else None)


def _deployed(
    agent: AgentSettings, deployments: dict[str, Deployment], config: RouterConfig, base: GroupSettings | None
) -> Iterator[str]:
    """Yield the names of the deployments of an agent's own models; those not configured are added."""
    for model in (agent.model_name, agent.backup_model):
        target = find_target(model, deployments, config.providers) if model else None
        if model and target:
            if target.deployment is None:
                deployments[model] = _implied(model, target, config.providers, base)
            yield target.deployment or model


def _own_group(agent: AgentSettings, names: tuple[str, ...], base: GroupSettings | None) -> GroupSettings:
    """Return the group of an agent's own models; what the agent does not say is the default group's."""
    base = base or GroupSettings(deployments=names)
    threshold = agent.complexity_threshold
    if threshold is None:
        inherited = base.select if base.select and base.select.use == "complexity" else None
        threshold = inherited.options.get("threshold", DEFAULT_THRESHOLD) if inherited else DEFAULT_THRESHOLD
    return attrs.evolve(
        base,
        deployments=names,
        select=by_threshold(threshold) if len(names) > 1 else None,
        retry=retry_of(agent, base.retry),
        deadline_s=agent.deadline_s or base.deadline_s,
        max_attempts=agent.max_attempts or base.max_attempts,
    )


def _agent_plan(name: str, agent: AgentSettings, catalogue: Catalogue) -> AgentPlan:
    own = name if agent.model_name is not None else None
    asked = own or agent.group or catalogue.default
    plan = None if asked is None else catalogue.resolve(asked)
    if plan is not None and own is None:
        plan = _overlaid(plan, agent, f"agents.{named(name)}")
    return AgentPlan(
        name=name, plan=plan, params=agent.params, deadline_s=agent.deadline_s, max_attempts=agent.max_attempts
    )


def _overlaid(plan: GroupPlan, agent: AgentSettings, path: str) -> GroupPlan:
    """Return *plan* with what the agent says laid over it; *plan* itself where the agent says nothing."""
    select = plan.select
    if agent.complexity_threshold is not None:
        option = {"threshold": ("complexity_threshold", agent.complexity_threshold)}
        select = (by_threshold(agent.complexity_threshold) if select is SELECT else select).under(option)
    group = attrs.evolve(
        plan.group,
        deadline_s=agent.deadline_s or plan.group.deadline_s,
        max_attempts=agent.max_attempts or plan.group.max_attempts,
    )
    overlaid = attrs.evolve(plan, group=group, select=select, retry=retry_of(agent, plan.retry) or plan.retry)
    return plan if overlaid == plan else attrs.evolve(overlaid, path=path)
