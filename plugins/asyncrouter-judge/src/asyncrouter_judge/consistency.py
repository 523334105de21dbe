"""The judge ``judge_samples``: the same deployment is asked again, and its answers must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.agreement import normal_form
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.errors import AsyncRouterError
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter_judge.asking import AskingJudge
from asyncrouter_judge.checks import verdict_of
from asyncrouter_judge.samples import agreement_of

if TYPE_CHECKING:
    from asyncrouter import Router

NOT_REPEATED = frozenset({"n", "stream", "stream_options", "logprobs", "top_logprobs", "seed", "temperature"})
"""Parameters of the request that its samples are asked without."""


@attrs.frozen(kw_only=True, eq=False)
class SamplesJudge(AskingJudge):
    """Self-consistency: the deployment is asked ``k`` times in all, and the answer must agree with its samples.

    ``k``: 2 to 16, the answer itself included.  ``temperature``: of the samples, over 0.  ``accept_at``: the share,
    0 to 1, that has to say what the answer says.  ``checks``: the cheap checks made before; one that rejects ends it.
    ``deadline_s``: seconds for the samples, which are asked for at once.  (Wang et al. 2023; for cascades: Yue et al.
    2024, "Large language model cascades with mixture of thought representations".)
    """

    k: int = attrs.field(default=3, validator=options.whole(2, 16))
    temperature: float = attrs.field(default=0.7, validator=options.positive)
    accept_at: float = attrs.field(default=0.6, validator=options.share)
    deadline_s: float = attrs.field(default=30.0, validator=options.positive)

    @hookimpl
    async def asyncrouter_startup(self, router: Router) -> None:
        """Take the router for the one to ask."""
        await self._asker.enter(router)

    async def _asked(self, request: Request, response: Response) -> Verdict:
        """Return how much the samples agree with *response*; samples that fail are left out."""
        samples: list[Response] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(self.k - 1):
                tasks.start_soon(self._sample, request, response.deployment, samples)
        if not samples:
            return Verdict(accept=True, reason="no sample could be had")
        said = [normal_form(one.message) for one in (response, *samples)]
        verdict = verdict_of([agreement_of(said)], self.accept_at)
        return attrs.evolve(verdict, cost_usd=sum(one.cost_usd or 0.0 for one in samples))

    async def _sample(self, request: Request, deployment: str, samples: list[Response]) -> None:
        params = {key: value for key, value in request.params.items() if key not in NOT_REPEATED}
        try:
            sample = await self._asker.ask(
                request, request.messages, deployment, self.deadline_s, {**params, "temperature": self.temperature}
            )
        except AsyncRouterError:
            return  # the answer is judged by the samples there are
        samples.append(sample)
