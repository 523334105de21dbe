"""What the parts of a configuration say of each other: every name is known, and no fallback runs in a circle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from asyncrouter.config.checks import join, named, unknown
from asyncrouter.config.names import default_name, find_target, nearest, preset_names
from asyncrouter.config.schema import AgentSettings, RouterConfig, StrategySpec
from asyncrouter.config.two_model import RETRY_OPTIONS
from asyncrouter.types.deployments import BreakerSettings, ShadowSettings
from asyncrouter.types.errors import ConfigFault


def reference_faults(
    config: RouterConfig, groups: Collection[str] = (), deployments: Collection[str] = ()
) -> list[ConfigFault]:
    """Return every such fault of *config*.

    *groups* and *deployments* are names that exist too, though what they name is faulty in itself.
    """
    check = _Check(config, {*config.groups, *groups}, {*config.deployments, *deployments})
    return [*check.router(), *check.deployments(), *check.groups(), *check.agents()]


class _Check:
    def __init__(self, config: RouterConfig, groups: set[str], deployments: set[str]) -> None:
        self._config = config
        self._groups = groups
        self._deployments = deployments
        self._own_groups = {name for name, agent in config.agents.items() if agent.model_name is not None}

    def router(self) -> Iterator[ConfigFault]:
        name = self._config.router.default
        if name is not None and name not in self._groups | self._own_groups:
            yield from self._model("router.default", "group or deployment", name, sorted(self._groups))

    def deployments(self) -> Iterator[ConfigFault]:
        known = dict.fromkeys((*self._config.providers, *preset_names()))
        for name, settings in self._config.deployments.items():
            if settings.provider not in known:
                message, cure = unknown("provider", settings.provider, list(known), "add its table under [providers]")
                yield ConfigFault(f"deployments.{named(name)}.provider", message, cure)

    def groups(self) -> Iterator[ConfigFault]:
        for name, settings in self._config.groups.items():
            path = f"groups.{named(name)}"
            if name in self._deployments:
                yield ConfigFault(path, "a deployment has this name too", "rename one of the two")
            yield from _unknown_names(f"{path}.deployments", "deployment", settings.deployments, self._deployments)
            yield from _unknown_names(f"{path}.fallbacks", "group", settings.fallbacks, self._groups)
            for place, tier in enumerate((settings.affinity and settings.affinity.tiers) or ()):
                yield from _unknown_names(f"{path}.affinity.tiers[{place}]", "deployment", tier, settings.deployments)
            yield from self._shadow(f"{path}.shadow", settings.shadow)
        yield from self._cycles()
        yield from self._breakers()

    def agents(self) -> Iterator[ConfigFault]:
        for name, agent in self._config.agents.items():
            path = f"agents.{named(name)}"
            yield from self._agent_group(path, agent)
            yield from self._agent_models(path, name, agent)
            yield from self._overlays(path, agent)

    def _agent_group(self, path: str, agent: AgentSettings) -> Iterator[ConfigFault]:
        if agent.group is None or agent.group in self._groups:
            return
        if agent.group in self._deployments:
            cure = f'write model_name = "{agent.group}"'
            yield ConfigFault(f"{path}.group", f"{named(agent.group)} is a deployment, not a group", cure)
        else:
            yield ConfigFault(f"{path}.group", *unknown("group", agent.group, sorted(self._groups)))

    def _agent_models(self, path: str, name: str, agent: AgentSettings) -> Iterator[ConfigFault]:
        if agent.group is not None and (agent.model_name, agent.backup_model) != (None, None):
            yield ConfigFault(path, "has a group and models of its own", "write either group or model_name")
        elif agent.backup_model is not None and agent.model_name is None:
            yield ConfigFault(f"{path}.model_name", "missing", "backup_model needs the model that it backs up")
        elif agent.model_name is not None and name in self._groups | self._deployments:
            taken = "group" if name in self._groups else "deployment"
            yield ConfigFault(path, f"its models make a group of this name, which a {taken} has", "rename one of them")
        for key in ("model_name", "backup_model"):
            model = getattr(agent, key)
            if model is not None:
                yield from self._model(f"{path}.{key}", "model", model)

    def _overlays(self, path: str, agent: AgentSettings) -> Iterator[ConfigFault]:
        """Yield a fault for each key that would be laid over an object, which has no options."""
        group = self._config.groups.get(agent.group or default_name(self._config) or "")
        if group is None:
            return
        if agent.complexity_threshold is not None and agent.model_name is None and _is_object(group.select):
            yield _over_an_object(f"{path}.complexity_threshold", "select")
        if _is_object(group.retry):
            keys = (key for key in RETRY_OPTIONS if getattr(agent, key) is not None)
            yield from (_over_an_object(f"{path}.{key}", "retry") for key in keys)

    def _model(self, path: str, what: str, name: str, others: Collection[str] = ()) -> Iterator[ConfigFault]:
        deployments, providers = self._config.deployments, self._config.providers
        if name not in self._deployments and find_target(name, deployments, providers) is None:
            yield ConfigFault(path, *nearest(what, name, deployments, providers, others))

    def _shadow(self, path: str, shadow: ShadowSettings | None) -> Iterator[ConfigFault]:
        if shadow is not None and shadow.deployment not in self._deployments:
            message, cure = unknown("deployment", shadow.deployment, sorted(self._deployments))
            yield ConfigFault(f"{path}.deployment", message, cure)

    def _cycles(self) -> Iterator[ConfigFault]:
        """Yield one fault a circle, taking its last step away until none is left."""
        steps = {name: list(group.fallbacks) for name, group in self._config.groups.items()}
        while True:
            try:
                TopologicalSorter(steps).prepare()
            except CycleError as error:
                circle = list(reversed(error.args[1]))[:-1]
                first = min(range(len(circle)), key=lambda index: list(steps).index(circle[index]))
                circle = circle[first:] + circle[:first]
                shown = " → ".join((*circle, circle[0]))
                yield ConfigFault(f"groups.{named(circle[0])}.fallbacks", f"cycle {shown}", "leave one of them out")
                steps[circle[-1]].remove(circle[0])
            else:
                return

    def _breakers(self) -> Iterator[ConfigFault]:
        given: dict[str, tuple[str, BreakerSettings]] = {}
        for name, group in self._config.groups.items():
            if group.breaker is None:
                continue
            for deployment in group.deployments:
                other, breaker = given.setdefault(deployment, (name, group.breaker))
                if breaker != group.breaker:
                    message = f"groups.{named(other)} gives the deployment {named(deployment)} another breaker"
                    yield ConfigFault(f"groups.{named(name)}.breaker", message, "give both the same")


def _unknown_names(path: str, what: str, names: Iterable[str], known: Collection[str]) -> Iterator[ConfigFault]:
    for index, name in enumerate(names):
        if name not in known:
            yield ConfigFault(join(path, f"[{index}]"), *unknown(what, name, sorted(known)))


def _is_object(strategy: StrategySpec | None) -> bool:
    return strategy is not None and strategy.instance is not None


def _over_an_object(path: str, strategy: str) -> ConfigFault:
    cure = f"write {strategy} by name in the group, or leave this out"
    return ConfigFault(path, f"cannot be laid over the group's {strategy}, which is an object", cure)
