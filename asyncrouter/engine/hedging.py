"""Attempts side by side: a hedge starts when the first is slow, a race starts all at once; the first answer wins.

The losers are cancelled and awaited before the answer is returned.  A hedge draws on the shared retry budget and on its
group's own, so that a slow fleet is not given twice the load; a race is the selection's own wish and draws on neither.
Plain calls only: a stream is not hedged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs

from asyncrouter.engine.course import Course
from asyncrouter.engine.step import Step
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.errors import ProviderError
from asyncrouter.types.response import Response
from asyncrouter.types.trace import AttemptKind

Answer = tuple[Step, Response]
Attempt = Callable[[Course, Step], Awaitable[Response | None]]
LEAST_SAMPLES = 20
"""Answers that a deployment must have given before a quantile of its latencies is believed."""


@attrs.frozen(eq=False)
class Rivals:
    """Steps to make side by side: those after the first start ``delay_s`` seconds later, if ``may_start`` allows."""

    steps: tuple[Step, ...]
    delay_s: float
    may_start: Callable[[], bool]


def rivals_of(course: Course, step: Step, fleet: Fleet) -> Rivals | None:
    """Return *step* with those to be made beside it; ``None`` when it is made alone."""
    selection, hedge = course.trace.selection, step.route.hedge
    parallel = 1 if selection is None else selection.parallel
    if step.kind is not AttemptKind.FIRST or (parallel == 1 and hedge is None):
        return None
    others = [one for one in course.remaining() if one is not step.deployment]
    if parallel > 1:
        raced = (attrs.evolve(step, deployment=one, kind=AttemptKind.HEDGE, reason="raced") for one in others)
        return Rivals((step, *list(raced)[: parallel - 1]), 0.0, lambda: True)
    if hedge is None or not others:
        return None
    hedge.budget.first_attempt(fleet.now())
    delay_s = hedge.after_s
    if delay_s is None:
        latency = fleet[step.deployment.name].tally.latency
        delay_s = latency.quantile(hedge.quantile) if latency.count >= LEAST_SAMPLES else None
    if delay_s is None:
        return None
    reason = f"{step.deployment.name} had not answered after {delay_s:.3g} s"
    second = attrs.evolve(step, deployment=others[0], kind=AttemptKind.HEDGE, reason=reason, budgeted=True)
    return Rivals((step, second), delay_s, lambda: hedge.budget.spend(fleet.now()))


async def race(attempt: Attempt, course: Course, rivals: Rivals) -> Answer | None:
    """Return the first answer of *rivals*; ``None`` when the first could not begin and none answered.

    Raises the last provider's error when all have failed, and at once anything that is no provider's error.
    """
    running = _Race(attempt, course, rivals)
    async with anyio.create_task_group() as tasks:
        for index in range(len(rivals.steps)):
            tasks.start_soon(running.run, index, tasks.cancel_scope)
    if running.answer is not None:
        return running.answer
    if running.error is not None:
        raise running.error
    return None


class _Race:
    def __init__(self, attempt: Attempt, course: Course, rivals: Rivals) -> None:
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self._attempt = attempt
        self._course = course
        self._rivals = rivals
        self._first_ended = anyio.Event()

    async def run(self, index: int, scope: anyio.CancelScope) -> None:
        """Make one step; the first that answers cancels the others."""
        if index and not await self._may_start():
            return
        step = self._rivals.steps[index]
        try:
            response = await self._attempt(self._course, step)
        except ProviderError as error:
            self.error = error
            self._first_ended.set()
            return
        except Exception as error:  # a plugin's failure, say: it ends the call, as it does without rivals
            self.error = error
            scope.cancel()
            return
        if response is None:
            self._first_ended.set()
        elif self.answer is None:
            self.answer = (step, response)
            scope.cancel()

    async def _may_start(self) -> bool:
        """Wait for the delay.

        When the first fails before, nothing is hedged: where to go then is the order of recovery's care.
        """
        if not self._rivals.delay_s:
            return True
        with anyio.move_on_after(self._rivals.delay_s):
            await self._first_ended.wait()
            return False
        return self._rivals.may_start()
