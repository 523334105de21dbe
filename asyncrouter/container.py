"""A dependency-injection container over the router and the two-model facade (extra ``di``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from dependency_injector import containers, providers
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'the container needs dependency-injector; run: pip install "asyncrouter[di]"', name=error.name
    ) from error

from asyncrouter.manager import ModelManager, ModelManagerProvider
from asyncrouter.router import Router

DEFAULTS: Mapping[str, Any] = {
    "model": {
        "primary_model": "gpt-4",
        "backup_model": "gpt-3.5-turbo",
        "complexity_threshold": 0.7,
        "max_retries": 5,
        "initial_delay": 1.0,
        "backoff_factor": 2.0,
        "jitter": True,
    },
    "agents": {},
}
"""What a container is made of where the user says nothing: the two models of the original system."""


class ContainerFactory:
    """Makes containers."""

    @staticmethod
    def create_container(config: Mapping[str, Any] | None = None) -> containers.DynamicContainer:
        """Return a container of *config*, laid over :data:`DEFAULTS` recursively.

        It offers ``model_manager()``, ``<agent>_model_manager()`` for every agent, and ``router()``, each a singleton,
        and ``config()``, the mapping it was made of.  A configuration with ``groups`` of its own takes no defaults.
        A wrong one raises :class:`~asyncrouter.types.errors.ConfigError` when one of them is first asked for.
        """
        given = config or {}
        merged = merge({} if "groups" in given or "deployments" in given else DEFAULTS, given)
        container = containers.DynamicContainer()
        container.config = providers.Object(merged)
        container.router = providers.Singleton(Router.from_config, merged)
        container.model_manager = providers.Singleton(ModelManager, config=merged)
        agents = merged.get("agents")
        for agent in agents if isinstance(agents, Mapping) else ():
            manager = providers.Singleton(ModelManagerProvider.create_for_agent, agent, config=merged)
            setattr(container, f"{agent}_model_manager", manager)
        return container


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return *over* laid over *under*: mappings are merged key by key, anything else is replaced.

    The mappings in the result are all new, so that writing to it changes neither of the two.
    """
    merged = {key: merge({}, value) if isinstance(value, Mapping) else value for key, value in under.items()}
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below if isinstance(below, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged
