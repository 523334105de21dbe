"""The three calls that every async door offers."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncrouter.config.catalogue import AgentPlan
from asyncrouter.engine import decide
from asyncrouter.engine.streaming import StreamCall
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.types.decisions import Decision
from asyncrouter.types.request import Prompt
from asyncrouter.types.response import Response
from asyncrouter.types.trace import TraceBuilder

if TYPE_CHECKING:
    from asyncrouter.router import Router


class Calls(abc.ABC):
    """The three calls, shared by :class:`~asyncrouter.router.Router` and :class:`~asyncrouter.router.AgentRouter`."""

    @abc.abstractmethod
    def _core(self) -> Router:
        """Return the router that does the work."""

    def _profile(self) -> AgentPlan | None:
        """Return the profile of the agent that calls, ``None`` without one."""
        return None

    async def generate(
        self,
        /,
        prompt: Prompt,
        *,
        model: str | None = None,
        complexity: float | None = None,
        deadline_s: float | None = None,
        session: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Response:
        """Return the answer to *prompt*, from the cheapest deployment that will do.

        *prompt*: a text, or a list of chat-completions messages.  *model*: a group, a deployment, "provider/model" or a
        known model's name; ``None`` is the configured default.  *complexity*: 0 to 1, instead of the estimate.
        *deadline_s*: seconds for the whole call.  *params* go to the provider untouched.

        Raises :class:`~asyncrouter.types.errors.InvalidRequest` before any call when an argument is wrong, and the
        routing and provider errors of :mod:`asyncrouter.types.errors`, each with its ``trace``.
        """
        core = self._core()
        request, route, find_route = core.enter(
            prompt,
            agent=self._profile(),
            model=model,
            complexity=complexity,
            deadline_s=deadline_s,
            session=session,
            metadata=metadata,
            params=params,
        )
        return await core.engine.complete(request, route, find_route)

    def stream(
        self,
        /,
        prompt: Prompt,
        *,
        model: str | None = None,
        complexity: float | None = None,
        deadline_s: float | None = None,
        session: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> RoutedStream:
        """Return the answer to *prompt* as a stream: an async context manager over its chunks.

        ``async with router.stream(...) as stream: async for chunk in stream: ...``.  Arguments and errors are those of
        :meth:`generate`.  Entering it waits for the first output; until then failures are recovered from unseen,
        afterwards the group's ``on_interrupt`` decides.
        """
        core = self._core()
        request, route, find_route = core.enter(
            prompt,
            agent=self._profile(),
            model=model,
            complexity=complexity,
            deadline_s=deadline_s,
            session=session,
            metadata=metadata,
            params=params,
            stream=True,
        )
        return RoutedStream(StreamCall(request, route, find_route, core.fleet))

    async def explain(
        self,
        /,
        prompt: Prompt,
        *,
        model: str | None = None,
        complexity: float | None = None,
        deadline_s: float | None = None,
        session: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Decision:
        """Return what would be decided for *prompt*, without an upstream call.

        Arguments and errors as for :meth:`generate`; ``stream=True`` asks about a streamed call.  Nothing is changed by
        it, random choices included; only a strategy that keeps its own count (``round_robin``) takes a turn.
        """
        core = self._core()
        stream = bool(params.pop("stream", False))
        request, route, _ = core.enter(
            prompt,
            agent=self._profile(),
            model=model,
            complexity=complexity,
            deadline_s=deadline_s,
            session=session,
            metadata=metadata,
            params=params,
            stream=stream,
        )
        trace = TraceBuilder(request.id, request.agent, route.group.name, core.fleet.now())
        return await decide.explain(request, route, core.fleet, trace)
