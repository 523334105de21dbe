"""The async door: ``async with Router.from_config(...) as router``."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import random
import secrets
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio

from asyncrouter.assembler import Assembler, NamedPlugin, RouteTable, builtin_registry
from asyncrouter.calls import Calls
from asyncrouter.config.catalogue import AgentPlan, GroupPlan, build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import RouterConfig
from asyncrouter.engine.clock import LoopClock, running_loop, time_of_running_loop
from asyncrouter.engine.loop import Engine
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.hooks.registry import Registry, did_you_mean
from asyncrouter.state.budgets import RetryBudget
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.clock import Clock
from asyncrouter.types.errors import ConfigError, ConfigFault, InvalidRequest, PluginContractError
from asyncrouter.types.events import FeedbackGiven
from asyncrouter.types.metrics import Metrics
from asyncrouter.types.request import (
    EMPTY,
    Prompt,
    Request,
    check_naming,
    checked_complexity,
    checked_deadline,
    messages_of,
    new_request,
)
from asyncrouter.types.response import Response
from asyncrouter.versions import Closer, Version, close_all, drain

RESERVED = {
    "messages": "pass the messages as the first argument",
    "stream": "use router.stream(...)",
}
"""Wire fields that the router itself sets, and what to do instead of passing them."""

ELSEWHERE = (
    "the router was entered in another event loop, or before a fork; connections, slots and timers belong to that one: "
    "enter a router in each loop, or share a SyncRouter between threads"
)

Source = str | os.PathLike[str] | Mapping[str, Any] | RouterConfig | None


class Router(Calls):
    """Routes calls over a configuration.  Enter it with ``async with``; everything it opened is closed on leaving.

    *plugins* are registered as :meth:`register` does.  *clock* and *seed* make time and randomness repeatable in tests.
    """

    def __init__(
        self,
        config: RouterConfig,
        *,
        plugins: Iterable[object] = (),
        registry: Registry | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        settings = config.router
        catalogue = build_catalogue(config)
        self.registry = registry or builtin_registry()
        self.fleet = Fleet(
            clock or LoopClock(),
            random.Random(settings.seed if seed is None else seed),  # noqa: S311 - jitter is no secret
            RetryBudget(settings.retry_budget, settings.retry_floor),
        )
        self.engine = Engine(self.fleet)
        self._assembler = Assembler(catalogue, self.registry, self.fleet)
        self._assembler.check(settings.plugins, config.outcomes)
        self._given: list[NamedPlugin] = []
        for plugin in plugins:
            self._given.append(NamedPlugin(self._assembler.add_plugin(plugin), plugin))
        self._routes = RouteTable(self._assembler)
        self._version = Version(self._assembler)
        self._retired: list[Version] = []
        self._changing = anyio.Lock()
        self._id = secrets.token_hex(8)  # requests are told apart across processes: they meet in one outcome log
        self._numbers = itertools.count(1)
        self._follows_loop = clock is None
        self._home: asyncio.AbstractEventLoop | None = None
        self._entered = False
        self._closed = False

    @classmethod
    def from_config(
        cls,
        source: Source = None,
        *,
        plugins: Iterable[object] = (),
        registry: Registry | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> Self:
        """Make a router of *source*: a path (.toml, .yaml, .json), a mapping, a :class:`RouterConfig`, or ``None``.

        ``None`` takes ``asyncrouter.toml`` (or .yaml, .json) of the working directory, or else the embedded default.
        Raises :class:`~asyncrouter.types.errors.ConfigError` with every fault found.
        """
        return cls(load_config(source), plugins=plugins, registry=registry, clock=clock, seed=seed)

    def _core(self) -> Router:
        return self

    async def __aenter__(self) -> Self:
        """Start the plugins."""
        if self._entered:
            raise RuntimeError("this router was entered before; make a new one with Router.from_config(...)")
        self._entered = True
        self._home = running_loop()
        if self._follows_loop:
            self.fleet.now = time_of_running_loop()
        try:
            await self._version.start(self)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        """Close the router, without grace."""
        await self.aclose()

    async def aclose(self, *, grace_s: float = 0.0) -> None:
        """Refuse new calls, let those under way end, shut the plugins down, and close every provider.

        Calls that are still under way after *grace_s* seconds (0 or more) end with
        :class:`~asyncrouter.types.errors.RouterClosed`.  Everything is closed, whatever fails; the first failure is
        raised at the end.
        """
        if self._closed:
            return
        self._closed = True
        versions = [*self._retired, self._version]
        closers: list[Closer] = [functools.partial(drain, versions, grace_s)]
        for version, successor in itertools.pairwise([*versions, None]):
            if version is not None:
                closers += version.closers(self, successor)
        await close_all(closers)

    async def reconfigure(self, source: Source = None) -> None:
        """Take up another configuration for the calls that start from now on; those under way keep theirs.

        Deployments that both name keep their state (latency, breaker, counters); providers with the same settings keep
        their connections; plugins given in Python stay registered.  Returns when the last call of the configuration
        before has ended and what only that used is closed.  Raises
        :class:`~asyncrouter.types.errors.ConfigError` (or what a plugin's startup raises), and changes nothing, when
        the new one does not do.  The seed and the clock stay.
        """
        self._check_open()
        async with self._changing:
            retired = await self._take_up(load_config(source))
        await retired.in_flight.quiet()
        if retired in self._retired:  # or else the router was closed meanwhile, and this with it
            self._retired.remove(retired)
            await close_all(retired.closers(self, self._version))
            known = self._assembler.catalogue.deployments
            self.fleet.forget(name for name in retired.assembler.catalogue.deployments if name not in known)

    async def _take_up(self, config: RouterConfig) -> Version:
        """Make *config* the one that new calls enter with; return the version before."""
        assembler = Assembler(build_catalogue(config), self.registry, self.fleet, before=self._assembler)
        assembler.check(config.router.plugins, config.outcomes)
        for one in self._given:
            assembler.add_plugin(one.instance, one.name)
        routes, version = RouteTable(assembler), Version(assembler)
        try:
            await version.start(self, self._version)
            self._check_open()
        except BaseException:
            await close_all(version.closers(self, self._version))
            raise
        self.fleet.adopt(assembler.catalogue.deployments.values())
        self.fleet.budget.adopt(config.router.retry_budget, config.router.retry_floor)
        retired, self._version = self._version, version
        self._retired.append(retired)
        self._assembler, self._routes = assembler, routes
        return retired

    def _check_open(self) -> None:
        if not self._entered or self._closed:
            raise RuntimeError("the router is not open; use it inside: async with Router.from_config(...) as router")

    def for_agent(self, name: str) -> AgentRouter:
        """Return the same calls with the defaults of the agent called *name*.

        Raises :class:`~asyncrouter.types.errors.ConfigError` with the nearest name when there is no such agent.
        """
        self.agent_plan(name)
        return AgentRouter(self, name)

    def agent_plan(self, name: str) -> AgentPlan:
        """Return the plan of the agent called *name*; raise as :meth:`for_agent` does.  For the doors."""
        agents = self._assembler.catalogue.agents
        agent = agents.get(name)
        if agent is None:
            cure = did_you_mean(name, agents) or f"known: {', '.join(sorted(agents)) or 'none'}"
            raise ConfigError(faults=[ConfigFault(f"agents.{name}", "no such agent", cure)])
        return agent

    def plan(self, agent: str | None = None) -> GroupPlan:
        """Return the plan of the default group, or of *agent*: what is asked when no model is named."""
        if agent is None:
            return self._assembler.plan(None)
        plan = self.agent_plan(agent).plan
        return self._assembler.plan(None) if plan is None else plan

    def metrics(self) -> Metrics:
        """Return a snapshot of calls, failures, retries, fallbacks, hedges, tokens, cost, latency and breakers."""
        return self.fleet.metrics()

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register *plugin* for the requests that start afterwards; return its name.

        Its startup hook runs only when it is registered before the router is entered.  Raises
        :class:`~asyncrouter.types.errors.PluginContractError`, and changes nothing, when it breaks a hook's contract.
        """
        name = self._assembler.add_plugin(plugin, name)
        try:
            self._routes = RouteTable(self._assembler)
        except PluginContractError:  # a strategy of some group has that name
            self._assembler.remove_plugin(plugin)
            raise
        self._given.append(NamedPlugin(name, plugin))
        return name

    def unregister(self, plugin: object) -> None:
        """Leave out *plugin* (the instance or its name) for the requests that start afterwards."""
        self._assembler.remove_plugin(plugin)
        self._given = [one for one in self._given if one.instance is not plugin and one.name != plugin]
        self._routes = RouteTable(self._assembler)

    async def feedback(self, /, response: Response, score: float) -> None:
        """Tell the observers how good *response* was, from 0 to 1: what learning strategies learn from.

        *response* is one of this router's.  Raises ``ValueError`` when *score* is out of its range.
        """
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"score: expected a number from 0 to 1, not {score!r}")
        observe = self._routes.find(response.trace.groups[0]).pipeline.observe
        if observe is not None:
            observe(FeedbackGiven(response, score))

    def enter(
        self,
        prompt: Prompt,
        *,
        agent: AgentPlan | None,
        model: str | None,
        complexity: float | None,
        params: dict[str, Any],
        deadline_s: float | None = None,
        session: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> tuple[Request, Route, FindRoute]:
        """Return the checked request, its route, and the routes of its moment.  For the doors; callers have no need."""
        if not self._entered or self._closed:
            self._check_open()
        if running_loop() is not self._home:
            raise RuntimeError(ELSEWHERE)
        messages = messages_of(prompt)
        if complexity is not None:
            complexity = checked_complexity(complexity)
        if deadline_s is not None:
            deadline_s = checked_deadline(deadline_s)
        if not (model is None and session is None and metadata is None):
            check_naming(model, session, metadata)
        if params and (reserved := RESERVED.keys() & params.keys()):
            name = min(reserved)
            raise InvalidRequest(f"{name}: is set by the router; {RESERVED[name]}")
        if agent is not None:
            params = {**agent.params, **params}
            deadline_s = deadline_s or agent.deadline_s
        table = self._routes
        route = self._route(table, agent, model)
        request = new_request(
            messages=messages,
            params=params,
            model=model,
            complexity=complexity,
            deadline=self.fleet.now() + (deadline_s or route.group.deadline_s),
            session=session,
            metadata=metadata or EMPTY,
            agent=None if agent is None else agent.name,
            stream=stream,
            id=f"{self._id}-{next(self._numbers)}",
        )
        transform = route.pipeline.transform
        if transform is not None:
            request = transform(request)
            if request.model != model:
                route = self._route(table, agent, request.model)
        return request, route, table.find

    @staticmethod
    def _route(table: RouteTable, agent: AgentPlan | None, model: str | None) -> Route:
        if model is None and agent is not None and agent.plan is not None:
            return table.of(agent.plan)
        return table.find(model)


class AgentRouter(Calls):
    """A router seen through one agent's profile: its group, threshold, parameters and budgets are the defaults."""

    def __init__(self, router: Router, name: str) -> None:
        self._router = router
        self._name = name

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._name

    @property
    def plan(self) -> GroupPlan | None:
        """What is asked when no model is named; ``None``: the router's default."""
        return self._profile().plan

    def _profile(self) -> AgentPlan:
        return self._router.agent_plan(self._name)  # asked each time: another configuration may have been taken up

    def _core(self) -> Router:
        return self._router

    def metrics(self) -> Metrics:
        """Return the router's snapshot; ``metrics().agents[name]`` is this agent's part."""
        return self._router.metrics()
