"""What stands when nothing is configured: two deployments of the packaged local model, the second for hard requests.

It needs no key and no network: the provider kind ``local`` comes with the distribution asyncrouter-local.  Both are the
same model, each in a server of its own, so that one can fail while the other answers.
"""

from __future__ import annotations

from asyncrouter.config.schema import (
    DeploymentSettings,
    GroupSettings,
    ProviderSettings,
    RouterConfig,
    RouterSettings,
    StrategySpec,
)
from asyncrouter.types.deployments import Capability

MODEL = "smollm2-135m"
THRESHOLD = 0.7
"""Complexity in [0, 1] from which the second deployment is asked first."""
CONTEXT_WINDOW = 2048
"""Tokens: what the provider ``local`` gives each call unless told otherwise."""
CAPABILITIES = frozenset({Capability.TOOLS, Capability.JSON_SCHEMA, Capability.STREAMING})
"""Offered tools are accepted, though this model never calls one; images are refused."""


def embedded_config() -> RouterConfig:
    """Return the embedded default."""
    names = ("small", "large")
    return RouterConfig(
        router=RouterSettings(default="default"),
        providers={f"local-{name}": ProviderSettings(kind="local") for name in names},
        deployments={
            name: DeploymentSettings(
                provider=f"local-{name}", model=MODEL, context_window=CONTEXT_WINDOW, capabilities=CAPABILITIES
            )
            for name in names
        },
        groups={
            "default": GroupSettings(
                deployments=names,
                estimate=StrategySpec(use="heuristic"),
                select=StrategySpec(use="complexity", options={"threshold": THRESHOLD}),
            )
        },
    )
