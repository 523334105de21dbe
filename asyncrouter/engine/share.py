"""How much of the time that is left one attempt of a plain call may take.

An upstream that hangs is not to take what another needs to answer.  Whether a plain call hangs or writes a long answer
nobody can see, so a share is generous, and who has shown signs of life meanwhile gets more.  (A stream has no need of
it: its first output is waited for only as long as ``first_token_s``.)
"""

from __future__ import annotations

from asyncrouter.engine.course import Course
from asyncrouter.engine.others import is_coming
from asyncrouter.engine.step import Step
from asyncrouter.types.tokens import requested_output_tokens

USUAL_TIMES = 3.0
"""So many times the smoothed mean of its latencies, and a deployment is not cut short to leave time for another."""
LONG_SHARE = 0.75
"""The share of the time that an answer may take which is expected to be long: a quarter is left for another."""


def share_s(course: Course, step: Step, now: float) -> float | None:
    """Return how long the attempt of *step* may take, in seconds; ``None``: to the deadline.

    That is ``attempt_s``.  While somebody else could be asked it is no more than half of the time that is left, yet at
    least ``first_token_s``, and :data:`USUAL_TIMES` the time that the deployment's answers usually take.
    """
    timeouts, left_s = step.route.group.timeouts, course.deadline - now
    most_s = timeouts.attempt_s
    if has_others(course, step, now + left_s / 2):
        usual_s = course.fleet.states[step.deployment.name].latency_s or 0.0
        others_s = max(left_s / 2, timeouts.first_token_s, USUAL_TIMES * usual_s)
        if others_s < most_s:  # noqa: PLR1730 - a quarter of the cost of min()
            most_s = others_s
    return None if most_s >= left_s else most_s


def has_others(course: Course, step: Step, by: float) -> bool:
    """Whether somebody else could be asked *by* that moment, should the attempt of *step*, which has begun, fail."""
    group = step.route.group
    if course.has_more() or (group.fallbacks and len(course.trace.groups) == 1):
        return True
    return len(group.deployments) > len(course.selected) and is_coming(course, step.route, by)


def more_s(course: Course, step: Step, since: float) -> float:
    """Return how much longer an attempt may take that began at *since* and has used up its share.

    A deployment that has answered others in the latter half of that time does not hang: the answer is a long one, and
    may take its time.  (What it answered in the first half may have begun before it began to hang.)  Nor need one that
    was asked for a long answer, by what its answers take per token: it has :data:`LONG_SHARE` of the time.
    """
    now = course.fleet.now()
    until = min(since + step.route.group.timeouts.attempt_s, course.deadline)
    if course.fleet[step.deployment.name].breaker.answered_at > (since + now) / 2:
        return until - now
    return min(since + _forecast_s(course, step), since + LONG_SHARE * (course.deadline - since), until) - now


def _forecast_s(course: Course, step: Step) -> float:
    """Return how long the answer takes if it is as long as was asked for or is forecast; 0 where nobody can tell."""
    state = course.fleet[step.deployment.name]
    tokens = max(requested_output_tokens(course.request) or 0, course.estimate.output_tokens or 0)
    if not (tokens and state.output_tokens and state.latency_s):
        return 0.0
    return state.latency_s * tokens / state.output_tokens
