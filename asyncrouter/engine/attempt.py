"""One attempt: its slot, its permit, its clock, and the one record of how it ended.

Plain and streamed calls share this scope, so that a deployment's state is changed in one place.
"""

from __future__ import annotations

import math

from asyncrouter.engine import extras
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import CutOff
from asyncrouter.engine.share import more_s
from asyncrouter.engine.step import Step
from asyncrouter.engine.unproven import is_allowed, is_extra
from asyncrouter.state.breaker import Permit
from asyncrouter.state.fleet import DeploymentState, Fleet
from asyncrouter.state.limits import COOLDOWN_CAP_S, RateLimits
from asyncrouter.state.tallies import CALLS, CANCELLED, FAILURES
from asyncrouter.types.agreement import normal_form
from asyncrouter.types.allowances import Allowances
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    Disposition,
    InvalidRequest,
    Overloaded,
    PluginError,
    ProviderError,
    RateLimited,
    StreamInterrupted,
)
from asyncrouter.types.events import AttemptFinished, BreakerChanged
from asyncrouter.types.metrics import HALF_OPEN, BreakerState
from asyncrouter.types.request import EMPTY
from asyncrouter.types.response import NO_USAGE, Response, Usage
from asyncrouter.types.tokens import text_tokens
from asyncrouter.types.trace import FIRST, OK, Outcome, new_attempt

LIMITED_S = 1.0
"""The cooldown after a 429 without a Retry-After: the bound of the first wait of the retry that ships.  Without it a
limited deployment was asked by five requests before its breaker kept the next ones away (benchmarks/failures.py)."""
CALLERS_FAULT = (InvalidRequest, ContentFiltered)
"""Failures that say nothing about the deployment: its breaker stays as it is."""
TOO_MANY = (RateLimited, Overloaded, AttemptTimedOut)
"""Failures that say that the call was one too many, or may have been."""
CUT_SHORT = (AttemptTimedOut, ConnectionFailed, StreamInterrupted)
"""Failures that came while the upstream may have been at work."""
ACCEPTED = Verdict(accept=True)
"""What is thought of an answer that nobody judges."""


