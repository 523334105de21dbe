"""One scenario from its beginning to its end, in virtual time: the real router, simulated callers and upstreams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import attrs

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.schema import ProviderSettings, RouterConfig
from asyncrouter.lab.simulation.callers import Callers, dice
from asyncrouter.lab.simulation.layers import NextRouter
from asyncrouter.lab.simulation.record import BreakerWatch, RequestRecord, UpstreamRecord
from asyncrouter.lab.simulation.schema import Scenario, SimulationSettings, UpstreamSettings
from asyncrouter.lab.simulation.upstream import SimulatedProvider, Upstream
from asyncrouter.providers.base import Provider
from asyncrouter.router import Router
from asyncrouter.testing.clock import VirtualClockLoop
from asyncrouter.types.metrics import Metrics

Told = Callable[[float], None]


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one scenario.

    ``ended_s`` is when the last request had ended; ``metrics`` are the routers' own, the outermost first; ``watch``
    noted the breakers of the last router, the one before the upstreams.
    """

    scenario: Scenario
    ended_s: float
    requests: RequestRecord
    upstreams: dict[str, UpstreamRecord]
    watch: BreakerWatch
    metrics: tuple[Metrics, ...]

    @property
    def upstream_calls(self) -> int:
        """All calls that reached an upstream."""
        return sum(one.calls for one in self.upstreams.values())

    @property
    def steps(self) -> int:
        """The length of the time line."""
        return len(self.requests.p50_s)


def simulate(scenario: Scenario, told: Told | None = None) -> Outcome:
    """Run *scenario*; the same one gives the same outcome each time.

    *told* gets the share that is done, once a step of the time line.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` where the router cannot be made of the configuration.
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(_run(scenario, told))


def staged(config: RouterConfig, provider: Provider) -> RouterConfig:
    """Return *config* with *provider* in the place of all others, and with the prices that they would have had."""
    catalogue = build_catalogue(config)
    used = {one.provider for one in catalogue.deployments.values()}
    deployments = {
        name: attrs.evolve(settings, price=catalogue.deployments[name].price)
        for name, settings in config.deployments.items()
    }
    providers = {name: ProviderSettings(instance=provider) for name in sorted(used | set(config.providers))}
    return attrs.evolve(config, providers=providers, deployments=deployments)


async def _run(scenario: Scenario, told: Told | None) -> Outcome:
    settings, now = scenario.settings, asyncio.get_running_loop().time
    names = build_catalogue(scenario.config).deployments
    records = {name: UpstreamRecord(now, settings.interval_s) for name in names}
    provider: Provider = SimulatedProvider(
        {name: Upstream(_upstream(settings, name), dice(settings.seed, name), now, records[name]) for name in names}
    )
    watch, requests = BreakerWatch(now), RequestRecord(now, settings.interval_s)
    routers: list[Router] = []
    async with contextlib.AsyncExitStack() as stack:
        for layer in range(settings.layers):
            router = Router(staged(scenario.config, provider), plugins=[] if layer else [watch], seed=settings.seed)
            routers.insert(0, await stack.enter_async_context(router))
            provider = NextRouter(router)
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(_steps(requests, settings, told))
            await Callers(routers[0], settings, requests).all_ended()
            clock.cancel()
        requests.close_step()
    return Outcome(
        scenario=scenario,
        ended_s=now(),
        requests=requests,
        upstreams=records,
        watch=watch,
        metrics=tuple(router.metrics() for router in routers),
    )


def _upstream(settings: SimulationSettings, name: str) -> UpstreamSettings:
    return settings.upstreams.get(name) or settings.upstreams.get("*") or UpstreamSettings()


async def _steps(requests: RequestRecord, settings: SimulationSettings, told: Told | None) -> None:
    for step in range(1, 1 << 62):
        await asyncio.sleep(step * settings.interval_s - requests.now())
        requests.close_step()
        if told is not None:
            told(min(1.0, _done(requests, settings)))


def _done(requests: RequestRecord, settings: SimulationSettings) -> float:
    return max(requests.now() / settings.duration_s, requests.begun / settings.requests if settings.requests else 0.0)
