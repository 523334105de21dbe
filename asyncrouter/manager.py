"""The two-model facade: a primary model, a backup for what is too complex, and each the other's fallback."""

from __future__ import annotations

import asyncio
import functools
import threading
from types import NoneType
from typing import Any, Self

import attrs

from asyncrouter.config.catalogue import GroupPlan, build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.names import DEFAULT_GROUP, find_target
from asyncrouter.config.schema import (
    CONTENT_FILTER,
    DeploymentSettings,
    GroupSettings,
    RouterConfig,
    TwoModelSettings,
)
from asyncrouter.config.two_model import two_model_config
from asyncrouter.hooks.options import fault, share
from asyncrouter.router import AgentRouter, Router, Source
from asyncrouter.strategies.estimators.heuristic import HeuristicEstimator
from asyncrouter.sync import CLOSED, SyncAgentRouter, SyncRouter
from asyncrouter.types.metrics import Metrics
from asyncrouter.types.request import Prompt, Request, checked_complexity, messages_of
from asyncrouter.types.response import Response

PRIMARY_FIRST = "model_manager.primary"
BACKUP_FIRST = "model_manager.backup"
"""The two groups that the facade adds: the same two models, in either order."""
DEFAULT_THRESHOLD = 0.7


class ModelManager:
    """A primary model, a backup model, and the choice between them.

    A complexity given, at or over the threshold, with a backup configured and no explicit model, takes the backup;
    everything else takes the primary.  Either one failing falls over to the other.  An explicit ``model`` is never
    overridden by complexity.

    *config* is any source of :meth:`Router.from_config <asyncrouter.router.Router.from_config>`; the first two
    deployments of its default group are the models where none are named here.  The retry arguments go with
    *primary_model*; where the models come from a configuration, its retries do.  *router* is a router that exists
    already, whose own configuration then decides; it stays the caller's to close.  With neither, and no model named,
    the embedded default answers.

    The router is made with the first call, in an event loop of its own, and closed by :meth:`close` or at exit: a
    manager may be made, and asked for a complexity, where no key is set.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` when an argument is wrong.
    """

    def __init__(
        self,
        primary_model: str | None = None,
        backup_model: str | None = None,
        complexity_threshold: float | None = None,
        *,
        max_retries: int = 5,
        initial_delay: float = 1.0,
        backoff_factor: float = 2.0,
        jitter: bool = True,
        config: Source = None,
        router: Router | SyncRouter | None = None,
        agent: str | None = None,
    ) -> None:
        self.agent = agent
        self._estimator = HeuristicEstimator()
        self._given_router = router
        self._own_router: SyncRouter | None = None
        self._opening = threading.Lock()
        self._closed = False
        if complexity_threshold is not None:
            share(None, attrs.fields(TwoModelSettings).complexity_threshold, complexity_threshold)
        if router is not None:
            _refuse_other_routers(router)
            plan = (router.calls if isinstance(router, SyncRouter) else router).plan(agent)
            self._config: RouterConfig | None = None
        else:
            if primary_model is None and backup_model is not None:
                raise fault("backup_model", "there is no primary_model to back up", "name both, or neither")
            if primary_model is not None:
                base = _without_default(load_config(config)) if config is not None else None
                config = two_model_config(
                    primary_model,
                    backup_model,
                    complexity_threshold=DEFAULT_THRESHOLD if complexity_threshold is None else complexity_threshold,
                    max_retries=max_retries,
                    initial_delay=initial_delay,
                    backoff_factor=backoff_factor,
                    jitter=jitter,
                    base=base,
                )
            self._config, plan = _facade_config(load_config(config), agent)
        self._deployments = tuple(one.name for one in plan.group.deployments[:2])
        threshold = plan.select.options.get("threshold", DEFAULT_THRESHOLD)
        self.complexity_threshold: float = threshold if complexity_threshold is None else complexity_threshold

    @property
    def primary_model(self) -> str:
        """The primary deployment's name."""
        return self._deployments[0]

    @property
    def backup_model(self) -> str | None:
        """The backup deployment's name, ``None`` without one."""
        return self._deployments[1] if len(self._deployments) > 1 else None

    def generate(
        self, prompt: Prompt, model: str | None = None, complexity: float | None = None, **params: Any
    ) -> Response:
        """Return the answer to *prompt*; errors as for :meth:`~asyncrouter.calls.Calls.generate`."""
        calls = self._calls()
        return calls.generate(prompt, model=self._asked(model, complexity), complexity=complexity, **params)

    async def generate_async(
        self, prompt: Prompt, model: str | None = None, complexity: float | None = None, **params: Any
    ) -> Response:
        """Return the answer to *prompt* without blocking the running loop; cancelling it cancels the call."""
        asked = self._asked(model, complexity)
        if isinstance(self._given_router, Router):
            router: Router | AgentRouter = self._given_router
            if self.agent is not None:
                router = self._given_router.for_agent(self.agent)
            return await router.generate(prompt, model=asked, complexity=complexity, **params)
        calls = self._calls()
        call = functools.partial(calls.calls.generate, prompt, model=asked, complexity=complexity, **params)
        try:
            return await asyncio.wrap_future(calls.start(call))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(CLOSED) from None

    def estimate_complexity(self, prompt: Prompt) -> float:
        """Return how hard *prompt* is, from 0 to 1, by the heuristic estimator.  No router and no key is needed."""
        return self._estimator.asyncrouter_estimate(Request(messages=messages_of(prompt))).complexity

    def get_metrics(self) -> dict[str, Any]:
        """Return counts since the manager was made.

        ``primary_calls`` and ``backup_calls`` (attempts), ``failures`` (attempts that failed), ``failed_requests``,
        ``retries``, ``fallbacks``, ``input_tokens``, ``output_tokens``, ``cost_usd``.
        """
        metrics = self._metrics()
        ours = [metrics.deployments.get(name) if metrics else None for name in self._deployments]
        calls = [0 if one is None else one.calls for one in (*ours, None)]
        total = metrics.total if metrics else None
        return {
            "primary_calls": calls[0],
            "backup_calls": calls[1],
            "failures": sum(one.failures for one in ours if one is not None),
            "failed_requests": total.failures if total else 0,
            "retries": total.retries if total else 0,
            "fallbacks": total.fallbacks if total else 0,
            "input_tokens": total.input_tokens if total else 0,
            "output_tokens": total.output_tokens if total else 0,
            "cost_usd": total.cost_usd if total else 0.0,
        }

    def close(self) -> None:
        """Close the manager's own router, for good; its metrics stay.  A router that was given stays open."""
        with self._opening:
            self._closed = True
            router = self._own_router
        if router is not None:
            router.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close it."""
        self.close()

    def _asked(self, model: Any, complexity: float | None) -> Any:
        """Return the name to ask the router for: the facade's rule.  What is no name the router refuses."""
        complexity = checked_complexity(complexity)
        if self._config is None or not isinstance(model, (str, NoneType)):
            return model
        if model is None:
            hard = complexity is not None and complexity >= self.complexity_threshold
            return BACKUP_FIRST if hard and self.backup_model is not None else PRIMARY_FIRST
        orders = {self.primary_model: PRIMARY_FIRST, self.backup_model: BACKUP_FIRST}
        return orders.get(_deployed(model, self._config), model)

    def _calls(self) -> SyncRouter | SyncAgentRouter:
        if isinstance(self._given_router, Router):
            raise RuntimeError(
                "this manager was given an async Router: await generate_async(), or give it a SyncRouter"
            )
        router = self._opened() if self._given_router is None else self._given_router
        return router if self.agent is None else router.for_agent(self.agent)

    def _opened(self) -> SyncRouter:
        """Return the manager's own router, made by the first of the threads that call."""
        with self._opening:
            if self._closed:
                raise RuntimeError("this manager is closed; make a new one")
            if self._own_router is None:
                self._own_router = SyncRouter.from_config(self._config).__enter__()
            return self._own_router

    def _metrics(self) -> Metrics | None:
        router = self._given_router or self._own_router
        return None if router is None else router.metrics()


