"""The hooks.  Arguments are append-only: an implementation may take any subset of them, by name.

Cold hooks are called one plugin after the other.  Hot hooks are compiled (:mod:`asyncrouter.hooks.pipeline`).  All
refuse wrappers.  Those declared ``async`` here may be implemented by an ``async def`` or a plain ``def``, but for the
onions, which must be async.

When an implementation raises or returns something of another type, the call fails with
:class:`~asyncrouter.types.errors.PluginContractError` that names plugin and hook ("fails closed"), except where the
hook's text says that the router goes on ("fails open").  Errors of :mod:`asyncrouter.types.errors` pass unchanged.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from asyncrouter.hooks.markers import hookspec
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment, FleetView, ModelGroup
from asyncrouter.types.events import Event
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response
from asyncrouter.types.trace import Attempt, TraceView

if TYPE_CHECKING:
    from asyncrouter.hooks.registry import Registry

Call = Callable[[Request], Awaitable[Response]]
AttemptCall = Callable[[Request, Deployment], Awaitable[Response]]

# The specifications have no bodies: pluggy reads their signatures, readers their docstrings.
# mypy: disable-error-code="empty-body"


class HookSpecs:
    """One method a hook; pluggy's ``firstresult`` says "first answer that is not None wins"."""

    # ---------------------------------------------------------------- cold

    @hookspec
    def asyncrouter_register(self, registry: Registry) -> None:
        """Make strategies and providers known by name: ``registry.selector("semantic", factory)``.

        Called once per router, on entry-point plugins only, and only when a configuration needs a name that is not
        built in.  Import nothing heavy here; let the factory do it.
        """

    @hookspec
    async def asyncrouter_startup(self, router: Any) -> None:
        """Prepare: the router has been entered and nothing has been called yet.  Raising keeps it from starting."""

    @hookspec
    async def asyncrouter_shutdown(self, router: Any) -> None:
        """Clean up: the last call has ended.  Runs in the reverse order of startup, for plugins that started."""

    # ---------------------------------------------------------------- hot, first answer wins

    @hookspec(firstresult=True)
    async def asyncrouter_estimate(self, request: Request, group: ModelGroup) -> Estimate | None:
        """Say how hard *request* is.  Not asked when the caller gave a complexity.

        A stream is estimated like a plain call.  Fails open: the router goes on with complexity 0.5 and a note.
        """

    @hookspec(firstresult=True)
    async def asyncrouter_select(
        self, request: Request, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView
    ) -> Selection | None:
        """Put the *candidates* (filtered, never empty) in the order in which to try them.

        A stream is selected for like a plain call.  When every implementation declines, the order is the group's own.
        """

    @hookspec(firstresult=True)
    def asyncrouter_retry(
        self, request: Request, attempt: Attempt, trace: TraceView, random: random.Random
    ) -> Retry | GiveUp | None:
        """Say whether and when the deployment of the failed *attempt* may be asked again.

        ``trace.waits`` counts the waits so far; take any jitter from *random*.  A delay that does not fit the
        deadline counts as giving up.  For a stream it is asked before the first output, and after it where
        ``on_interrupt`` allows.
        """

    @hookspec(firstresult=True)
    def asyncrouter_fallback(
        self, request: Request, attempt: Attempt, trace: TraceView, remaining: tuple[Deployment, ...]
    ) -> Fallback | GiveUp | None:
        """Say where to go after the failed *attempt*: one of *remaining*, or another group.

        *remaining* are the deployments of the group that are ready and not yet tried in this round, in the order of
        the selection.  When nothing else is left, it is asked once more with those who are set aside and were never
        asked: one of them permits to wait for the first of them.  For a stream it is asked before the first output, and
        after it where ``on_interrupt`` allows.
        """

    @hookspec(firstresult=True)
    async def asyncrouter_judge(self, request: Request, response: Response, trace: TraceView) -> Verdict | None:
        """Accept *response*, or reject it so that the next stronger deployment is asked.

        When nothing stronger is left, the best rejected answer is returned.  Not asked for a stream: its words are
        with the caller before there is an answer to judge.  Fails open: an answer that cannot be judged is accepted.
        """

    # ---------------------------------------------------------------- hot, other rules

    @hookspec
    def asyncrouter_transform(self, request: Request) -> Request | None:
        """Replace the request before anything else sees it: defaults, tags, redaction.  ``None`` keeps it.

        A fold: each implementation gets what the one before returned.  Same for a stream.
        """

    @hookspec
    async def asyncrouter_around_request(self, call: Call, request: Request) -> Response:
        """Wrap the whole routed call: caches, guardrails, budgets.  Await ``call(request)`` once, never, or changed.

        An onion: the implementation called first is the outermost.  Not run for a stream: its twin is
        ``asyncrouter_around_request_stream``.
        """

    @hookspec
    def asyncrouter_around_request_stream(self, chunks: AsyncIterator[Chunk], request: Request) -> AsyncIterator[Chunk]:
        """Wrap the chunks of a whole streamed call; write it as an async generator.

        Closing the outer iterator must close the inner one: iterate over it under ``contextlib.aclosing``.
        """

    @hookspec
    def asyncrouter_filter(
        self, request: Request, candidates: tuple[Deployment, ...], state: FleetView
    ) -> tuple[Deployment, ...] | None:
        """Return the candidates that may serve *request*, in their order; ``None`` keeps them all.

        A fold, the same for a stream (``request.stream`` tells).  When none is left the call ends with
        :class:`~asyncrouter.types.errors.NoDeploymentAvailable`, so name the cause in the filter's own documentation.
        """

    @hookspec
    async def asyncrouter_around_attempt(self, call: AttemptCall, request: Request, deployment: Deployment) -> Response:
        """Wrap one call to one deployment: await ``call(request, deployment)``.  An onion, composed once.

        It runs inside the attempt's timeout and slot.  Not run for a stream: its twin is
        ``asyncrouter_around_attempt_stream``.
        """

    @hookspec
    def asyncrouter_around_attempt_stream(
        self, chunks: AsyncIterator[Chunk], request: Request, deployment: Deployment
    ) -> AsyncIterator[Chunk]:
        """Wrap the chunks that one deployment streams; write it as an async generator that closes *chunks*."""

    @hookspec
    def asyncrouter_observe(self, event: Event) -> None:
        """Learn what happened.  Must not block.  Fails open: isolated from the others, counted in ``metrics()``.

        A stream tells the same events; the last comes when the stream is closed.
        """
