"""Standing in line for a turn within the rate of a deployment, where no other deployment is ready.

Only the first in line looks at the clock; it calls the next when it goes.  All of them go elsewhere as soon as another
deployment is ready that nobody stands in line for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.state.fleet import DeploymentState
from asyncrouter.state.limits import RateLimits
from asyncrouter.types.deployments import NEVER

if TYPE_CHECKING:
    from asyncrouter.engine.course import Course


async def wait_for_turn(course: Course, limits: RateLimits, states: Sequence[DeploymentState]) -> bool:
    """Wait for the turn within *limits*, those of the first of *states*, or until another of them is ready.

    ``False`` when that is no use: not even the first in line has its turn before the deadline, or the line is full.
    """
    state, others = states[0], states[1:]
    now = began = course.fleet.now()
    if len(limits.line) >= state.deployment.limits.queue:
        course.trace.notes.append(f"{state.deployment.name}: its line of {state.deployment.limits.queue} was full")
        return False
    if not course.fits(state.ready_at - now):
        return False
    called = anyio.Event()
    turn = limits.line.join(course.trace.started_at, called.set)
    try:
        while True:
            until = min((one.ready_at for one in others if one.limits is None or not one.limits.line), default=NEVER)
            if limits.line.first is turn:
                until = min(until, state.ready_at)
            if until <= now:
                return True
            with cut_off_after(until - now):
                await called.wait()
                called = anyio.Event()
                turn.wake = called.set
            now = course.fleet.now()
    finally:
        limits.leave(turn)
        course.trace.waited_s += course.fleet.now() - began
