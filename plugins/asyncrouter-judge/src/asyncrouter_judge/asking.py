"""Judges that ask models: through the router that they judge for, so that its limits, budgets and metrics hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.errors import AsyncRouterError, ConfigError, ConfigFault, UnknownModelGroup
from asyncrouter.types.request import Message, Request
from asyncrouter.types.response import Response
from asyncrouter_judge.checks import NAMES, ChecksJudge

if TYPE_CHECKING:
    from asyncrouter import Router

MARK = "asyncrouter_judge"
"""The key in the metadata of a judge's own calls; what carries it is not judged, or judging would never end."""


def is_own(request: Request) -> bool:
    """Whether *request* is a judge's own call."""
    return MARK in request.metadata


@attrs.define(eq=False)
class Asker:
    """The router's door, once the router has been entered."""

    _router: Router | None = attrs.field(default=None, init=False, repr=False)

    async def enter(self, router: Router, model: str | None = None) -> None:
        """Take *router* for the one to ask.  Raises :class:`ConfigError` when it knows no *model*."""
        self._router = router
        if model is None:
            return
        try:
            await router.explain("Is there such a model?", model=model, complexity=0.5)
        except UnknownModelGroup as error:
            raise ConfigError(faults=[ConfigFault("judge.model", str(error))]) from None
        except AsyncRouterError:
            pass  # it is known; that it cannot be asked now is another matter

    async def ask(
        self, request: Request, messages: Sequence[Message], model: str, deadline_s: float, params: Mapping[str, Any]
    ) -> Response:
        """Return the answer of *model* to *messages*, asked for the agent of *request*, within *deadline_s* seconds.

        Raises what the router raises, and :class:`ConfigError` when it was never entered.
        """
        if self._router is None:
            raise ConfigError(
                "the judge has no router: it must be configured, or registered before the router is entered"
            )
        door = self._router if request.agent is None else self._router.for_agent(request.agent)
        metadata = {MARK: request.id}
        return await door.generate(messages, model=model, deadline_s=deadline_s, metadata=metadata, **params)


@attrs.frozen(kw_only=True, eq=False)
class AskingJudge(ABC):
    """What judges that ask models have in common: their own calls are not judged, and cheap checks save the asking.

    ``checks``: the names of the cheap checks made before, all by default; one that rejects ends it.
    """

    checks: tuple[str, ...] = attrs.field(default=NAMES)
    _cheap: ChecksJudge = attrs.field(init=False, repr=False)
    _asker: Asker = attrs.field(factory=Asker, init=False, repr=False)

    @_cheap.default
    def _make_cheap(self) -> ChecksJudge:
        return ChecksJudge(checks=self.checks)

    @hookimpl
    async def asyncrouter_judge(self, request: Request, response: Response) -> Verdict | None:
        """Return the verdict of the cheap checks where they reject, otherwise what asking brings."""
        if is_own(request):
            return None
        cheap = self._cheap.asyncrouter_judge(request, response)
        return await self._asked(request, response) if cheap.accept else cheap

    @abstractmethod
    async def _asked(self, request: Request, response: Response) -> Verdict:
        """Return the verdict that models give."""
