"""Standing in line for a slot: how long, and what a request does that got none.

Of the ready deployments of a group the one with a free slot is asked first, for they are interchangeable; only when all
are busy is there a line, the shortest.  A request stands in line for its group's ``queue_s`` altogether, then looks for
a slot elsewhere, in other groups too.  When nothing else is left it comes back, to its old place, and stays until its
deadline, or until a deployment that was set aside is ready again.  A line that is full turns it away at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio

from asyncrouter.engine.aside import first_ready_at
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.state.fleet import Fleet
from asyncrouter.state.slots import Slots
from asyncrouter.types.deployments import NEVER, Deployment
from asyncrouter.types.trace import AttemptKind

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course
from asyncrouter.engine.step import Step


def least_crowded(ready: Iterable[Deployment], fleet: Fleet) -> Deployment | None:
    """Return the first of *ready* that has a free slot, without a look at the rest; else that of the shortest line."""
    found, shortest = None, math.inf
    for one in ready:
        crowding = fleet[one.name].crowding
        if crowding == 0.0:
            return one
        if crowding < shortest:
            found, shortest = one, crowding
    return found


class Queueing:
    """One request's patience.  ``until``: when it looks elsewhere; ``stays``: nothing else was left."""

    __slots__ = ("_gave_up", "stays", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.stays = False
        self._gave_up = False

    def gave_up(self) -> None:
        """Note that a line was left in which the request might have stayed."""
        self._gave_up = True

    def comes_back(self) -> bool:
        """Tell, when nothing else is left, whether there is a line to come back to."""
        again, self._gave_up = self._gave_up, False
        self.stays = self.stays or again
        return again


async def take_slot(course: Course, step: Step, slots: Slots) -> bool:
    """Take one of *slots*, in line when none is free; ``False``: *step* cannot begin, the course goes on elsewhere.

    A hedge stands in no line: it is to save time.  Who leaves the line, however that happens, takes no slot along.
    """
    if slots.take():
        return True
    if step.kind is AttemptKind.HEDGE:
        return False
    now = course.fleet.now()
    queueing = course.queueing
    if queueing is None:
        queueing = course.queueing = Queueing(now + step.route.group.timeouts.queue_s)
    until = queueing.until
    if queueing.stays:
        first = first_ready_at(course, now)
        until = NEVER if first is None else first
    if until > now:
        granted = await _granted(slots, course.trace.started_at, until - now)
        if granted is None:
            course.trace.notes.append(f"{step.deployment.name}: its line of {slots.queue} was full")
            course.in_vain |= {step.deployment.name}
            return False
        if granted:
            return True
    course.trace.notes.append(f"{step.deployment.name}: no slot was free for {course.fleet.now() - now:.3g} s")
    queueing.gave_up()
    return False


async def _granted(slots: Slots, came_at: float, wait_s: float) -> bool | None:
    """Stand in line for *wait_s* seconds at most; return whether a slot was granted, ``None`` when the line is full."""
    granted = anyio.Event()
    turn = slots.line_up(came_at, granted.set)
    if turn is None:
        return None
    holds = False
    try:
        with cut_off_after(wait_s):
            await granted.wait()
        holds = turn.granted
    finally:
        if not holds:
            slots.leave(turn)
    return holds
