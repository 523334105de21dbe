"""The original dictionary form: one primary model, one backup for what is too complex, and agents with models."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from asyncrouter.config.names import DEFAULT_GROUP, find_target, nearest
from asyncrouter.config.schema import (
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    RouterConfig,
    StrategySpec,
    TwoModelSettings,
)
from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter.types.request import EMPTY

TABLE = "model"
"""The table's name."""

AGENT_KEYS = {
    "model_name": "primary_model",
    "backup_model": "backup_model",
    "complexity_threshold": "complexity_threshold",
    "max_retries": "max_retries",
    "initial_delay": "initial_delay",
    "backoff_factor": "backoff_factor",
    "jitter": "jitter",
}
"""Keys of an agent with models of its own, and where the ones it leaves out are taken from."""

RETRY_OPTIONS = {
    "max_retries": "max_retries",
    "initial_delay": "initial_delay_s",
    "backoff_factor": "factor",
    "jitter": "jitter",
}
"""Keys of this form, and the options of the ``exponential`` retry that they set."""


def two_model_config(
    primary_model: str,
    backup_model: str | None = None,
    *,
    complexity_threshold: float = 0.7,
    max_retries: int = 5,
    initial_delay: float = 1.0,
    backoff_factor: float = 2.0,
    jitter: bool = True,
    agents: Mapping[str, AgentSettings] = EMPTY,
    base: RouterConfig | None = None,
) -> RouterConfig:
    """Return the configuration of two models: the backup answers what reaches ``complexity_threshold``.

    Delays are in seconds.  *base* holds providers and deployments that the models may name, and the router's
    settings.  Raises :class:`~asyncrouter.types.errors.ConfigError` naming the argument.
    """
    models = TwoModelSettings(
        primary_model=primary_model,
        backup_model=backup_model,
        complexity_threshold=complexity_threshold,
        max_retries=max_retries,
        initial_delay=initial_delay,
        backoff_factor=backoff_factor,
        jitter=jitter,
    )
    base = base or RouterConfig()
    config, faults = with_two_models(attrs.evolve(base, agents={**base.agents, **agents}), models)
    if faults:
        raise ConfigError(faults=[attrs.evolve(f, path=f.path.removeprefix(f"{TABLE}.")) for f in faults])
    return config


def with_two_models(
    config: RouterConfig, models: TwoModelSettings, also: Collection[str] = ()
) -> tuple[RouterConfig, list[ConfigFault]]:
    """Return *config* with the two models as its group ``default``, and the faults of their names.

    *also* are names of deployments that exist too, though they are faulty in themselves.
    """
    if DEFAULT_GROUP in config.groups:
        return config, [
            ConfigFault(TABLE, f'makes the group "{DEFAULT_GROUP}", which groups.{DEFAULT_GROUP} makes too', "keep one")
        ]
    deployments = dict(config.deployments)
    names, faults = [], []
    for key in ("primary_model", "backup_model"):
        name = getattr(models, key)
        if name is None:
            continue
        target = find_target(name, deployments, config.providers)
        if target is None and name not in also:
            faults.append(ConfigFault(f"{TABLE}.{key}", *nearest("model", name, deployments, config.providers)))
        if target is not None and target.deployment is None:
            deployments[name] = DeploymentSettings(provider=target.provider, model=target.model)
        names.append(name if target is None else target.deployment or name)
    if faults:
        return config, faults
    deployed = tuple(dict.fromkeys(names))
    group = GroupSettings(
        deployments=deployed,
        select=by_threshold(models.complexity_threshold) if len(deployed) > 1 else None,
        retry=retry_of(models, None),
    )
    agents = {name: _completed(agent, models) for name, agent in config.agents.items()}
    return attrs.evolve(
        config, deployments=deployments, groups={DEFAULT_GROUP: group, **config.groups}, agents=agents
    ), []


def by_threshold(threshold: float) -> StrategySpec:
    """Return the selector that takes the second of two deployments from *threshold* on."""
    return StrategySpec(use="complexity", options={"threshold": threshold})


def retry_of(settings: TwoModelSettings | AgentSettings, under: StrategySpec | None) -> StrategySpec | None:
    """Return the retry strategy that *settings* make of the one they are laid over; without any, *under* itself."""
    options = {ours: (theirs, getattr(settings, theirs)) for theirs, ours in RETRY_OPTIONS.items()}
    options = {option: given for option, given in options.items() if given[1] is not None}
    return (under or StrategySpec(use="exponential")).under(options) if options else under


def _completed(agent: AgentSettings, models: TwoModelSettings) -> AgentSettings:
    """Return an agent that names a model of its own with what it leaves out taken from the table."""
    if agent.group is not None or (agent.model_name is None and agent.backup_model is None):
        return agent
    missing = {key: getattr(models, there) for key, there in AGENT_KEYS.items() if getattr(agent, key) is None}
    return attrs.evolve(agent, **missing)
