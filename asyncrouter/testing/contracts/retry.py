"""The contract of ``asyncrouter_retry``."""

from __future__ import annotations

import math
import random
from typing import Any

from asyncrouter.testing.contracts.base import Answer, Arguments, HookContract
from asyncrouter.testing.contracts.corpus import PROVIDER_ERRORS, failed_attempt, request, trace
from asyncrouter.types.decisions import Retry
from asyncrouter.types.errors import Disposition, ProviderError

ENDLESS = 1_000
"""Retries of one request that count as never ending."""
RETRY_AFTER_S = 7.0
SEED = 1


class RetryContract(HookContract):
    """What every retry strategy must keep.  Give ``make``."""

    hook = "retry"

    def test_obeys_final_errors(self) -> None:
        """No retry of an error that permits none (``error.disposition is Disposition.RAISE``): it would fail again."""
        for answer in self._answers(self.make(), self._situations()):
            error = answer.arguments[1].error
            if error.disposition is Disposition.RAISE:
                assert not isinstance(answer.result, Retry), (
                    f"{answer.situation}: it retries an error that is final; return GiveUp() or None when "
                    "attempt.error.disposition is Disposition.RAISE"
                )

    def test_delays_are_finite(self) -> None:
        """Every delay is a finite number of seconds, 0 or more, also after many waits."""
        for answer in self._retries():
            assert math.isfinite(answer.result.delay_s), (
                f"{answer.situation}: delay_s is {answer.result.delay_s!r}; cap it before you multiply"
            )

    def test_waits_as_long_as_asked(self) -> None:
        """The delay is no shorter than the upstream's ``retry_after_s``; giving up is fine."""
        for answer in self._retries():
            asked = answer.arguments[1].error.retry_after_s
            assert asked is None or answer.result.delay_s >= asked, (
                f"{answer.situation}: waits {answer.result.delay_s!r} s where the upstream asked for {asked}; "
                "return Retry(max(delay, attempt.error.retry_after_s))"
            )

    def test_ends(self) -> None:
        """It gives up at last when every attempt fails."""
        for kind in PROVIDER_ERRORS:
            waits = self._retries_of(kind)
            assert waits < ENDLESS, (
                f"{kind.__name__}: still retries after {waits} waits; count trace.waits and return GiveUp()"
            )

    def _retries_of(self, kind: type[ProviderError]) -> int:
        """Return how often an ever failing request waits, up to ENDLESS."""
        plugin, course, numbers = self.make(), trace(), random.Random(SEED)  # noqa: S311 - reproducible, not secret
        function = self._function(plugin)
        while course.waits < ENDLESS:
            attempt = failed_attempt(kind("down", deployment="d0"), number=course.waits + 1)
            course.attempts.append(attempt)
            decision: Any = function(request(), attempt, course, numbers)
            if not isinstance(decision, Retry):
                break
            course.waiting(decision.delay_s)
        return course.waits

    def _retries(self) -> list[Answer]:
        return [one for one in self._answers(self.make(), self._situations()) if isinstance(one.result, Retry)]

    def _situations(self) -> list[tuple[str, Arguments]]:
        return [
            _situation(kind, waits, retry_after_s)
            for kind in PROVIDER_ERRORS
            for waits in (0, 1, 3, 50, 5_000)
            for retry_after_s in (None, RETRY_AFTER_S, 1e9)
        ]


def _situation(kind: type[ProviderError], waits: int, retry_after_s: float | None) -> tuple[str, Arguments]:
    error = kind("down", deployment="d0")
    error.retry_after_s = retry_after_s
    attempt = failed_attempt(error, number=waits + 1)
    asked = "" if retry_after_s is None else f", Retry-After {retry_after_s:g} s"
    arguments = (request(), attempt, trace(attempt, waits=waits), random.Random(SEED))  # noqa: S311 - as above
    return f"{kind.__name__} after {waits} waits{asked}", arguments
