"""Selectors put to the test: the real router decides the rows of a file one by one, and learns what came of each.

Every row is a call to a fleet of the file's models.  The deployment that is chosen "answers" as the file tells, and
its score is fed back before the next row: a selector that learns has been judged on a row before it learns from it
(progressive validation: Blum, Kalai and Langford, "Beating the hold-out", 1999).  The rows come in an order drawn by
lot, a second apart in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import anyio
import attrs
import numpy as np

from asyncrouter.config.schema import DeploymentSettings, GroupSettings, ProviderSettings, RouterConfig, RouterSettings
from asyncrouter.config.specs import StrategySpec
from asyncrouter.lab.outcomes.files import Progress
from asyncrouter.lab.outcomes.prices import CHARACTERS_PER_TOKEN
from asyncrouter.lab.outcomes.table import Floats, Indices, Outcomes
from asyncrouter.router import Router
from asyncrouter.testing.clock import VirtualClockLoop
from asyncrouter.types.deployments import Deployment, Price, Timeouts
from asyncrouter.types.errors import RoutingError
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage
from asyncrouter.types.trace import Outcome, RouteTrace

BETWEEN_S = 1.0
"""Seconds from one call to the next, for what is reckoned by time (budgets, windows)."""
EVERY = 200
"""So many rows between two tellings of progress."""
GROUP, PROVIDER, ROW = "lab", "recorded", "row"


@attrs.frozen(kw_only=True)
class Course:
    """What one selector did with some rows.

    ``qualities`` and ``costs`` (USD, all of a call's attempts; 0 without prices) have the shape (rows,); ``chosen``
    holds the place of the model that answered, -1 where none did: such a call is worth 0.
    """

    qualities: Floats
    costs: Floats
    chosen: Indices


@attrs.frozen(kw_only=True)
class Trial:
    """The selector ``select`` on the estimates of ``estimate``, before the rows of ``table``.

    The score of every model is known in each row.  ``prices`` are those of the models, where they are known.
    """

    select: StrategySpec
    estimate: StrategySpec
    table: Outcomes
    prices: Mapping[str, Price]


def play(trial: Trial, *, seed: int, progress: Progress) -> Course:
    """Return what the selector of *trial* does with its rows.

    Raises :class:`~asyncrouter.types.errors.ConfigError` where the strategies cannot be made.
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(_played(trial, seed, progress))


async def _played(trial: Trial, seed: int, progress: Progress) -> Course:
    rows = len(trial.table)
    course = Course(qualities=np.zeros(rows), costs=np.zeros(rows), chosen=np.full(rows, -1, dtype=np.intp))
    async with Router(_config(trial), seed=seed) as router:
        for done, row in enumerate(np.random.default_rng(seed).permutation(rows).tolist(), start=1):
            await _call(router, trial.table, row, course)
            await anyio.sleep(BETWEEN_S)
            if done % EVERY == 0 or done == rows:
                progress(done / rows)
    return course


async def _call(router: Router, table: Outcomes, row: int, course: Course) -> None:
    try:
        reply = await router.generate(table.prompts[row], metadata={ROW: row})
    except RoutingError as error:  # refused by a budget, say: nobody answered
        _pay(error.trace, table, row, course)
        return
    place = table.models.index(reply.deployment)
    score = float(table.scores[row, place])
    course.chosen[row], course.qualities[row] = place, score
    _pay(reply.trace, table, row, course)
    await router.feedback(reply, score)


def _pay(trace: RouteTrace | None, table: Outcomes, row: int, course: Course) -> None:
    if table.costs is not None and trace is not None:
        asked = [table.models.index(one.deployment) for one in trace.attempts if one.outcome is not Outcome.SKIPPED]
        course.costs[row] = float(table.costs[row, asked].sum())


def _config(trial: Trial) -> RouterConfig:
    deployments = {
        name: DeploymentSettings(provider=PROVIDER, model=name, price=trial.prices.get(name))
        for name in in_order(trial.table)
    }
    group = GroupSettings(deployments=tuple(deployments), select=trial.select, estimate=trial.estimate)
    return RouterConfig(
        router=RouterSettings(default=GROUP),
        providers={PROVIDER: ProviderSettings(instance=Recorded(trial.table, trial.prices))},
        deployments=deployments,
        groups={GROUP: group},
    )


def in_order(table: Outcomes) -> list[str]:
    """Return the models of *table* as a group names them: the cheapest first, or the weakest without costs."""
    by = (table.scores if table.costs is None else table.costs).mean(axis=0)
    return [table.models[place] for place in np.argsort(by, kind="stable")]


class Recorded:
    """The provider of every model: it answers at once, and says how long prompt and answer were, as the costs tell."""

    calls_routers = False

    def __init__(self, table: Outcomes, prices: Mapping[str, Price]) -> None:
        self._table = table
        self._prices = prices

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:  # noqa: ARG002
        """Answer as the file tells."""
        return Response(
            raw=_ANSWER,
            deployment=deployment.name,
            model=deployment.model,
            usage=self._usage(request.metadata[ROW], deployment.model),
        )

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Stream the same; the lab asks for no streams."""
        answer = await self.complete(request, deployment, timeouts)
        yield Chunk({"choices": [{"index": 0, "delta": {"content": answer.text}, "finish_reason": "stop"}]})

    async def aclose(self) -> None:
        """Nothing is open."""

    def _usage(self, row: int, model: str) -> Usage:
        """Return the tokens that come to the recorded cost: those of the prompt, and the answer's for the rest."""
        sent = round(len(self._table.prompts[row]) / CHARACTERS_PER_TOKEN)
        price = self._prices.get(model)
        if price is None or self._table.costs is None or not price.output:
            return Usage(sent, 0)
        rest = float(self._table.costs[row, self._table.models.index(model)]) * 1e6 - sent * price.input
        return Usage(sent, max(0, round(rest / price.output)))


_ANSWER: Mapping[str, object] = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "recorded"}, "finish_reason": "stop"}]
}
