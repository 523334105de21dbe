"""The course of one request: which deployment is asked next, and what is waited for before.

The order of recovery, from the cheapest cure to the dearest:

1. the same deployment at once, uncounted: once after losing the connection before an answer to one that was well, and
   once a key after a refusal of one key while others stand ready;
2. another ready deployment of the group, at once;
3. before leaving the group, one more try of it when the wait costs no more than the group's ``patience_s``;
4. the fallback groups in order, at once;
5. when nothing is left: back off and begin a further round.

What may be retried, and where to fall back to, the hooks ``retry`` and ``fallback`` say; the order, the waits and the
bounds (deadline, ``max_attempts``, the shared retry budget) are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

import anyio
import attrs

from asyncrouter.engine import aside, ends, extras
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.engine.decide import decide
from asyncrouter.engine.onward import next_group
from asyncrouter.engine.others import wait_for_others, who_are_back
from asyncrouter.engine.route import FindRoute, Route
from asyncrouter.engine.slots import Queueing, least_crowded
from asyncrouter.engine.step import Step
from asyncrouter.engine.unproven import lacks_leave, wait_for_leave
from asyncrouter.state.away import NOBODY
from asyncrouter.state.fleet import Fleet
from asyncrouter.types.decisions import Estimate, Fallback, Retry, Selection
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.errors import (
    AsyncRouterError,
    ConnectionFailed,
    ContextWindowExceeded,
    DeadlineExceeded,
    Disposition,
    ProviderError,
)
from asyncrouter.types.metrics import BreakerState
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import FIRST, Attempt, AttemptKind, TraceBuilder

Entered = Step | None | Coroutine[Any, Any, Step | None]
"""The step that entering a group has led to, if any; a coroutine of it where a strategy awaits something."""


class Course:
    """One request's way through its group and the fallback groups; the drivers ask it for the next step.

    ``deadline``: when the request must have ended, in the clock's seconds.  ``in_hand``: the best answer so far, not
    accepted yet: what the caller gets when the deadline comes first.  ``in_vain``: the names of
    those who were asked without an answer, or found full, since it last waited.
    """

    __slots__ = ("_again_later", "_counted_at", "_hopeless", "_last_step", "_patient_groups", "_reconnected",
                 "_repeats", "_selection", "_too_small", "_tried", "deadline", "find_route", "first_route", "fleet",
                 "in_hand", "in_vain", "queueing", "request", "trace")  # fmt: skip

    def __init__(
        self, request: Request, route: Route, find_route: FindRoute, fleet: Fleet, trace: TraceBuilder | None = None
    ) -> None:
        self.request = request
        self.deadline = math.inf if request.deadline is None else request.deadline
        self.fleet = fleet
        self.trace = trace or TraceBuilder(request.id, request.agent, route.group.name, fleet.now())
        self.in_hand: Response | None = None
        self.queueing: Queueing | None = None
        self.in_vain = NOBODY
        self.first_route = route
        self.find_route = find_route
        self._selection: Selection | None = None
        self._last_step: Step | None = None
        self._tried: tuple[str, ...] = ()  # a few names at most: three sets a call were 650 bytes
        self._hopeless: tuple[str, ...] = ()
        self._too_small = 0
        self._again_later: Retry | None = None
        self._patient_groups: tuple[str, ...] = ()
        self._reconnected = False
        self._repeats = 0
        self._counted_at = -1

    def anew(self, request: Request) -> Course:
        """Return the course of *request* from the beginning, in the same trace."""
        self.trace.new_round()
        return Course(request, self.first_route, self.find_route, self.fleet, self.trace)

    @property
    def group(self) -> ModelGroup:
        """The group that was asked for."""
        return self.first_route.group

    @property
    def estimate(self) -> Estimate:
        """The estimate made on entering the first group."""
        assert self.trace.estimate is not None  # noqa: S101 - entering a group sets it before anybody asks
        return self.trace.estimate

    def first_step(self) -> Step | Coroutine[Any, Any, Step]:
        """Return the first attempt to make; a coroutine of it where something has to be awaited for it.

        Raises :class:`NoDeploymentAvailable` when nothing is ready, nor will be within the deadline.
        """
        now = self.fleet.now()
        self.fleet.budget.first_attempt(now)
        if self.first_route.hedge is not None:
            self.first_route.hedge.budget.first_attempt(now)
        step = self._enter(self.first_route, FIRST, "")
        return step if isinstance(step, Step) else self._found(step, FIRST, "")

    async def after_failure(self) -> Step:
        """Return the attempt to make after the one that failed last, in the order of recovery.

        Raises the attempt's own error when that permits nothing, :class:`AllAttemptsFailed` when nothing is left.
        """
        step, failed = self.last_step, self.trace.attempts[-1]
        self.check_deadline()
        self.in_vain |= {failed.deployment}
        if failed.error is not None and self.repeats_after(step, failed.error):
            return self._repeat(step, failed.error)
        self._check_attempts()
        retry = step.route.pipeline.retry(self.request, failed, self.trace, self.fleet.random)
        again = retry if isinstance(retry, Retry) else None
        self._again_later = again or self._again_later
        if again is not None and again.before_fallback and (next_step := await self._again(step, again)):
            return next_step
        remaining = self.remaining() or await who_are_back(self, step.route)
        fallback = step.route.pipeline.fallback(self.request, failed, self.trace, remaining)
        if isinstance(fallback, Fallback) and fallback.deployment is not None:
            return Step(fallback.deployment, step.route, AttemptKind.FALLBACK, ends.why(fallback.reason, failed))
        if again is not None and self._is_patient(step, again) and (next_step := await self._again(step, again)):
            return next_step
        ends.raise_if_final(failed, fallback)
        if next_step := await next_group(self, step.route, failed, fallback):
            return next_step
        return await self._next_round(failed)

    async def after_refusal(self, step: Step) -> Step:
        """Return the attempt to make instead of *step*, which could not begin.

        Its deployment was set aside since it was chosen or had no slot, or the retry budget is exhausted.
        """
        name, refused = step.deployment.name, step
        is_aside = self.fleet[name].ready_at > self.fleet.now()
        if lacks_leave(self, step):
            if name not in self._tried:
                others = any(one is not step.deployment for one in self.remaining())
                if await wait_for_leave(self, step, others=others and not step.budgeted):
                    return step
                if step.budgeted:  # the first of a further round
                    raise self.exhausted()
            step = attrs.evolve(step, budgeted=False)
            self.in_vain |= {name}
        elif is_aside:
            self.trace.notes.append(f"{name} was set aside meanwhile")
        if step.passed or not (is_aside and self.fleet[name].breaker.passable):  # else a pass may still lead there
            self.tries(name)
        other = least_crowded(self._ready(), self.fleet)
        if other := other or least_crowded(await who_are_back(self, step.route), self.fleet):
            step = attrs.evolve(step, deployment=other, keys_left=math.inf, same=False, passed=False)
            return step if step.kind is not AttemptKind.RETRY else self._elsewhere(step)
        if next_step := await next_group(self, step.route, ends.skipped(step.route)):
            return next_step
        if step is not refused and await wait_for_leave(self, refused, others=False):
            return refused
        passed = await aside.pass_or_wait(self, step.kind, step.reason)
        return passed or await self.begin_round(step.kind, step.reason)

    def _elsewhere(self, step: Step) -> Step:
        """Return *step*, planned as a retry, as the fallback that it becomes at another deployment."""
        failed = self.trace.attempts[-1]
        reason = ends.why(f"after {type(failed.error).__name__}", failed)
        return attrs.evolve(step, kind=AttemptKind.FALLBACK, reason=reason)

    def tries(self, name: str) -> None:
        """Record that the deployment called *name* is tried: it is visited once a round."""
        if name not in self._tried:
            self._tried += (name,)

    def ended(self, step: Step, attempt: Attempt) -> None:
        """Record how *step* ended."""
        self._last_step = step
        self.trace.attempts.append(attempt)
        error = attempt.error
        if error is not None and error.disposition is not Disposition.RETRY:
            self._hopeless += (step.deployment.name,)
            if isinstance(error, ContextWindowExceeded):
                self._too_small = max(self._too_small, step.deployment.context_window or 0)

    def repeats_after(self, step: Step, error: ProviderError) -> bool:
        """Whether *error* is cured by asking the same deployment again at once, which counts as the same attempt."""
        if error.other_keys or not (isinstance(error, ConnectionFailed) and error.lost_before_answer):
            return 0 < error.other_keys < step.keys_left
        return not self._reconnected and not self.fleet[step.deployment.name].breaker.is_failing

    def _repeat(self, step: Step, error: ProviderError) -> Step:
        self._repeats += 1
        reason = f"another key after {type(error).__name__}" if error.other_keys else "connection lost before an answer"
        self._reconnected = self._reconnected or not error.other_keys
        keys_left = error.other_keys or step.keys_left
        return attrs.evolve(step, kind=AttemptKind.RETRY, reason=reason, budgeted=False, keys_left=keys_left, same=True)

    def exhausted(self) -> AsyncRouterError:
        """Return the error that tells that nothing is left: the last one itself where the request is at fault."""
        errors = [attempt.error for attempt in self.trace.attempts if attempt.error is not None]
        if not errors:
            return aside.nothing_available(self)
        return errors[-1] if errors[-1].disposition is Disposition.RAISE else ends.all_failed(errors)

    # ------------------------------------------------------------------ groups and rounds

    async def begin_round(self, kind: AttemptKind, reason: str) -> Step:
        """Enter the group that was asked for, else its fallback groups, else wait for the soonest deployment."""
        return await self._found(self._enter_anew(kind, reason), kind, reason)

    async def _found(self, entered: Entered, kind: AttemptKind, reason: str) -> Step:
        """Return the step of a round that began by entering the group that was asked for, as *entered* tells."""
        while True:
            step = entered if entered is None or isinstance(entered, Step) else await entered
            step = step or await next_group(self, self.first_route, ends.skipped(self.first_route))
            step = step or await aside.pass_or_wait(self, kind, reason)
            if step is not None:
                return step
            entered = self._enter_anew(kind, reason)

    def _enter_anew(self, kind: AttemptKind, reason: str) -> Entered:
        """Begin a round: everything may be tried again."""
        self.trace.new_round()
        self._tried = ()
        self._again_later = None
        return self._enter(self.first_route, kind, reason)

    async def enter(self, route: Route, kind: AttemptKind, reason: str, past: str = "") -> Step | None:
        """Select in the group of *route*; ``None`` when none of its deployments is ready.

        *past*: the name of one that counts as ready, for the step there gets a pass.
        """
        entered = self._enter(route, kind, reason, past)
        return entered if entered is None or isinstance(entered, Step) else await entered

    def _enter(self, route: Route, kind: AttemptKind, reason: str, past: str = "") -> Entered:
        view = aside.PastSetAside(self.fleet, past) if past else None
        decided = decide(self.request, route, self.fleet, self.trace, view)
        if decided is None or isinstance(decided, Selection):
            return self._entered(decided, route, kind, reason, past)
        return self._enter_after(decided, route, kind, reason, past)

    async def _enter_after(
        self, decided: Coroutine[Any, Any, Selection | None], route: Route, kind: AttemptKind, reason: str, past: str
    ) -> Step | None:
        return self._entered(await decided, route, kind, reason, past)

    def _entered(
        self, selection: Selection | None, route: Route, kind: AttemptKind, reason: str, past: str
    ) -> Step | None:
        self._selection = selection
        first = None if selection is None else selection.first
        if past:
            first = next((one for one in selection.deployments if one.name == past), None) if selection else None
        slots = self.fleet.states[first.name].slots if first is not None else None
        crowded = slots is not None and slots.crowding > 0.0
        if first is not None and crowded:
            self.trace.notes.append(f"{first.name}: no slot is free")
        if crowded or self._hopeless or self._tried:
            first = least_crowded(self._ready(past), self.fleet)
        if selection is None or first is None:
            self.trace.notes.append(f"group {route.group.name}: no deployment is ready and suitable")
            return None
        return Step(first, route, kind, reason or selection.reason, first.name == past)

    async def _next_round(self, failed: Attempt) -> Step:
        """Wait as the last failure of this round that waiting may cure asks for, and begin the next round."""
        last = self.last_step
        if last.passed and not self.fleet[last.deployment.name].breaker.passable:
            # It was a probe, made in place of a wait: when it fails, the wait goes on.
            return attrs.evolve(await self.begin_round(AttemptKind.RETRY, "after a probe that failed"), budgeted=True)
        retry = self._again_later
        if retry is None or not extras.may_draw_in_time(self) or not await self.wait(retry.delay_s):
            return await wait_for_others(self, failed)
        step = await self.begin_round(
            AttemptKind.RETRY, ends.why(f"round {self.trace.waits + 1} after {type(failed.error).__name__}", failed)
        )
        return attrs.evolve(step, budgeted=True)

    # ------------------------------------------------------------------ waits and bounds

    async def _again(self, step: Step, retry: Retry) -> Step | None:
        """Wait for one more try of the same deployment; ``None`` when deadline or budget does not allow it."""
        ready_in = self.fleet[step.deployment.name].ready_at - self.fleet.now()
        if not extras.may_draw(self) or not await self.wait(max(retry.delay_s, ready_in)):
            return None
        return Step(step.deployment, step.route, AttemptKind.RETRY, retry.reason, budgeted=True)

    def fits(self, delay_s: float) -> bool:
        """Whether a wait of *delay_s* ends before the deadline; noted when it does not."""
        if self.fleet.now() + delay_s < self.deadline:
            return True
        self.trace.notes.append(f"a wait of {delay_s:.3g} s does not fit the deadline")
        return False

    async def wait(self, delay_s: float, *, counted: bool = True, news: anyio.Event | None = None) -> bool:
        """Wait for *delay_s*, or until there are *news*; return ``False`` at once when that is over the deadline."""
        if not self.fits(delay_s):
            return False
        self.in_vain = NOBODY
        until = self.fleet.now() + delay_s
        if counted and len(self.trace.attempts) > self._counted_at:  # waits with no attempt between them are one
            self._counted_at = len(self.trace.attempts)
            self.trace.waiting(delay_s)
        else:
            self.trace.waited_s += delay_s
        if counted:
            self._again_later = None  # the permission is spent: the failures after this wait are asked about anew
        if news is None:
            await anyio.sleep(delay_s)
        else:
            with cut_off_after(delay_s):
                await news.wait()
                self.trace.waited_s -= until - self.fleet.now()
        return True

    @property
    def last_step(self) -> Step:
        """The step of the attempt that ended last."""
        assert self._last_step is not None  # noqa: S101 - an attempt has ended
        return self._last_step

    @property
    def selected(self) -> tuple[Deployment, ...]:
        """Those of the group that was entered last who could be asked then, best first."""
        return () if self._selection is None else self._selection.deployments

    def has_more(self) -> bool:
        """Whether the selection holds somebody whom this round has not tried; without making its order."""
        return self._selection is not None and len(self._tried) < len(self._selection.order)

    def may_ask(self, deployment: Deployment) -> bool:
        """Whether *deployment* is neither tried in this round nor hopeless."""
        return deployment.name not in self._tried and not self.is_hopeless(deployment)

    def give_up(self, names: Iterable[str]) -> None:
        """Send this request to none of *names* any more."""
        self._hopeless += tuple(names)

    def check_deadline(self) -> None:
        """Raise :class:`DeadlineExceeded` when it has passed."""
        if self.fleet.now() >= self.deadline:
            raise DeadlineExceeded(self.too_late())

    def _check_attempts(self) -> None:
        if self.attempts_left <= 0:
            self.trace.notes.append(f"max_attempts = {self.first_route.group.max_attempts} reached")
            raise self.exhausted()

    @property
    def attempts_left(self) -> int:
        """Attempts that may still be made; one that was repeated at once is one."""
        return self.first_route.group.max_attempts - len(self.trace.attempts) + self._repeats

    def too_late(self) -> str:
        """Return the words of a :class:`DeadlineExceeded`: when, and what had been tried."""
        return ends.too_late(self.trace, self.deadline)

    # ------------------------------------------------------------------ small questions

    def remaining(self) -> tuple[Deployment, ...]:
        """Return those of the selection that are ready, not tried in this round, and not hopeless.

        Those with a free slot come first, then those with the shortest line; otherwise the selection's order stands.
        """
        return tuple(sorted(self._ready(), key=lambda one: self.fleet[one.name].crowding))

    def _ready(self, past: str = "") -> Iterator[Deployment]:
        """Yield them in the selection's order, slot or none; *past* counts as ready."""
        now = self.fleet.now()
        for one in self.selected:
            is_ready = one.name == past or self.fleet[one.name].ready_at <= now
            if is_ready and self.may_ask(one):
                yield one

    def is_hopeless(self, deployment: Deployment) -> bool:
        """Whether this request need not be sent there again: neither waiting nor trying would change the answer."""
        window = deployment.context_window
        return deployment.name in self._hopeless or (window is not None and window <= self._too_small)

    def _is_patient(self, step: Step, retry: Retry) -> bool:
        """Whether to wait for one more try before leaving the group: once a group, cheap enough, breaker closed."""
        group, state = step.route.group, self.fleet[step.deployment.name]
        ready_in = state.ready_at - self.fleet.now()
        if group.name in self._patient_groups or max(retry.delay_s, ready_in) > group.patience_s:
            return False
        self._patient_groups += (group.name,)
        return state.breaker.state is BreakerState.CLOSED
