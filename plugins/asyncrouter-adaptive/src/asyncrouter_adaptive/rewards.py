"""What an attempt was worth: its quality, as far as anybody can tell, minus what it cost."""

from __future__ import annotations

from asyncrouter.types.errors import ContentFiltered, InvalidRequest
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, Outcome

CALLERS_FAULT = (InvalidRequest, ContentFiltered)
"""Failures that say nothing about the deployment."""
CUT_SHORT = 0.5
"""The quality of an answer that was cut by its length, when nobody judges it."""
FILTERED = 0.2
"""The same for one that the upstream's filter ended."""


def quality_of(attempt: Attempt, response: Response | None) -> float | None:
    """Return the quality of what *attempt* came to, 0 to 1; ``None`` when it tells nothing of its deployment.

    A failure is worth 0; an answer what the judge thought of it; and an unjudged one 1 when it was finished.
    *response* is the answer that the caller got, where this attempt made it.
    """
    if attempt.outcome in {Outcome.CANCELLED, Outcome.SKIPPED}:
        return None
    if attempt.outcome is Outcome.FAILED:
        return None if isinstance(attempt.error, CALLERS_FAULT) else 0.0
    if attempt.score is not None:
        return attempt.score
    if attempt.outcome is Outcome.REJECTED:
        return 0.0
    ends = {"length": CUT_SHORT, "content_filter": FILTERED}
    return ends.get(response.finish_reason or "", 1.0) if response is not None else 1.0


def answering(attempts: tuple[Attempt, ...], response: Response | None) -> int | None:
    """Return the place of the attempt whose answer the caller got: the last of its deployment that has one."""
    if response is None:
        return None
    places = [
        place
        for place, one in enumerate(attempts)
        if one.deployment == response.deployment and one.outcome in {Outcome.OK, Outcome.REJECTED}
    ]
    return places[-1] if places else None
