"""The judge ``judge_model``: another model grades the answer by a rubric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import Response
from asyncrouter_judge.asking import AskingJudge
from asyncrouter_judge.grading import RUBRIC, question, score_in

if TYPE_CHECKING:
    from asyncrouter import Router

PARAMS: Mapping[str, Any] = {"temperature": 0, "max_tokens": 200}


@attrs.frozen(kw_only=True, eq=False)
class ModelJudge(AskingJudge):
    """A judge model grades the answer by a rubric, from 0 to 10; cheap checks come first and save the call.

    ``model``: the group or deployment to ask, by any name that the router knows.  ``rubric``: what the points stand
    for.  ``accept_at``: the share of the points, 0 to 1, from which an answer is accepted.  ``checks``: the cheap
    checks made before; one that rejects ends it.  ``deadline_s``: seconds for the judge's call.  ``undecided``: what
    becomes of an answer when the reply is no score: "accept" or "reject".  ``params``: parameters of the judge's call.
    ``most_characters``: of the request and of the answer, what the judge gets at most of each.
    """

    model: str = attrs.field(validator=options.text)
    rubric: str = attrs.field(default=RUBRIC, validator=options.text)
    accept_at: float = attrs.field(default=0.7, validator=options.share)
    deadline_s: float = attrs.field(default=15.0, validator=options.positive)
    undecided: str = attrs.field(default="accept", validator=options.one_of("accept", "reject"))
    params: Mapping[str, Any] = attrs.field(default=EMPTY, validator=options.table, repr=False)
    most_characters: int = attrs.field(default=12_000, validator=options.positive)

    @hookimpl
    async def asyncrouter_startup(self, router: Router) -> None:
        """Take the router for the one to ask."""
        await self._asker.enter(router, self.model)

    async def _asked(self, request: Request, response: Response) -> Verdict:
        """Return the verdict of the model."""
        messages = question(request, response, self.rubric, self.most_characters)
        reply = await self._asker.ask(request, messages, self.model, self.deadline_s, {**PARAMS, **self.params})
        score = score_in(reply.text)
        cost_usd = reply.cost_usd or 0.0
        if score is None:
            reason = f"{reply.deployment} gave no score"
            return Verdict(accept=self.undecided == "accept", reason=reason, cost_usd=cost_usd)
        reason = f"{reply.deployment} gave {score:.2f}"
        return Verdict(accept=score >= self.accept_at, score=score, reason=reason, cost_usd=cost_usd)