class AttemptScope:
    """One attempt of *step* that begins *now*: it is in flight, its rate is reserved.  :meth:`end` must be called.

    That notes a success when :meth:`answered` was called, a failure after a
    :class:`~asyncrouter.types.errors.ProviderError`, and a cancellation otherwise.  ``response`` is the answer, priced,
    ``verdict`` what the judge thinks of it; ``draws``: it has drawn on the shared retry budget.
    """

    __slots__ = ("_answered_at", "_course", "_fleet", "_limits", "_partial", "_permit", "_reserved",
                 "_state", "draws", "response", "started_at", "step", "verdict")  # fmt: skip

    def __init__(self, course: Course, step: Step, state: DeploymentState, permit: Permit, now: float) -> None:
        self.step = step
        self.started_at = now
        self.response: Response | None = None
        self.verdict = ACCEPTED
        self._course = course
        self._fleet = course.fleet
        self._state = state
        self._permit = permit
        self.draws = False
        self._answered_at: float | None = None
        self._partial: Response | None = None
        tally, breaker, limits = state.tally, state.breaker, state.limits
        state.in_flight += 1
        state.silence.began(now)
        tally.counts[CALLS] += 1
        if step.kind is not FIRST:
            tally.count_kind(step.kind)
        course.tries(state.deployment.name)
        self._limits = limits
        if limits is not None:
            self._reserved = self._forecast()
            limits.reserve(self._reserved, now)
        if breaker.settings.slow_s is not None:
            breaker.awaits(self, permit, now)

    @property
    def accepted(self) -> bool:
        """Whether the answer may be given to the caller."""
        return self.verdict.accept

    @property
    def score(self) -> float:
        """How good the answer is, from 0 to 1."""
        return self.verdict.score or 0.0

    @property
    def answer(self) -> Response:
        """The answer of an attempt that has one."""
        assert self.response is not None  # noqa: S101 - asked only after a success
        return self.response

    @property
    def form(self) -> str:
        """What the answer says, for comparison with others."""
        return normal_form(self.answer.message)

    def more_s(self) -> float:
        """Return how much longer it may take when it has used up its share of the time."""
        return more_s(self._course, self.step, self.started_at)

    def _forecast(self) -> float:
        """Return the tokens that the call will take, as far as anybody knows before its answer."""
        estimate = self._course.estimate
        return estimate.input_tokens + (estimate.output_tokens or self._state.output_tokens or 0)

    def heed(self, told: Allowances, *, closing: bool = True) -> None:
        """Take to heart what the upstream says is left of its rate limits, with its answer or with an error."""
        answer = self.response or self._partial
        tokens = answer.usage.total_tokens if answer else self._forecast()
        self._state.heed(told, tokens, self._fleet.now(), closing=closing)

    def first_output(self) -> None:
        """Note the moment of a stream's first output; what follows no longer counts as latency."""
        self._answered_at = now = self._fleet.now()
        self._state.spoke(now)
        self._note_pace(now - self.started_at, now)
        self._took(now)

    def _took(self, now: float) -> None:
        """Tell the breaker how long the answer was in coming, where that matters to it."""
        breaker = self._state.breaker
        if breaker.settings.slow_s is not None and breaker.forgets(self):
            before = breaker.state
            breaker.took(self._permit, now - self.started_at, now)
            if breaker.state is not before:
                tell_change(self.step, before, breaker.state)

    def answered(self, response: Response) -> Response:
        """Note the success, and return *response* with usage and cost filled in."""
        self.response = response = priced(response, self._course, self.step.deployment)
        return response

    def took(self, response: Response) -> None:
        """Note what a stream that is cut off has taken so far: it is paid for, though nobody fails by it."""
        self._partial = priced(response, self._course, self.step.deployment)

    def end(self, error: BaseException | None) -> None:
        """Hand everything back and record the outcome: *error* is what ended the attempt, ``None`` after an answer."""
        now = self._fleet.now()
        state = self._state
        breaker = state.breaker
        breaker_before = breaker.state
        state.ended()
        if self._answered_at is None:
            if error is None or (isinstance(error, ProviderError) and not isinstance(error, AttemptTimedOut)):
                state.silence.broken(now)
            else:
                state.silence.given_up(now)
        if self.draws:
            self._fleet.budget.hand_back()
        if self._limits is not None:
            self._settle(self._limits, error, now)
        if self.response is not None and error is None:
            self._record_success(self.response, now)
            self._record(OK, None, now, self.response)
        elif isinstance(error, ProviderError):
            self._record_failure(error, now)
            self._record(Outcome.FAILED, error, now)
        else:
            self._record_unfinished(error, now)
        if breaker.settings.slow_s is not None:
            breaker.forgets(self)
        if breaker_before is HALF_OPEN and breaker.may_be_news:
            self._fleet.tell_news()
        if breaker.state is not breaker_before:
            tell_change(self.step, breaker_before, breaker.state)

    def _settle(self, limits: RateLimits, error: BaseException | None, now: float) -> None:
        """Correct the reservation to what was used.

        Who answers with an error counts the request, but no tokens.  One that was cut off or lost may have been at
        work, so the forecast stands.  One that was never reached, or is asked again as the same attempt, has had
        nothing.
        """
        answer = self.response or self._partial
        if answer is not None:
            limits.settle(self._reserved, answer.usage.total_tokens, now)
        elif isinstance(error, ProviderError):
            had_nothing = not error.sent or self._course.repeats_after(self.step, error)
            if had_nothing or not isinstance(error, CUT_SHORT):
                limits.settle(self._reserved, 0, now)
            if had_nothing:
                limits.hand_back(now)

    def _record_unfinished(self, error: BaseException | None, now: float) -> None:
        """Record an attempt that the deadline, the caller or a plugin cut off.

        The breaker learns nothing of it, unless it was silent for so long that it would be no use to anybody.
        """
        state = self._state
        if now >= self._course.deadline and self._was_silent(now):
            state.breaker.failed(self._permit, now)
        else:
            state.breaker.released(self._permit, now)
        is_cancelled = now < self._course.deadline and not isinstance(error, PluginError)
        if is_cancelled and self._partial is None:  # its upstream has read the prompt, and will not tell what that cost
            self.took(Response(raw=EMPTY, deployment=state.deployment.name, model=state.deployment.model))
        if self._partial is not None:
            self._count_usage(self._partial)
        if now >= self._course.deadline:
            state.tally.counts[FAILURES] += 1
            cut = AttemptTimedOut("no answer yet at the deadline of the request", deployment=state.deployment.name)
            self._record(Outcome.FAILED, cut, now, self._partial)
        elif isinstance(error, PluginError):
            state.tally.counts[FAILURES] += 1
            self._record(Outcome.FAILED, None, now, self._partial)
        else:
            state.tally.counts[CANCELLED] += 1
            self._record(Outcome.CANCELLED, None, now, self._partial)

    def _was_silent(self, now: float) -> bool:
        """Whether it had no output for longer than ``first_token_s``, which bounds streams and is a measure of all."""
        silent_s = self.step.route.group.timeouts.first_token_s
        return self._answered_at is None and now - self.started_at >= silent_s

    def _record_success(self, response: Response, now: float) -> None:
        state, answered_at = self._state, self._answered_at
        if answered_at is None:
            self._answered_at = answered_at = now
            if state.slots is not None or self.step.route.hedge is not None:
                self._note_pace(now - self.started_at, now)
            if state.breaker.settings.slow_s is not None:
                self._took(now)
        state.answered(answered_at - self.started_at)
        state.produced(response.usage.output_tokens)
        self._count_usage(response)
        state.breaker.succeeded(self._permit, now)
        if response.allowances is not None:
            self.heed(response.allowances)

    def _note_pace(self, latency_s: float, now: float) -> None:
        """Let the group's hedges and an adaptive limit know the latency, where there are any."""
        if self._state.slots is not None:
            self._adapt(now)
        hedge = self.step.route.hedge
        if hedge is not None and hedge.paces is not None:
            hedge.paces.observe(self._state.deployment.name, latency_s, now, streamed=self._course.request.stream)

    def _adapt(self, now: float, *, dropped: bool = False) -> None:
        """Let an adaptive limit learn of an answer, or of a call that the deployment did not take."""
        slots = self._state.slots
        if slots is not None and slots.gradient is not None:
            slots.adapt(slots.gradient, self.started_at, now, dropped=dropped)

    def _count_usage(self, response: Response) -> None:
        """Count what an answer took, whether it is the one that the caller gets or not."""
        usage, cost_usd = response.usage, response.cost_usd or 0.0
        self._state.tally.count_usage(usage.input_tokens, usage.output_tokens, cost_usd)
        for tally in self._fleet.tallies(self._course.request.agent):
            tally.count_usage(usage.input_tokens, usage.output_tokens, cost_usd)

    def _record_failure(self, error: ProviderError, now: float) -> None:
        state = self._state
        state.tally.counts[FAILURES] += 1
        error.deployment = error.deployment or state.deployment.name
        retry_after_s = error.retry_after_s or 0.0
        if error.allowances is not None and not error.other_keys:  # they are those of the key that was refused
            self.heed(error.allowances, closing=not retry_after_s)
        if isinstance(error, TOO_MANY) and error.sent and not is_blocked(error):
            self._adapt(now, dropped=True)
        if isinstance(error, CALLERS_FAULT) or is_blocked(error) or self._course.repeats_after(self.step, error):
            state.breaker.released(self._permit, now)
        elif retry_after_s > 0.0:
            # The upstream said when to come back: that is a cooldown, not a sign that it is broken.
            state.cool_until(now + min(retry_after_s, COOLDOWN_CAP_S))
            state.breaker.released(self._permit, now)
        else:
            if isinstance(error, RateLimited) and error.disposition is Disposition.RETRY:
                state.cool_until(now + LIMITED_S)
            state.breaker.failed(self._permit, now, refused=isinstance(error, AuthenticationFailed))

    def _record(
        self, outcome: Outcome, error: ProviderError | None, now: float, answer: Response | None = None
    ) -> None:
        step, trace = self.step, self._course.trace
        usage = NO_USAGE if answer is None else answer.usage
        attempt = new_attempt(
            number=len(trace.attempts) + 1,
            deployment=step.deployment.name,
            group=step.route.group.name,
            kind=step.kind,
            outcome=outcome,
            reason=step.reason,
            error=error,
            started_at=self.started_at,
            duration_s=now - self.started_at,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=None if answer is None else answer.cost_usd,
        )
        self._course.ended(step, attempt)
        observe = step.route.pipeline.observe
        if observe is not None:
            observe(AttemptFinished(self._course.request, attempt))


