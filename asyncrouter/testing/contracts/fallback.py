"""The contract of ``asyncrouter_fallback``."""

from __future__ import annotations

import attrs

from asyncrouter.testing.contracts.base import Answer, Arguments, HookContract
from asyncrouter.testing.contracts.corpus import PROVIDER_ERRORS, deployments, failed_attempt, request, trace
from asyncrouter.types.decisions import Fallback
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import InvalidRequest, ProviderError

ENDLESS = 1_000
"""Fallbacks of one request that count as never ending."""


class FallbackContract(HookContract):
    """What every fallback strategy must keep.  Give ``make``.

    When yours leads to other groups, ``groups`` names them, so that the clauses visit them.
    """

    hook = "fallback"
    groups: tuple[str, ...] = ("other",)

    def test_names_remaining_deployments_only(self) -> None:
        """A deployment that it names is one of *remaining*: the very object.

        The compiled hook refuses any other; here that is seen before a call is lost.
        """
        self._fallbacks()

    def test_visits_no_group_again(self) -> None:
        """A group that it names is not in ``trace.groups``: those were visited in this round."""
        for answer in self._fallbacks():
            visited = answer.arguments[2].groups
            assert answer.result.group not in visited, (
                f"{answer.situation}: group {answer.result.group!r} was visited already; skip those in trace.groups"
            )

    def test_a_wrong_request_stays_wrong(self) -> None:
        """No fallback for a plain :class:`InvalidRequest`: it would be wrong everywhere.

        Its subclass :class:`ContextWindowExceeded`, and :class:`ContentFiltered`, may lead to a fallback made for them.
        """
        for answer in self._fallbacks():
            assert type(answer.arguments[1].error) is not InvalidRequest, (
                f"{answer.situation}: it falls back from InvalidRequest; return None for it, so that the caller sees it"
            )

    def test_ends(self) -> None:
        """It comes to an end when everything it names fails."""
        for kind in PROVIDER_ERRORS:
            steps = self._fallbacks_of(kind("down", deployment="d0"))
            assert steps < ENDLESS, (
                f"{kind.__name__}: still falls back after {steps} fallbacks; name only what trace.groups lacks"
            )

    def _fallbacks_of(self, error: ProviderError) -> int:
        """Return how many fallbacks an ever failing request makes, up to ENDLESS."""
        function = self._function(self.make())
        course, remaining, steps = trace(), deployments(3)[1:], 0
        while steps < ENDLESS:
            attempt = failed_attempt(error, number=steps + 1)
            course.attempts.append(attempt)
            decision = function(request(), attempt, course, remaining)
            if not isinstance(decision, Fallback):
                break
            steps += 1
            if decision.group is not None:
                course.entered(decision.group)
                remaining = deployments(2)
            else:
                remaining = tuple(one for one in remaining if one is not decision.deployment)
        return steps

    def _fallbacks(self) -> list[Answer]:
        return [one for one in self._answers(self.make(), self._situations()) if isinstance(one.result, Fallback)]

    def _situations(self) -> list[tuple[str, Arguments]]:
        failures = [kind("down", deployment="d0") for kind in PROVIDER_ERRORS]
        return [
            _situation(error, remaining, ("chat", *self.groups[:visited]))
            for error in (*failures, None)
            for remaining in (deployments(4)[1:], deployments(2)[1:], ())
            for visited in range(len(self.groups) + 1)
        ]


def _situation(
    error: ProviderError | None, remaining: tuple[Deployment, ...], groups: tuple[str, ...]
) -> tuple[str, Arguments]:
    attempt = attrs.evolve(failed_attempt(error), group=groups[-1])
    name = f"{type(error).__name__ if error else 'no deployment ready'}, {len(remaining)} remaining, visited {groups}"
    return name, (request(), attempt, trace(*([attempt] if error else []), groups=groups), remaining)
