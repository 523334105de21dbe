"""Attempts side by side: a hedge starts when the first is slow, a race starts all at once; the first answer wins.

An answer that the judge rejects wins nothing: the others go on.  A stream's answer here is its first output, so that a
caller never sees pieces of two.  The losers are cancelled and awaited before the answer is returned.  A hedge draws on
the shared retry budget and on its group's own, so that a slow fleet is not given twice the load; a race is the
selection's own wish and draws on neither.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio
import attrs
from anyio.abc import TaskGroup

from asyncrouter.engine.apart import GRACE_S
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.route import Hedge
from asyncrouter.engine.step import Step
from asyncrouter.types.decisions import Take
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import ProviderError
from asyncrouter.types.trace import FIRST, AttemptKind


class Answer(Protocol):
    """What an attempt came to.  ``score`` orders those that are not accepted, the best first."""

    @property
    def accepted(self) -> bool:
        """Whether it may be given to the caller."""
        ...

    @property
    def score(self) -> float:
        """How good it is."""
        ...


A = TypeVar("A", bound=Answer)
Contend = Callable[[Step], Awaitable[A | None]]
"""Makes the attempt of a step; returns ``None`` when it could not begin."""
Discard = Callable[[A], Awaitable[None]]
"""Ends an answer that nobody is given."""


def _nobody() -> None:
    """Tell of no further step."""


@attrs.frozen(eq=False)
class Rivals:
    """Steps to make side by side.

    ``later`` tells one more, ``delay_s`` seconds after the first, which is made if ``hedge`` allows: few are slow
    enough to need it, and among many it takes a sort to find it.
    ``take``: which of their answers is given to the caller; see :class:`~asyncrouter.types.decisions.Selection`.
    """

    steps: tuple[Step, ...]
    delay_s: float = 0.0
    hedge: Hedge | None = None
    later: Callable[[], Step | None] = _nobody
    take: Take = "first"


def rivals_of(course: Course, step: Step) -> Rivals | None:
    """Return *step* with those to be made beside it; ``None`` when it is made alone."""
    selection, hedge = course.trace.selection, step.route.hedge
    parallel = 1 if selection is None else selection.parallel
    if (parallel == 1 and hedge is None) or step.kind is not FIRST:
        return None
    if selection is None or len(selection.order) == 1 or course.request.metadata.get("idempotent") is False:
        return None
    if parallel > 1:
        raced = [
            attrs.evolve(step, deployment=one, kind=AttemptKind.HEDGE, reason="raced") for one in _others(course, step)
        ]
        take = selection.take if not course.request.stream else "first"
        return Rivals((step, *raced[: parallel - 1]), take=take) if raced else None
    assert hedge is not None  # noqa: S101 - otherwise the step is made alone
    delay_s = hedge.delay_s(step.deployment.name, course.fleet.now(), streamed=course.request.stream)
    return None if delay_s is None else Rivals((step,), delay_s, hedge, partial(_second, course, step, delay_s))


def _others(course: Course, step: Step) -> list[Deployment]:
    """Return who may be asked beside *step* now."""
    return [one for one in course.remaining() if one is not step.deployment][: course.attempts_left - 1]


def _second(course: Course, step: Step, delay_s: float) -> Step | None:
    reason = f"{step.deployment.name} had not answered after {delay_s:.3g} s"
    others = _others(course, step)
    if not others:
        return None
    return attrs.evolve(step, deployment=others[0], kind=AttemptKind.HEDGE, reason=reason, budgeted=True)


def note_stray(course: Course, step: Step) -> None:
    """Tell in the trace that *step* lost and did not end when it was cancelled."""
    course.trace.notes.append(f"{step.deployment.name} did not end within {GRACE_S:g} s of its cancellation")


async def race(contend: Contend[A], discard: Discard[A], rivals: Rivals, course: Course) -> A | None:
    """Return the first answer that is accepted, else the best of those that are not; ``None`` when none could begin.

    Raises the last provider's error when all have failed, and at once anything that is no provider's error.
    """
    running = _Race(contend, discard, rivals, course)
    try:
        async with anyio.create_task_group() as tasks:
            await running.start(tasks)
    except BaseException:
        if running.winner is not None:
            await discard(running.winner)
        raise
    if running.winner is not None:
        running.tell_pace()
        return running.winner
    if running.failure is not None:
        raise running.failure
    if running.rejected:
        return max(running.rejected, key=lambda answer: answer.score)
    if running.error is not None:
        raise running.error
    return None


class _Race(Generic[A]):
    def __init__(self, contend: Contend[A], discard: Discard[A], rivals: Rivals, course: Course) -> None:
        self.winner: A | None = None
        self.rejected: list[A] = []
        self.error: ProviderError | None = None
        self.failure: Exception | None = None
        self._contend = contend
        self._discard = discard
        self._rivals = rivals
        self._course = course
        self._began = course.fleet.now()
        self._first_ended = anyio.Event()
        self._has_rivals = False
        self._steps = list(rivals.steps)
        self._rank = math.inf

    async def start(self, tasks: TaskGroup) -> None:
        """Start the first, and those beside it when their time has come.

        When the first ends before, nothing is hedged: where to go after a failure is the order of recovery's care.
        """
        tasks.start_soon(self._run, self._steps[0], tasks.cancel_scope)
        hedge = self._rivals.hedge
        if hedge is not None:
            with cut_off_after(self._rivals.delay_s):
                await self._first_ended.wait()
            if self._first_ended.is_set():
                return
            second = self._rivals.later()
            if second is None or not hedge.budget.spend():
                return
            self._steps.append(second)
        self._has_rivals = True
        for step in self._steps[1:]:
            tasks.start_soon(self._run, step, tasks.cancel_scope)

    async def _run(self, step: Step, scope: anyio.CancelScope) -> None:
        """Make one step; the first accepted answer cancels the others."""
        try:
            answer = await self._contend(step)
        except ProviderError as error:
            self.error = error
        except Exception as error:  # a plugin's failure, say: it ends the call, as it does without rivals
            self.failure = error
            scope.cancel()
        else:
            if answer is not None:
                await self._take(step, answer, scope)
            elif self._rivals.hedge is not None and not self._is_first(step):
                self._rivals.hedge.budget.hand_back()
        if self._is_first(step):
            self._first_ended.set()

    async def _take(self, step: Step, answer: A, scope: anyio.CancelScope) -> None:
        if not answer.accepted:
            self.rejected.append(answer)
            return
        rank = self._steps.index(step)
        if self._has_rivals:
            scope.cancel()
        loser: A | None = answer
        if rank < self._rank:  # two may end in one turn of the event loop: the selection's order decides
            loser, self.winner, self._rank = self.winner, answer, rank
        if loser is not None:
            await self._discard(loser)

    def _is_first(self, step: Step) -> bool:
        return step is self._steps[0]

    def tell_pace(self) -> None:
        """Count what a first that lost has taken so far: were only its answers counted, its quantile would sink."""
        paces = None if self._rivals.hedge is None else self._rivals.hedge.paces
        if paces is not None and self._rank:
            now, name = self._course.fleet.now(), self._steps[0].deployment.name
            paces.observe(name, now - self._began, now, streamed=self._course.request.stream)