class ModelManagerProvider:
    """Makes managers, for code that is given its dependencies."""

    @staticmethod
    def create_manager(
        primary_model: str | None = None, backup_model: str | None = None, **options: Any
    ) -> ModelManager:
        """Return a manager; *options* as for :class:`ModelManager`."""
        return ModelManager(primary_model, backup_model, **options)

    @staticmethod
    def create_for_agent(agent: str, config: Source = None, **options: Any) -> ModelManager:
        """Return a manager with the profile of *agent* in *config*: its models, threshold, retries and parameters.

        Raises :class:`~asyncrouter.types.errors.ConfigError` when there is no such agent.
        """
        return ModelManager(config=config, agent=agent, **options)


def _refuse_other_routers(router: object) -> None:
    if not isinstance(router, (Router, SyncRouter)):
        raise TypeError(f"router: expected a Router or a SyncRouter, not {type(router).__name__}")


def _without_default(config: RouterConfig) -> RouterConfig:
    """Return *config* less its default group, which the models that are named here make anew."""
    groups = {name: group for name, group in config.groups.items() if name != DEFAULT_GROUP}
    return attrs.evolve(config, groups=groups, router=attrs.evolve(config.router, default=None))


def _facade_config(config: RouterConfig, agent: str | None) -> tuple[RouterConfig, GroupPlan]:
    """Return *config* with the facade's two groups added, and the plan whose models they order."""
    catalogue = build_catalogue(config)
    if agent is not None and agent not in catalogue.agents:
        known = ", ".join(sorted(catalogue.agents)) or "none"
        raise fault(f"agents.{agent}", "no such agent", f"known: {known}")
    if agent is not None:
        plan = catalogue.agents[agent].plan
    else:
        plan = None if catalogue.default is None else catalogue.resolve(None)
    if plan is None:
        path, cure = ("router.default", "set it") if agent is None else (f"agents.{agent}", "set model_name")
        raise fault(path, "there is no model to ask", f"{cure}, or name a primary_model")
    models = plan.group.deployments[:2]
    implied = {
        one.name: DeploymentSettings(provider=one.provider, model=one.model)
        for one in models
        if one.name not in config.deployments
    }
    names = tuple(one.name for one in models)
    groups = {
        **config.groups,
        PRIMARY_FIRST: _ordered(plan, names),
        BACKUP_FIRST: _ordered(plan, names[::-1]),
    }
    return attrs.evolve(config, deployments={**config.deployments, **implied}, groups=groups), plan


def _ordered(plan: GroupPlan, names: tuple[str, ...]) -> GroupSettings:
    group = plan.group
    uses = [spec.use for spec in plan.fallbacks]
    return GroupSettings(
        deployments=names,
        estimate=plan.estimate,
        retry=plan.retry,
        filters=plan.filters,
        judge=plan.judge,
        hedge=plan.hedge,
        fallback=None if uses[0] == "next" else plan.fallbacks[0],
        fallbacks=group.fallbacks,
        fallback_on=(CONTENT_FILTER,) if CONTENT_FILTER in uses else (),
        patience_s=group.patience_s,
        deadline_s=group.deadline_s,
        max_attempts=group.max_attempts,
        timeouts=group.timeouts,
        on_interrupt=group.on_interrupt,
        params=group.params,
    )


def _deployed(model: str, config: RouterConfig) -> str:
    """Return the deployment's name where *model* is another name for it ("openai/gpt-4"), else *model* itself."""
    target = None if model in config.groups else find_target(model, config.deployments, config.providers)
    return model if target is None or target.deployment is None else target.deployment