def timed_out(step: Step, bound: str, cut: CutOff) -> AttemptTimedOut:
    """Return the error of an attempt that *cut* has cut off at its *bound*, given in words."""
    error = AttemptTimedOut(bound, deployment=step.deployment.name)
    if cut.late_s:
        error = AttemptTimedOut(f"{bound}; the event loop was blocked for {cut.late_s:.3g} s of it or more",
                                deployment=step.deployment.name)  # fmt: skip
        error.blocked_s = cut.late_s
    return error


def is_blocked(error: ProviderError) -> bool:
    """Whether the event loop, and not the deployment, may be what an attempt has waited for."""
    return isinstance(error, AttemptTimedOut) and error.blocked_s > 0.0


def tell_change(step: Step, before: BreakerState, after: BreakerState) -> None:
    """Tell the observers that the breaker of the step's deployment has gone from one state to another."""
    observe = step.route.pipeline.observe
    if observe is not None:
        observe(BreakerChanged(step.deployment.name, before, after))


def begin(course: Course, step: Step, fleet: Fleet) -> AttemptScope | None:
    """Begin the attempt of *step*; ``None`` when its deployment or the retry budget do not let it begin now.

    Since it was chosen others may have begun, failed or been told to wait, as while it waited for its slot.  Everything
    that its end hands back is taken here, with no await between.
    """
    now = fleet.now()
    state = fleet.states[step.deployment.name]
    breaker = state.breaker
    before = breaker.state
    if breaker.settings.slow_s is not None:
        breaker.look(now)
        if breaker.state is not before:
            tell_change(step, before, breaker.state)
            before = breaker.state
    if state.ready_at > now and not (step.passed and state.is_free_but_for_breaker(now)):
        course.in_vain -= {state.deployment.name}  # it may be ready by the time that anybody looks
        return None
    draws = is_extra(course, step, now)
    if draws and not is_allowed(course, step):
        return None
    permit = breaker.admit(now, passed=step.passed)
    if permit is None:
        return None
    if breaker.state is not before:
        tell_change(step, before, breaker.state)
    attempt = AttemptScope(course, step, state, permit, now)
    if draws:
        extras.draw(fleet)
        attempt.draws = True
    return attempt


def priced(response: Response, course: Course, deployment: Deployment) -> Response:
    """Return *response* with its usage, estimated and flagged where the upstream sent none, and its cost."""
    usage = response.usage
    if not (usage.input_tokens or usage.output_tokens):
        usage = Usage(
            input_tokens=course.estimate.input_tokens,
            output_tokens=math.ceil(text_tokens(response.text)),
            estimated=True,
        )
    price = deployment.price
    cost_usd = response.cost_usd if price is None else usage.cost_usd(price)
    return response.finished(usage, cost_usd, None)
