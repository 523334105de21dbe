"""What a configuration would have decided for each logged call, asked of the real router without an upstream call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import attrs

from asyncrouter.assembler import builtin_registry
from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.schema import RouterConfig
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import Registry
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.simulation.run import staged
from asyncrouter.lab.simulation.upstream import Unreachable
from asyncrouter.router import Router
from asyncrouter.telemetry.outcomes import LoggedCall
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.errors import ConfigError
from asyncrouter.types.request import Message

NO_PROMPT: Sequence[Message] = ({"role": "user", "content": "-"},)
"""Asked of the router where the log holds no prompts: the estimate is then the logged one."""
EVERY = 200
"""So many decisions between two tellings of progress."""


class Revising(Protocol):
    """An estimator that can tell from a logged vector what it would say now of a prompt that is not kept."""

    def revise(self, logged: Estimate) -> Estimate:
        """Return the estimate of the prompt that *logged* was of."""


class LoggedEstimates:
    """An estimator that says again what was said of a logged call, or declines where that is to be found anew.

    *revising* are those estimators of the configuration, by group, that say more of a logged vector.
    """

    def __init__(self, revising: Mapping[str, Revising]) -> None:
        self.call: LoggedCall | None = None
        self._revising = revising

    @hookimpl
    def asyncrouter_estimate(self) -> Estimate | None:
        """Return the logged estimate of ``call``, revised where it has a vector."""
        call = self.call
        if call is None or call.complexity is None:
            return None
        logged = _logged(call)
        estimator = self._revising.get(call.group) if call.features else None
        return logged if estimator is None else estimator.revise(logged)


def _logged(call: LoggedCall) -> Estimate:
    return Estimate(
        complexity=call.complexity or 0.0,
        input_tokens=call.expected_input_tokens,
        output_tokens=call.expected_output_tokens,
        source=call.estimator,
        contributions=call.contributions,
        qualities=call.qualities,
        features=call.features,
        reason="as logged",
    )


def decisions(
    config: RouterConfig, calls: Sequence[LoggedCall], seed: int = 0, progress: Progress = ignored
) -> list[str | None]:
    """Return the deployment that *config* would have asked first for each of *calls*, ``None`` for nobody.

    A call whose messages are logged is estimated anew; of another one the logged estimate is taken, which must then
    come from the estimator of that name, and which that one may revise by the logged vector.  The fleet is at rest:
    what is decided by load is that of an idle router.
    Raises :class:`ConfigError` where the configuration has not the group of a call, or has another estimator.
    """
    _check(config, calls)
    return asyncio.run(_decided(attrs.evolve(config, outcomes=None), calls, seed, progress))


async def _decided(
    config: RouterConfig, calls: Sequence[LoggedCall], seed: int, progress: Progress
) -> list[str | None]:
    registry, chosen = builtin_registry(), list[str | None]()
    logged = LoggedEstimates(dict(_revising(config, registry)))
    async with Router(staged(config, Unreachable()), plugins=[logged], registry=registry, seed=seed) as router:
        for number, call in enumerate(calls, start=1):
            logged.call = call if call.messages is None else None
            messages = NO_PROMPT if call.messages is None else list(call.messages)
            decision = await router.explain(messages, model=call.group, session=call.session, stream=call.stream)
            chosen.append(decision.selection.deployments[0].name if decision.selection else None)
            router.fleet.random.random()  # explaining draws nothing: without this each call would get the same chance
            if number % EVERY == 0 or number == len(calls):
                progress(number / len(calls))
    return chosen


def _revising(config: RouterConfig, registry: Registry) -> Iterator[tuple[str, Revising]]:
    for name, group in build_catalogue(config).groups.items():
        spec = group.estimate
        estimator = registry.make("estimator", spec.use, spec.options) if spec.instance is None else spec.instance
        if hasattr(estimator, "revise"):
            yield name, estimator


def _check(config: RouterConfig, calls: Iterable[LoggedCall]) -> None:
    groups = build_catalogue(config).groups
    for call in calls:
        group = groups.get(call.group)
        if group is None:
            known = ", ".join(groups) or "none"
            raise ConfigError(f"the log has calls to the group {call.group!r}; the configuration has: {known}")
        if call.messages is None and call.estimator not in {group.estimate.use, "caller"}:
            raise ConfigError(
                f"groups.{call.group}.estimate: the log holds no prompts, and its estimates are those of "
                f"{call.estimator!r}, not of {group.estimate.use!r}; log with prompts = true, or keep the estimator"
            )
