"""The two-model facade at work: ``python -m asyncrouter.examples.model_fallback``.

A primary model answers, a backup takes what is too complex for it, and either one stands in when the other fails.  Both
are the embedded default's: the packaged local model, twice, each in a server of its own; no key, no network.
"""

from __future__ import annotations

import sys
from typing import Any

import anyio
import attrs

from asyncrouter import ConfigError, ModelManager, ModelManagerProvider, Response, RouterConfig
from asyncrouter.config.embedded import embedded_config
from asyncrouter.config.schema import AgentSettings, ProviderSettings

EASY = "Name a fruit."
MIDDLING = "Explain the difference between weather and climate."
HARD = "Prove by induction that n^3 - n is divisible by 6, and analyze step by step where the argument could fail."
SHORT: dict[str, Any] = {"max_tokens": 16}
"""Answers of a few words: this is about who answers.  Any parameter is passed on to the model."""


def say(text: str = "") -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")


def show(asked: str, reply: Response) -> None:
    """Print who answered, after which attempts, and how the answer begins."""
    attempts = ", ".join(f"{one.deployment} {one.outcome}" for one in reply.trace.attempts)
    say(f"  {asked:32} answered by {reply.deployment:6} ({attempts}): {' '.join(reply.text.split())[:40]!r}")


def show_metrics(manager: ModelManager) -> None:
    """Print the manager's counters as a table."""
    for name, value in manager.get_metrics().items():
        say(f"  {name:16} {value:>8}")


def complexity(manager: ModelManager) -> None:
    """Estimate: needs no server, no key and no router."""
    say(f"Complexity, from 0 to 1; the backup is for {manager.complexity_threshold} and more")
    for prompt in (EASY, MIDDLING, HARD):
        say(f"  {manager.estimate_complexity(prompt):.2f}  {prompt}")


def choice(manager: ModelManager) -> None:
    """Choose: the complexity that is given decides, unless a model is named."""
    say(f"\nChoice between primary {manager.primary_model!r} and backup {manager.backup_model!r}")
    show("easy", manager.generate(EASY, complexity=manager.estimate_complexity(EASY), **SHORT))
    show("hard", manager.generate(HARD, complexity=manager.estimate_complexity(HARD), **SHORT))
    show("no complexity given", manager.generate(HARD, **SHORT))
    show("hard, but the primary is named", manager.generate(HARD, model=manager.primary_model, complexity=0.9, **SHORT))


async def fallback(manager: ModelManager, server: Any) -> None:
    """Fall back: the primary's server is really stopped, so that its port refuses connections.  From async code."""
    say(f"\nFallback: the server of {manager.primary_model!r} is stopped, and started again")
    show("before", await manager.generate_async(EASY, **SHORT))
    await server.stop()
    show("stopped", await manager.generate_async(EASY, **SHORT))
    await server.start()
    show("started again", await manager.generate_async(EASY, **SHORT))


def agents(config: RouterConfig) -> None:
    """Give each agent a manager with its own profile: the same models, another threshold."""
    say("\nAgents: the same prompt of complexity 0.5, two thresholds")
    for name in config.agents:
        with ModelManagerProvider.create_for_agent(name, config) as manager:
            show(f"{name}, {manager.complexity_threshold}", manager.generate(MIDDLING, complexity=0.5, **SHORT))


def stoppable(config: RouterConfig) -> tuple[RouterConfig, dict[str, Any]]:
    """Return *config* over servers that are in our own hands, and these servers by their providers' names."""
    from asyncrouter_local import LocalProvider  # a plugin: installed wherever the embedded default works

    servers = {name: LocalProvider(name=name) for name in config.providers}
    providers = {name: ProviderSettings(instance=server) for name, server in servers.items()}
    return attrs.evolve(config, providers=providers), servers


def main() -> int:
    """Run the example; return the exit code: 0, or 2 when the local model is not installed."""
    try:
        with ModelManager() as manager:  # nothing configured: the embedded default
            complexity(manager)
            choice(manager)
            say("\nMetrics so far")
            show_metrics(manager)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2

    config, servers = stoppable(embedded_config())
    with ModelManager(config=config) as manager:
        primary = config.deployments[manager.primary_model].provider
        anyio.run(fallback, manager, servers[primary])
        say("\nMetrics of the fallback")
        show_metrics(manager)

    profiles = {"recon": AgentSettings(complexity_threshold=0.8), "writer": AgentSettings(complexity_threshold=0.4)}
    agents(attrs.evolve(embedded_config(), agents=profiles))
    return 0


if __name__ == "__main__":
    sys.exit(main())
