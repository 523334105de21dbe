"""What a configuration would have decided for each logged call, asked of the real router without an upstream call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import attrs

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.schema import RouterConfig
from asyncrouter.hooks.markers import hookimpl
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


class LoggedEstimates:
    """An estimator that says again what was said of a logged call, or declines where that is to be found anew."""

    def __init__(self) -> None:
        self.call: LoggedCall | None = None

    @hookimpl
    def asyncrouter_estimate(self) -> Estimate | None:
        """Return the logged estimate of ``call``."""
        call = self.call
        if call is None or call.complexity is None:
            return None
        return Estimate(
            complexity=call.complexity,
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
    come from the estimator of that name.  The fleet is at rest: what is decided by load is that of an idle router.
    Raises :class:`ConfigError` where the configuration has not the group of a call, or has another estimator.
    """
    _check(config, calls)
    return asyncio.run(_decided(attrs.evolve(config, outcomes=None), calls, seed, progress))


async def _decided(
    config: RouterConfig, calls: Sequence[LoggedCall], seed: int, progress: Progress
) -> list[str | None]:
    logged, chosen = LoggedEstimates(), list[str | None]()
    async with Router(staged(config, Unreachable()), plugins=[logged], seed=seed) as router:
        for number, call in enumerate(calls, start=1):
            logged.call = call if call.messages is None else None
            messages = NO_PROMPT if call.messages is None else list(call.messages)
            decision = await router.explain(messages, model=call.group, session=call.session, stream=call.stream)
            chosen.append(decision.selection.deployments[0].name if decision.selection else None)
            router.fleet.random.random()  # explaining draws nothing: without this each call would get the same chance
            if number % EVERY == 0 or number == len(calls):
                progress(number / len(calls))
    return chosen


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
