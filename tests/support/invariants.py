"""The ten invariants of every call, each a function that raises ``AssertionError`` beginning with its number.

========= ==========================================================================================================
I1        exactly one end of every call that was begun; what its caller got is what the observers were told
I2        at most one success, and after the first output the bytes of one attempt only
I3        attempts within the policy of the request, retries and hedges of all requests within the shared budget
I4        the word is given back by the deadline
I5        nothing is left: task, timer, socket, slot, permit, probe; the event loop has nothing to complain of
I6        an answer that was cut is never taken for one
I7        neither the key nor the prompt is seen anywhere
I8        every attempt is recorded once, as what it was; the usage is the winner's
I9        an error names its first cause and all attempts
I10       a healthy call made right afterwards succeeds
========= ==========================================================================================================

They judge a :class:`faulted.Faulted`: what its callers and its providers saw against what the router recorded.  I5 and
I10 are its methods ``check_quiet`` and ``check_alive``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from routed import SENTINELS
from watched import Sent, whole

from asyncrouter.state.budgets import TTL_S
from asyncrouter.types.errors import (
    AllAttemptsFailed,
    AsyncRouterError,
    DeadlineExceeded,
    RoutingError,
    StreamInterrupted,
)
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

ROUNDING_S = 1e-6
RECONNECTED = "connection lost before an answer"
"""The reason of an attempt that replaces one whose connection was lost, and counts as the same."""
ANOTHER_KEY = "another key after "
"""How the reason of an attempt begins that replaces one whose key was refused, and counts as the same."""


def i1_one_end(f: Any) -> None:
    """Every call has ended once, and the observers were told the same end."""
    ends = Counter(end.request.id for end in f.recorder.finished)
    assert set(ends.values()) <= {1}, f"I1: ended more than once: {ends}"
    for call in f.calls:
        assert call.outcomes == 1, f"I1: a call ended {call.outcomes} times: {call.outcome}"
    told = Counter(_told(end) for end in f.recorder.finished)
    seen = Counter(call.outcome for call in f.calls)
    assert told["answer"] >= seen["answer"], f"I1: callers saw {seen}, observers were told {told}"
    ends_unseen = told["error"] - seen["error"]  # of streams that ended at the deadline, and were left afterwards
    assert 0 <= ends_unseen <= seen["left late"], f"I1: callers saw {seen}, observers were told {told}"
    assert sum(told.values()) == sum(seen.values()), f"I1: callers saw {seen}, observers were told {told}"
    answers = {id(end.response) for end in f.recorder.finished}
    errors = {id(end.error) for end in f.recorder.finished}
    for call in f.calls:
        if call.response is not None:
            assert id(call.response) in answers, "I1: an answer was given that nobody was told of"
        if isinstance(call.error, AsyncRouterError):
            assert id(call.error) in errors, f"I1: raised, but not told: {call.error!r}"


def _told(end: Any) -> str:
    if end.error is not None:
        return "error"
    return "cancelled" if end.response is None else "answer"


def i2_one_success(f: Any) -> None:
    """One attempt at most is the answer; between two restarts a reader sees one attempt's chunks."""
    for end in f.recorder.finished:
        won = [one for one in end.trace.attempts if one.outcome is Outcome.OK]
        assert len(won) <= 1, f"I2: {len(won)} successes in one call"
    source = {id(chunk): number for number, sent in enumerate(f.sent) for chunk in sent.chunks}
    for call in f.calls:
        attempts: list[int] = []
        for chunk in call.chunks:
            if chunk.kind == "restart":
                attempts.clear()
                continue
            number = source.get(id(chunk))  # a chunk that a hook or the engine has changed is a new one
            if number is None or attempts[-1:] == [number]:
                continue
            attempts.append(number)
            mixed = len(attempts) > 1 if call.policy != "continue" else number in attempts[:-1]
            assert not mixed, f"I2: chunks of the attempts {attempts} mixed in one answer"


