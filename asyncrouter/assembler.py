"""Where hooks, strategies, state, providers and configuration meet: plans become routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from asyncrouter.config.catalogue import Catalogue, GroupPlan
from asyncrouter.config.schema import ProviderSettings, StrategySpec
from asyncrouter.engine.extras import Layer
from asyncrouter.engine.inflight import InFlight
from asyncrouter.engine.route import Hedge, Route, make_route
from asyncrouter.hooks.manager import HookManager, hooks_of, plugin_name
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.hooks.registry import HOOK_OF, Kind, Registry
from asyncrouter.providers.base import Provider
from asyncrouter.state.fleet import Fleet
from asyncrouter.state.hedges import HedgeBudget, Paces
from asyncrouter.state.shadows import ShadowBudget
from asyncrouter.strategies.selectors.parallel import in_parallel
from asyncrouter.types.deployments import ShadowSettings
from asyncrouter.types.errors import ConfigError, ConfigFault, PluginContractError
from asyncrouter.version import VERSION

if TYPE_CHECKING:  # most configurations have neither: they are imported where one asks for them
    from asyncrouter.engine.shadow import Shadow
    from asyncrouter.strategies.affinity.affinity import SessionAffinity

BUILTIN_MODULES = (
    "asyncrouter.strategies.builtin",
    "asyncrouter.providers.builtin",
    "asyncrouter.telemetry.builtin",
)
DYNAMIC_PLANS = 1000
"""Plans kept for names that are no group ("openai/gpt-4o-mini"); the oldest makes room."""


def builtin_registry() -> Registry:
    """Return a registry that knows what comes with the package, registered through the door that plugins use."""
    import importlib

    registry = Registry()
    for module in BUILTIN_MODULES:
        registry.register_from(importlib.import_module(module), "asyncrouter", VERSION)
    return registry


@attrs.frozen
class NamedPlugin:
    """A plugin instance and the name it is registered under."""

    name: str
    instance: object


class Providers(Mapping[str, Provider]):
    """Provider instances by their configured names, made when first asked for."""

    def __init__(
        self, settings: Mapping[str, ProviderSettings], registry: Registry, before: Providers | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._made: dict[str, Provider] = {} if before is None else before.same(settings)

    def same(self, settings: Mapping[str, ProviderSettings]) -> dict[str, Provider]:
        """Return the providers made so far that *settings* would make alike: they keep their connections."""
        return {name: made for name, made in self._made.items() if settings.get(name) == self._settings.get(name)}

    def __getitem__(self, name: str) -> Provider:
        """Return the provider called *name*; raise :class:`ConfigError` when its options do not fit."""
        provider = self._made.get(name)
        if provider is None:
            provider = self._made[name] = self._make(name)
        return provider

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the providers made so far."""
        return iter(self._made)

    def __len__(self) -> int:
        """Return how many providers have been made."""
        return len(self._made)

    def _make(self, name: str) -> Provider:
        settings = self._settings.get(name) or ProviderSettings(kind=name)
        if settings.instance is not None:
            return settings.instance  # type: ignore[return-value]
        kind, path = settings.kind or name, f"providers.{name}"
        made = self._registry.make("provider", kind, settings.options, path, name=name)
        if not isinstance(made, Provider):
            problem = (
                f"kind {kind!r} makes an object of type {type(made).__name__}, without complete, stream and aclose"
            )
            raise ConfigError(faults=[ConfigFault(path, problem, "name another kind, or mend the plugin")])
        return made


