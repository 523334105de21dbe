"""The observer: of each finished request, each shadow and each feedback a record, handed to the writer."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
from attrs.validators import optional

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.telemetry.outcomes.records import Feedback, LoggedAttempt, LoggedCall
from asyncrouter.telemetry.outcomes.schema import open_for_writing, plain
from asyncrouter.telemetry.outcomes.writer import Entry, Writer
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.errors import ConfigFault
from asyncrouter.types.events import Event, FeedbackGiven, RequestFinished, ShadowFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, Outcome, RouteTrace

CAPACITY = 10_000
"""Records that wait for the disk at most: about 20 MB, and at 1,000 calls a second a disk that hangs for 10 s."""

CHECKS: Mapping[str, options.Check] = {
    "prompts": options.flag,
    "vectors": options.flag,
    "keep_rows": optional(options.whole(1)),
    "keep_days": optional(options.positive),
    "capacity": options.whole(1),
}

GIVEN = (Outcome.OK, Outcome.REJECTED)
"""How the attempt of a given answer may have ended: the best of those that were rejected is given too."""


class RowsLost(RuntimeError):
    """A record was dropped: the disk does not keep up, or the file cannot be written."""


class OutcomeLog:
    """Writes what was decided and what came of it to the SQLite file *path*, without ever holding up a call.

    No text of a prompt or an answer is written, unless *prompts* is true: then the request's messages are.  *vectors*:
    keep the estimates' feature vectors too, from which something of a prompt may be guessed.  *label*: a word that is
    written into each row, to tell policies apart.  *keep_rows* and *keep_days* bound what is kept; ``None``: no bound.

    At most *capacity* records wait to be written; what does not fit is dropped, counted in
    ``metrics().plugin_failures`` and written down as lost.  *clock* tells seconds since 1970.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` for a wrong option.
    """

    name = "outcomes"

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        prompts: bool = False,
        vectors: bool = False,
        label: str | None = None,
        keep_rows: int | None = 1_000_000,
        keep_days: float | None = None,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path).absolute()
        given = {
            "prompts": prompts,
            "vectors": vectors,
            "keep_rows": keep_rows,
            "keep_days": keep_days,
            "capacity": capacity,
        }
        options.refuse((*_wrong(given), *_misplaced(self._path)))
        self._prompts = prompts
        self._vectors = vectors
        self._label = label
        self._clock = clock
        self._writer = Writer(self._path, capacity=capacity, keep_rows=keep_rows, keep_days=keep_days, clock=clock)

    @property
    def dropped(self) -> int:
        """How many records were lost so far."""
        return self._writer.dropped

    @hookimpl
    async def asyncrouter_startup(self) -> None:
        """Make the file, so that a wrong path or another program's file is told before the first call."""
        await anyio.to_thread.run_sync(lambda: open_for_writing(self._path).close())

    @hookimpl
    async def asyncrouter_shutdown(self) -> None:
        """Write what is left."""
        await anyio.to_thread.run_sync(self._writer.close)

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Hand over the record of *event*, where it makes one; raise :class:`RowsLost` when it is dropped."""
        if isinstance(event, RequestFinished):
            self._put(*self._finished(event))
        elif isinstance(event, ShadowFinished):
            self._put(self._shadow(event), self._messages(event.request))
        elif isinstance(event, FeedbackGiven) and event.response.trace is not None:
            self._put(Feedback(event.response.trace.request_id, self._clock(), float(event.score)))

    def _put(self, entry: Entry, messages: str | None = None) -> None:
        if not self._writer.put(entry, messages):
            raise RowsLost("the outcome log drops records: its file is not written as fast as calls end")

    def _finished(self, event: RequestFinished) -> tuple[LoggedCall, str | None]:
        request, trace, response, savings = event.request, event.trace, event.response, event.savings
        outcome = "answered" if response is not None else "failed" if event.error is not None else "cancelled"
        call = LoggedCall(
            id=trace.request_id,
            at=self._clock(),
            label=self._label,
            **_asked(request, trace.groups[0]),
            **self._known(trace.estimate),
            **_decided(trace),
            outcome=outcome,
            error=None if event.error is None else type(event.error).__name__,
            attempts=tuple(map(_attempt, trace.attempts)),
            waits=trace.waits,
            waited_s=trace.waited_s,
            duration_s=trace.duration_s,
            **({} if response is None else answered(response)),
            spent_usd=_sum(one.cost_usd for one in trace.attempts),
            strong_usd=None if savings is None else savings.strong_usd,
            weak_usd=None if savings is None else savings.weak_usd,
            judged=None if response is None else _judged(response, trace),
        )
        return call, self._messages(request)

    def _shadow(self, event: ShadowFinished) -> LoggedCall:
        attempt, response, verdict = event.attempt, event.response, event.verdict
        unanswered = "cancelled" if attempt.outcome is Outcome.CANCELLED else "failed"
        return LoggedCall(
            id=event.request.id,
            at=self._clock(),
            label=self._label,
            shadow_of=event.of,
            **_asked(event.request, attempt.group),
            chosen=attempt.deployment,
            outcome=unanswered if response is None else "answered",
            error=None if attempt.error is None else type(attempt.error).__name__,
            attempts=(_attempt(attempt),),
            duration_s=attempt.duration_s,
            **({} if response is None else answered(response)),
            spent_usd=attempt.cost_usd,
            accepted=None if verdict is None else verdict.accept,
            judged=None if verdict is None else verdict.score,
        )

    def _known(self, estimate: Estimate | None) -> dict[str, Any]:
        if estimate is None:
            return {}
        return {
            "complexity": estimate.complexity,
            "estimator": estimate.source,
            "expected_input_tokens": estimate.input_tokens,
            "expected_output_tokens": estimate.output_tokens,
            "contributions": estimate.contributions,
            "qualities": estimate.qualities,
            "features": tuple(estimate.features) if self._vectors else (),
        }

    def _messages(self, request: Request) -> str | None:
        """Return the messages in JSON, where they are wanted, as they are now: the caller may go on to change them."""
        return json.dumps(list(request.messages), default=plain) if self._prompts else None


def answered(response: Response) -> dict[str, Any]:
    """Return the fields that an answer fills."""
    usage = response.usage
    return {
        "deployment": response.deployment,
        "model": response.model,
        "finish_reason": response.finish_reason,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "usage_estimated": usage.estimated,
        "cost_usd": response.cost_usd,
    }


def digest_of(session: str) -> str:
    """Return the word that stands for *session* in the log."""
    return hashlib.blake2b(str(session).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _asked(request: Request, group: str) -> dict[str, Any]:
    session = request.session
    digest = None if session is None else digest_of(session)
    return {"agent": request.agent, "session": digest, "group": group, "stream": request.stream}


def _decided(trace: RouteTrace) -> dict[str, Any]:
    selection = trace.selection
    if selection is None:
        return {}
    ranking = tuple(one.name for one in selection.deployments)
    return {
        "ranking": ranking,
        "chosen": ranking[0],
        "propensity": selection.propensity,
        "parallel": selection.parallel,
        "reason": selection.reason,
    }


def _attempt(attempt: Attempt) -> LoggedAttempt:
    return LoggedAttempt(
        deployment=attempt.deployment,
        group=attempt.group,
        kind=attempt.kind.value,
        outcome=attempt.outcome.value,
        error=None if attempt.error is None else type(attempt.error).__name__,
        duration_s=attempt.duration_s,
        input_tokens=attempt.input_tokens,
        output_tokens=attempt.output_tokens,
        cost_usd=attempt.cost_usd,
        score=attempt.score,
    )


def _judged(response: Response, trace: RouteTrace) -> float | None:
    """Return what the judge thought of the answer that was given."""
    given = (one for one in reversed(trace.attempts) if one.deployment == response.deployment and one.outcome in GIVEN)
    return next((one.score for one in given), None)


def _sum(costs: Iterable[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _wrong(given: Mapping[str, object]) -> Iterator[ConfigFault]:
    """Yield the faults of the options *given*."""
    for name, value in given.items():
        yield from options.faults_in(value, name, CHECKS[name])


def _misplaced(path: Path) -> Iterator[ConfigFault]:
    """Yield the fault of a *path* at which there can be no file."""
    if path.is_dir():
        yield ConfigFault("path", "is a directory", 'name a file: path = "outcomes.sqlite"')
    elif not path.parent.is_dir():
        yield ConfigFault("path", "its directory does not exist", f"make {path.parent.name}/ first")
