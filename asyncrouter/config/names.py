"""What a model's name stands for: a deployment, ``provider/model``, or a model that a provider is known to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from asyncrouter.config.checks import unknown
from asyncrouter.config.schema import DeploymentSettings, ProviderSettings, RouterConfig
from asyncrouter.types.deployments import Deployment

Deployments = Mapping[str, DeploymentSettings] | Mapping[str, Deployment]

DEFAULT_GROUP = "default"
"""The group that answers when the configuration names no other."""
LONGEST_NAME = 256
"""Characters of a name that stands for a model nobody has configured."""
LONGEST_COMPARED = 100
"""A longer name is no misspelling: comparing takes the product of the lengths, three seconds for 100 kB."""


@attrs.frozen(kw_only=True)
class Target:
    """A provider and a model there, and the configured deployment of it, when there is one."""

    provider: str
    model: str
    deployment: str | None = None


def preset_names() -> Iterable[str]:
    """Return the names of the providers that need no table of their own."""
    from asyncrouter.providers.presets import PRESETS  # wanted only where a name has to be looked up

    return PRESETS


def default_name(config: RouterConfig) -> str | None:
    """Return the name that stands where a caller names none.

    It is ``router.default``; without it the group called "default", else the only group, else, when there are no
    groups, the only deployment.
    """
    if config.router.default is not None or DEFAULT_GROUP in config.groups:
        return config.router.default or DEFAULT_GROUP
    names = list(config.groups or config.deployments)
    return names[0] if len(names) == 1 else None


def find_target(name: str, deployments: Deployments, providers: Mapping[str, ProviderSettings]) -> Target | None:
    """Return what *name* stands for, or ``None``: groups are not looked at.

    The order: a deployment's name; ``provider/model`` where the provider is configured or preset; the model of a
    deployment; a name that a preset is known to serve.  What nobody has configured is of printable characters: it
    comes to stand in messages, logs and metrics.
    """
    if name in deployments:
        return Target(provider=deployments[name].provider, model=deployments[name].model, deployment=name)
    if len(name) > LONGEST_NAME or not name.isprintable():
        return None
    provider, _, model = name.partition("/")
    if model and (provider in providers or provider in preset_names()):
        return _configured(provider, model, deployments)
    for deployment, settings in deployments.items():
        if settings.model == name:
            return Target(provider=settings.provider, model=name, deployment=deployment)
    served_by = _provider_serving(name, providers)
    return None if served_by is None else Target(provider=served_by, model=name)


def nearest(
    what: str,
    name: str,
    deployments: Deployments,
    providers: Mapping[str, ProviderSettings],
    others: Iterable[str] = (),
) -> tuple[str, str]:
    """Return message and cure for a model's *name* that stands for nothing; *others* are names known besides.

    Of a name that is long or not printable nothing is repeated as it is.
    """
    known = [*others, *deployments, *dict.fromkeys(settings.model for settings in deployments.values())]
    _, slash, model = name.partition("/")
    if len(name) > LONGEST_COMPARED:
        known = []
    elif slash and name.isprintable():
        known += [f"{provider}/{model}" for provider in dict.fromkeys((*providers, *preset_names()))]
    cure = "name a configured or preset provider before the slash"
    return unknown(what, name, known, cure if slash else 'write "provider/model" where the provider is to be told')


def _configured(provider: str, model: str, deployments: Deployments) -> Target:
    """Return the target, with the first deployment of that model: its price and limits are known."""
    for name, settings in deployments.items():
        if (settings.provider, settings.model) == (provider, model):
            return Target(provider=provider, model=model, deployment=name)
    return Target(provider=provider, model=model)


def _provider_serving(model: str, providers: Mapping[str, ProviderSettings]) -> str | None:
    """Return the preset known to serve *model*, or the configured provider that stands for it."""
    from asyncrouter.providers.presets import provider_for_model

    preset = provider_for_model(model)
    if preset is None:
        return None
    if preset.name in providers:
        return preset.name
    for name, settings in providers.items():
        if settings.kind == preset.name and "base_url" not in settings.options:  # elsewhere it serves other models
            return name
    return preset.name