class Assembler:
    """Makes routes of plans, with the router's own plugins registered in each.

    ``in_flight`` are the calls under way in its routes; ``affinities`` know the conversations, by the path of their
    plan, ``shadow_budgets`` what shadows may take, by group.  What *before* has made alike of all these and of the
    providers is taken over.
    """

    def __init__(self, catalogue: Catalogue, registry: Registry, fleet: Fleet, before: Assembler | None = None) -> None:
        self.catalogue = catalogue
        self.in_flight = InFlight()
        self.providers: Providers = Providers(catalogue.providers, registry, before.providers if before else None)
        self.plugins: list[NamedPlugin] = []
        self._registry = registry
        self._fleet = fleet
        self._called = Layer(self.providers, fleet)
        self._strategies: dict[int, tuple[NamedPlugin, ...]] = {}
        self._written: dict[int, str] = {}  # where each strategy stands: an agent that inherits it has not written it
        for plan in self._plans():
            for _kind, key, spec in _specs_of(plan):
                self._written.setdefault(id(spec), f"{plan.path}.{key}")
        self._named: dict[str, GroupPlan] = {}
        self._hedges: dict[str, Hedge] = {}
        self.affinities: dict[str, SessionAffinity] = dict(before.affinities) if before else {}
        self.shadow_budgets: dict[str, ShadowBudget] = dict(before.shadow_budgets) if before else {}

    def check(self, plugins: Iterable[StrategySpec], outcomes: StrategySpec | None = None) -> None:
        """Make everything that the configuration names; raise one :class:`ConfigError` with all that is wrong."""
        used = {one.provider for one in self.catalogue.deployments.values()}
        names = [*self.catalogue.providers, *sorted(used - set(self.catalogue.providers))]
        makers: list[Callable[[], object]] = [
            *(partial(self._add_plugin, spec, f"router.plugins[{index}]") for index, spec in enumerate(plugins)),
            *([] if outcomes is None else [partial(self._add_plugin, outcomes, "outcomes")]),
            *(partial(self.providers.__getitem__, name) for name in names),
            *(partial(self.strategies, plan) for plan in self._plans()),
        ]
        faults: list[ConfigFault] = []
        for make in makers:
            try:
                make()
            except ConfigError as error:
                faults.extend(fault for fault in error.faults if fault not in faults)
        if faults:
            raise ConfigError(faults=faults)

    def add_plugin(self, plugin: object, name: str | None = None) -> str:
        """Validate *plugin* and register it for every route made from now on; return its name.

        Raises :class:`PluginContractError` when it breaks a hook's contract or its name is taken.
        """
        name = name or plugin_name(plugin)
        if any(one.name == name or one.instance is plugin for one in self.plugins):
            raise PluginContractError(f"plugin {name!r} is registered already; unregister it first", plugin=name)
        HookManager().register(plugin, name)
        self.plugins.append(NamedPlugin(name, plugin))
        return name

    def remove_plugin(self, plugin: object) -> None:
        """Leave out *plugin* (the instance or its name) from every route made from now on."""
        for one in self.plugins:
            if one.instance is plugin or one.name == plugin:
                self.plugins.remove(one)
                return
        raise PluginContractError(
            f"plugin {plugin if isinstance(plugin, str) else plugin_name(plugin)!r} is not registered"
        )

    def plan(self, name: str | None) -> GroupPlan:
        """Return the plan for a name that a caller gave, ``None`` being the default; the same object each time.

        Raises :class:`~asyncrouter.types.errors.UnknownModelGroup` with the nearest names.
        """
        plan = self._named.get(name or "")
        if plan is not None:
            return plan
        plan = self.catalogue.resolve(name)
        if name is not None and name not in self.catalogue.groups:  # made anew by resolve(): keep it, within bounds
            self._named[name] = plan
            if len(self._named) > DYNAMIC_PLANS:
                oldest = self._named.pop(next(iter(self._named)))
                self._strategies.pop(id(oldest), None)
        return plan

    def route(self, plan: GroupPlan) -> Route:
        """Return the route of *plan*; its deployments get a state in the fleet, and their providers are made.

        Raises :class:`ConfigError` where a provider that only a model's name tells of cannot be made: for want of its
        key, say.
        """
        for deployment in plan.group.deployments:
            self.providers[deployment.provider]
        manager = HookManager()
        for one in (*self.strategies(plan), *self.plugins):
            manager.register(one.instance, one.name)
        self._fleet.add(plan.group.deployments)
        affinity = self._affinity(plan)
        if affinity is not None:
            manager.register(affinity, affinity.name)
        pipeline = compile_pipeline(manager, self._plugin_failed)
        if affinity is not None:
            pipeline = attrs.evolve(pipeline, select=affinity.around(pipeline.select))
        if plan.parallel is not None:
            pipeline = attrs.evolve(pipeline, select=in_parallel(pipeline.select, plan.parallel))
        route = make_route(plan.group, pipeline, self._called, self.in_flight, self._hedge(plan))
        self._bind_shadow(plan, route)
        return route

    def _bind_shadow(self, plan: GroupPlan, route: Route) -> None:
        """Let the shadow of *plan*, if it has one, go on with the hooks of *route*."""
        if plan.shadow is None:
            return
        from asyncrouter.engine.shadow import Shadow

        (shadow,) = [one.instance for one in self.strategies(plan) if isinstance(one.instance, Shadow)]
        self._fleet.add((shadow.deployment,))
        self._fleet.shadows[plan.group.name] = self.shadow_budgets[plan.group.name]
        alone = attrs.evolve(plan.group, deployments=(shadow.deployment,))
        shadow.bind(route, make_route(alone, route.pipeline, self.providers, self.in_flight))

    def _shadow(self, plan: GroupPlan, settings: ShadowSettings) -> Shadow:
        """Return a shadow for *plan*; the budget is that of the group, in other versions and for its agents too."""
        from asyncrouter.engine.shadow import Shadow

        deployment = self.catalogue.deployments[settings.deployment]
        if settings.usd_per_hour is not None and deployment.price is None:
            problem = f"the price of {deployment.name} is not known"
            raise ConfigError(
                faults=[ConfigFault(f"{plan.path}.shadow.usd_per_hour", problem, "give it a price, or leave this out")]
            )
        budget = self.shadow_budgets.get(plan.group.name)
        if budget is None or budget.settings != settings:
            budget = self.shadow_budgets[plan.group.name] = ShadowBudget(settings)
        return Shadow(deployment, budget, self._fleet, self.catalogue.router.seed)

    def _hedge(self, plan: GroupPlan) -> Hedge | None:
        """Return the hedge of *plan*, the same for each of its routes: its budget outlives a registration."""
        if plan.hedge is None:
            return None
        hedge = self._hedges.get(plan.group.name)
        if hedge is None:
            budget = HedgeBudget(plan.hedge.max_extra_load)
            at = plan.hedge.at
            hedge = (
                Hedge(budget=budget, paces=Paces(float(at[1:]) / 100))
                if isinstance(at, str)
                else Hedge(budget=budget, after_s=at)
            )
            self._hedges[plan.group.name] = hedge
        return hedge

    def _affinity(self, plan: GroupPlan) -> SessionAffinity | None:
        """Return the affinity of *plan*, the same for each of its routes, and in another version that says the same."""
        if plan.affinity is None:
            return None
        from asyncrouter.strategies.affinity.affinity import SessionAffinity

        deployments = {one.name: one for one in plan.group.deployments}
        known = self.affinities.get(plan.path)
        if known is None or known.settings != plan.affinity or known.deployments != deployments:
            known = self.affinities[plan.path] = SessionAffinity(plan.group.deployments, plan.affinity)
        return known

    def instances(self) -> Iterator[NamedPlugin]:
        """Yield every plugin and strategy made so far, once each."""
        seen: set[int] = set()
        for one in (*self.plugins, *(s for strategies in self._strategies.values() for s in strategies)):
            if id(one.instance) not in seen:
                seen.add(id(one.instance))
                yield one

    def strategies(self, plan: GroupPlan) -> tuple[NamedPlugin, ...]:
        """Return the strategies of *plan*, made once; those that answer first come first."""
        made = self._strategies.get(id(plan))
        if made is None:
            made = self._strategies[id(plan)] = tuple(self._make_strategies(plan))
        return made

    def _make_strategies(self, plan: GroupPlan) -> Iterator[NamedPlugin]:
        faults: list[ConfigFault] = []
        names: set[str] = set()
        if plan.shadow is not None:  # first, so that it is the innermost around a request
            try:
                shadow = self._shadow(plan, plan.shadow)
                yield NamedPlugin(shadow.name, shadow)
            except ConfigError as error:
                faults.extend(error.faults)
        for kind, key, spec in _specs_of(plan):
            try:
                instance = self._make(kind, spec, self._written.get(id(spec), f"{plan.path}.{key}"))
            except ConfigError as error:
                faults.extend(spec.as_written(one, plan.path, key) for one in error.faults)
                continue
            name = f"{kind}:{spec.use or plugin_name(spec.instance)}"
            if name in names:
                faults.append(
                    ConfigFault(f"{plan.path}.{key}", f"{spec.use!r} is given twice", "leave one of them out")
                )
                continue
            names.add(name)
            yield NamedPlugin(name, instance)
        if faults:
            raise ConfigError(faults=faults)

    def _make(self, kind: Kind, spec: StrategySpec, path: str) -> Any:
        """Return the strategy or plugin of *spec*; a strategy without the hook of its kind would never be asked."""
        made = spec.instance if spec.instance is not None else self._registry.make(kind, spec.use, spec.options, path)
        hook, name = HOOK_OF.get(kind), spec.use or plugin_name(made)
        if hook is not None and hook not in hooks_of(made, name):
            cure = f"implement it, with @hookimpl above it, or name another {kind}"
            raise ConfigError(faults=[ConfigFault(path, f"{kind} {name!r} has no {hook}", cure)])
        return made

    def _add_plugin(self, spec: StrategySpec, path: str) -> None:
        instance = self._make("plugin", spec, path)
        try:
            self.add_plugin(instance, spec.use or None)
        except PluginContractError as error:
            raise ConfigError(faults=[ConfigFault(path, str(error))]) from error

    def _plans(self) -> Iterator[GroupPlan]:
        yield from self.catalogue.groups.values()
        for agent in self.catalogue.agents.values():
            if agent.plan is not None:
                yield agent.plan

    def _plugin_failed(self, error: PluginContractError) -> None:
        self._fleet.plugin_failures[error.plugin] += 1


