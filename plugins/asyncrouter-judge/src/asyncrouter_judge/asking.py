"""How judges ask models: through the router that they judge for, so that its limits, budgets and metrics hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from asyncrouter.types.errors import AsyncRouterError, ConfigError, ConfigFault, UnknownModelGroup
from asyncrouter.types.request import Message, Request
from asyncrouter.types.response import Response

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