def i3_bounded(f: Any) -> None:
    """No request makes more attempts than it may; retries and hedges of all draw on the one budget."""
    for end in f.recorder.finished:
        reasons = [one.reason for one in end.trace.attempts]
        reconnected = reasons.count(RECONNECTED)
        assert reconnected <= 1, f"I3: {reconnected} reconnections in one request"
        made = len(reasons) - reconnected - sum(reason.startswith(ANOTHER_KEY) for reason in reasons)
        assert made <= f.max_attempts, f"I3: {made} attempts, max_attempts is {f.max_attempts}"
    first = sorted(call.began_at for call in f.calls)
    extra = sorted(one.started_at for one in f.recorder.attempts if _draws_on_budget(one))
    budget = f.router.fleet.budget
    for index, moment in enumerate(extra):
        lately = index + 1 - bisect_left(extra, moment - TTL_S + ROUNDING_S)
        earned = bisect_left(first, moment + ROUNDING_S) - bisect_left(first, moment - TTL_S * 1.1 - ROUNDING_S)
        allowed = max(budget._share * earned, budget._floor * TTL_S)
        assert lately <= allowed + ROUNDING_S, f"I3: {lately} retries and hedges within {TTL_S} s, {allowed} allowed"


def _draws_on_budget(attempt: Attempt) -> bool:
    if attempt.kind is AttemptKind.RETRY:
        return attempt.reason != RECONNECTED and not attempt.reason.startswith(ANOTHER_KEY)
    return attempt.kind is AttemptKind.HEDGE and attempt.reason != "raced"


def i4_in_time(f: Any) -> None:
    """The caller had the word back by the deadline, or by the moment it asked for something after it."""
    for call in f.calls:
        late_s = call.late_s - f.slack_s(call)
        assert late_s <= ROUNDING_S, f"I4: {call.late_s:.6f} s after the deadline"


def i6_nothing_cut(f: Any) -> None:
    """Whoever got an answer got all of it: its attempt has ended in order, with a reason to finish."""
    sent = by_request(f.sent)
    for call in f.calls:
        response = call.response
        if response is None or not response.trace.attempts:  # answered by a hook, without an upstream
            continue
        winner = winner_of(sent, response)
        assert winner.outcome in {"ok", "closed"}, f"I6: the answer of an attempt that {winner.outcome}"
        assert winner.finish_reason, f"I6: {winner.deployment} gave no reason to finish"
        assert response.finish_reason, "I6: the answer tells no reason to finish"
        f.check_whole(winner)
        if call.chunks:
            assert response.text == whole(call.chunks), "I6: the reader saw another text than the answer's"
        if not f.rewritten and call.policy != "continue":
            assert response.text == winner.text, "I6: the answer is not what its upstream said"


def by_request(sent: list[Sent]) -> Mapping[str, list[Sent]]:
    """Return the calls of providers of each request."""
    found: defaultdict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        found[one.request].append(one)
    return found


def winner_of(sent: Mapping[str, list[Sent]], response: Response) -> Sent:
    """Return the call of the provider that *response* came of, among those *sent* of each request."""
    made = sent[response.trace.request_id]
    whole_ones = [one for one in made if one.deployment == response.deployment and one.finish_reason]
    assert whole_ones, f"I6: {response.deployment} is said to have answered, and gave no whole answer"
    return whole_ones[-1]


def i7_secrets(f: Any) -> None:
    """Neither prompt nor key shows in errors, traces, events, metrics, logs or on the standard streams."""
    f.check_secrets()
    for name, text in f.sinks().items():
        for sentinel in SENTINELS:
            assert sentinel not in text, f"I7: {sentinel} in {name}"


def i8_accounts(f: Any) -> None:
    """Attempts as the providers saw them, as the traces hold them and as the counters say are the same."""
    f.check_accounts()
    every = by_request(f.sent)
    least = sum(_least_input_tokens(end, every[end.request.id]) for end in f.recorder.finished)
    counted = f.router.metrics().total.input_tokens
    assert counted >= least, f"I8: {counted} input tokens counted; winners and cancelled attempts had {least}"
    attempts = {end.request.id: list(end.trace.attempts) for end in f.recorder.finished}
    for request, made in attempts.items():
        _check_request(request, made, every[request], exact=f.exact)
    strangers = set(every) - set(attempts)
    assert not strangers, f"I8: calls of providers that no trace tells of: {strangers}"
    for call in f.calls:
        if call.response is not None and call.response.trace.attempts:
            _check_usage(winner_of(every, call.response), call.response, exact=call.policy != "continue")


