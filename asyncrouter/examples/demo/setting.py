"""The demonstration's configuration: the embedded default, with servers that can be stopped and started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from asyncrouter.assembler import builtin_registry
from asyncrouter.config.embedded import THRESHOLD, embedded_config
from asyncrouter.config.schema import ProviderSettings, RouterConfig
from asyncrouter.providers.base import Provider
from asyncrouter.types.deployments import BreakerSettings, Timeouts

WEAK, STRONG = "small", "large"
"""The deployments of the embedded default."""
STOPPED = WEAK
"""The deployment whose server is stopped midway."""
MAX_TOKENS = 16
"""Length of an answer in tokens: enough to see one come, and few enough for a minute on two processors."""

BREAKER = BreakerSettings(failures=3, open_s=0.5, open_cap_s=0.5)
"""Half a second is less than a server needs to start, so the restarted one is asked again at once."""
PATIENT = Timeouts(first_token_s=60.0, idle_s=60.0, attempt_s=120.0)
DEADLINE_S = 240.0
"""A machine that is busy with something else is slow, but no call is lost to that."""


class Server(Provider, Protocol):
    """A provider whose server can be stopped, its port refusing connections, and started again."""

    async def start(self) -> str:
        """Start the server unless it runs; return its base URL."""
        ...

    async def stop(self) -> None:
        """Stop the server."""
        ...


def local_servers() -> dict[str, Server]:
    """Return the embedded default's providers by name, not started yet.

    Raises :class:`~asyncrouter.types.errors.ConfigError` with the cure when the local provider or its model is missing.
    """
    registry = builtin_registry()
    return {
        name: registry.make("provider", settings.kind or name, settings.options, f"providers.{name}", name=name)
        for name, settings in embedded_config().providers.items()
    }


def demo_config(servers: Mapping[str, Server]) -> RouterConfig:
    """Return the embedded default over *servers*, with short answers and a breaker that looks again soon.

    A stream that breaks off begins anew elsewhere (``on_interrupt = "restart"``), so that it is not lost either.
    """
    config = embedded_config()
    groups = {
        name: attrs.evolve(
            group,
            breaker=BREAKER,
            timeouts=PATIENT,
            deadline_s=DEADLINE_S,
            on_interrupt="restart",
            params={"max_tokens": MAX_TOKENS},
        )
        for name, group in config.groups.items()
    }
    providers = {name: ProviderSettings(instance=server) for name, server in servers.items()}
    return attrs.evolve(config, providers=providers, groups=groups)


def stopped_provider() -> str:
    """Return the name of the provider whose server is stopped midway."""
    return embedded_config().deployments[STOPPED].provider


def chosen_by(complexity: float) -> str:
    """Return the deployment that *complexity*, from 0 to 1, asks for."""
    return STRONG if complexity >= THRESHOLD else WEAK