def _specs_of(plan: GroupPlan) -> Iterator[tuple[Kind, str, StrategySpec]]:
    """Yield the strategies of *plan*, each with its kind and its key."""
    yield "estimator", "estimate", plan.estimate
    yield "selector", "select", plan.select
    yield "retry", "retry", plan.retry
    yield from (("fallback", "fallback", spec) for spec in plan.fallbacks)
    yield from (("filter", "filters", spec) for spec in plan.filters)
    if plan.judge is not None:
        yield "judge", "judge", plan.judge


class RouteTable:
    """The routes of one moment: a request keeps the table it entered with, whatever is registered meanwhile."""

    def __init__(self, assembler: Assembler) -> None:
        self._assembler = assembler
        self._by_name: dict[str | None, Route] = {}
        self._by_plan: dict[int, tuple[GroupPlan, Route]] = {}  # the plan is kept: an id is its own only while it lives
        for plan in assembler.catalogue.groups.values():
            self.of(plan)

    def find(self, name: str | None) -> Route:
        """Return the route for a name that a caller gave, ``None`` being the default.

        Raises :class:`~asyncrouter.types.errors.UnknownModelGroup` with the nearest names.
        """
        route = self._by_name.get(name)
        if route is None:
            if len(self._by_name) >= DYNAMIC_PLANS:
                self._by_name.clear()
                self._by_plan.clear()
            route = self._by_name[name] = self.of(self._assembler.plan(name))
        return route

    def of(self, plan: GroupPlan) -> Route:
        """Return the route of *plan*."""
        known = self._by_plan.get(id(plan))
        if known is None:
            known = self._by_plan[id(plan)] = (plan, self._assembler.route(plan))
        return known[1]