def _least_input_tokens(end: Any, sent: list[Sent]) -> int:
    """Return what a call has taken at least: its winner what was told, who was cancelled an estimate."""
    winner = end.response.usage.input_tokens if end.response is not None and end.trace.attempts else 0
    cancelled = sum(one.outcome is Outcome.CANCELLED for one in end.trace.attempts)
    if not cancelled:
        return winner
    told = [one.usage.input_tokens for one in sent if one.usage]
    return winner + cancelled * min([end.trace.estimate.input_tokens, *told])


def _check_request(request: str, attempts: list[Attempt], sent: list[Sent], *, exact: bool) -> None:
    """Hold the attempts of one request against what its providers saw; *exact* when no hook stands between them."""
    for name in {one.deployment for one in sent} | {one.deployment for one in attempts}:
        recorded = sorted((one for one in attempts if one.deployment == name), key=lambda one: one.started_at)
        seen = [one for one in sent if one.deployment == name]
        if not exact:
            continue
        assert len(recorded) == len(seen), f"I8: {name} was called {len(seen)} times, {len(recorded)} are recorded"
        for attempt, one in zip(recorded, seen, strict=True):
            well = attempt.outcome in {Outcome.OK, Outcome.REJECTED}
            assert not well or one.outcome in {"ok", "closed"}, f"I8: {one.outcome} recorded as {attempt.outcome}"
            failed = one.outcome == "failed" and not _swallowed(attempt, one)
            assert not failed or attempt.outcome is Outcome.FAILED, f"I8: failure is {attempt.outcome}"
            assert one.outcome != "running", f"I8: {name} still runs, recorded as {attempt.outcome}"
            assert (attempt.outcome is Outcome.FAILED) == (attempt.error is not None), f"I8: {attempt}"


def _swallowed(attempt: Attempt, sent: Sent) -> bool:
    """Whether the provider failed only when, or after, its attempt was cancelled."""
    ended_at = attempt.started_at + attempt.duration_s
    return attempt.outcome is Outcome.CANCELLED and (sent.ended_at or 0.0) >= ended_at - ROUNDING_S


def _check_usage(winner: Sent, response: Response, *, exact: bool) -> None:
    told = winner.usage
    if told is None:
        assert response.usage.estimated, "I8: the upstream told no usage, and the answer's is not marked as estimated"
    elif exact:
        assert response.usage == told, f"I8: usage {response.usage}, the upstream told {told}"


def i9_errors(f: Any) -> None:
    """An error carries its trace, names what went wrong first and all that was tried."""
    for call in f.calls:
        error = call.error
        if not isinstance(error, AsyncRouterError):
            continue
        assert error.trace is not None, f"I9: no trace on {error!r}"
        check_error(error, error.trace)


def check_error(error: AsyncRouterError, trace: RouteTrace) -> None:
    """Check one error that ended a call."""
    failures = [one.error for one in trace.attempts if one.error is not None]
    if isinstance(error, AllAttemptsFailed):
        assert list(error.errors) == failures, "I9: the errors are not those of the attempts"
        assert error.__cause__ is failures[-1], "I9: the cause is not the last failure"
    if isinstance(error, (AllAttemptsFailed, DeadlineExceeded)):
        for one in trace.attempts:
            assert one.deployment in str(error), f"I9: {one.deployment} is not named in {error}"
        for one in failures:
            assert type(one).__name__ in str(error), f"I9: {type(one).__name__} is not named in {error}"
    if isinstance(error, StreamInterrupted) and error.__cause__ is not None:
        assert any(type(one).__name__ in str(error) for one in failures), f"I9: {error} does not say what broke"
    if isinstance(error, RoutingError):
        assert str(error), "I9: no words"


CHECKS = (i1_one_end, i2_one_success, i3_bounded, i4_in_time, i6_nothing_cut, i7_secrets, i8_accounts, i9_errors)
"""What can be told after the calls of a scenario and before the next."""
