"""Plugins that keep to every clause of their hook's contract, and how those that fail one are registered."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.testing import EstimatorContract, FallbackContract, JudgeContract, RetryContract, SelectorContract
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.errors import Disposition, InvalidRequest
from asyncrouter.types.request import text_of


class RightEstimator:
    @hookimpl
    async def asyncrouter_estimate(self, request, group):
        characters = sum(len(text_of(message)) for message in request.messages)
        await asyncio.sleep(0)
        return self.estimate(request, characters)

    def estimate(self, request, characters):
        return Estimate(
            complexity=min(1.0, characters / 1000), input_tokens=characters // 4, reason=f"{characters} chars"
        )


class RightSelector:
    """Takes the first at random, and says with which probability."""

    @hookimpl
    def asyncrouter_select(self, request, estimate, candidates, state):
        return self.select(candidates, state)

    def select(self, candidates, state):
        first = state.random.randrange(len(candidates))
        ordered = (candidates[first], *candidates[:first], *candidates[first + 1 :])
        return Selection(deployments=ordered, reason="at random", propensity=1 / len(candidates))


class RightRetry:
    @hookimpl
    def asyncrouter_retry(self, request, attempt, trace, random):
        if attempt.error.disposition is Disposition.RAISE or trace.waits >= 5:
            return GiveUp("enough")
        return Retry(self.delay(attempt, trace, random))

    def delay(self, attempt, trace, random):
        return max(attempt.error.retry_after_s or 0.0, random.uniform(0, min(30, 2**trace.waits)))


class RightFallback:
    @hookimpl
    def asyncrouter_fallback(self, request, attempt, trace, remaining):
        if type(attempt.error) is InvalidRequest:
            return None
        return self.next(trace, remaining)

    def next(self, trace, remaining):
        if remaining:
            return Fallback(deployment=remaining[0])
        return None if "other" in trace.groups else Fallback(group="other")


class RightJudge:
    @hookimpl
    async def asyncrouter_judge(self, request, response, trace):
        await anyio.sleep(0.5)
        return self.verdict(response)

    def verdict(self, response):
        good = bool(response.text or response.tool_calls)
        return Verdict(accept=good, score=float(good), reason="" if good else "no answer")


class EstimatorRight(EstimatorContract):
    plugin = RightEstimator

    def make(self):
        return self.plugin()


class SelectorRight(SelectorContract):
    plugin = RightSelector
    make = EstimatorRight.make


class RetryRight(RetryContract):
    plugin = RightRetry
    make = EstimatorRight.make


class FallbackRight(FallbackContract):
    plugin = RightFallback
    make = EstimatorRight.make


class JudgeRight(JudgeContract):
    plugin = RightJudge
    make = EstimatorRight.make


RIGHT = (EstimatorRight, SelectorRight, RetryRight, FallbackRight, JudgeRight)


def registering_in(cases):
    """Return a decorator that adds plugins to *cases*: the contract with the plugin, clause, words of the message."""

    def wrong(contract, clause, message):
        """Register the decorated plugin as one that fails *clause* of *contract* with *message*."""

        def register(plugin):
            case = type(f"{plugin.__name__}Case", (contract,), {"plugin": plugin})
            cases.append(pytest.param(case, clause, message, id=f"{plugin.__name__}-{clause}"))
            return plugin

        return register

    return wrong
