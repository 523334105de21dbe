"""Plugins that fail one of the clauses that several hooks' contracts have."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

from contract_cases import (
    EstimatorRight,
    FallbackRight,
    JudgeRight,
    RetryRight,
    RightEstimator,
    RightFallback,
    RightJudge,
    RightRetry,
    RightSelector,
    SelectorRight,
    registering_in,
)

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.errors import Disposition
from asyncrouter.types.request import text_of

WRONG = []
wrong = registering_in(WRONG)


# ---- clauses of every hook


@wrong(EstimatorRight, "test_registers", r"refuses it.*takes unknown arguments \['prompt'\]")
class UnknownArgument:
    @hookimpl
    async def asyncrouter_estimate(self, prompt):
        return Estimate(complexity=0.5, reason="x")


@wrong(SelectorRight, "test_registers", r"refuses it: .*asyncrouter_select: is not marked; put @hookimpl above it")
class ForgotTheMark:
    def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates)

    @hookimpl
    def asyncrouter_observe(self, event):
        pass


@wrong(SelectorRight, "test_registers", r"does not implement asyncrouter_select; write that hook")
class OfAnotherKind:
    @hookimpl
    def asyncrouter_observe(self, event):
        pass


@wrong(RetryRight, "test_registers", r"must be a plain function, not async")
class AsyncRetry:
    @hookimpl
    async def asyncrouter_retry(self, attempt):
        return None


@wrong(RetryRight, "test_survives_odd_situations", r"refuses it.*must be a plain function")
class AsyncRetryAgain(AsyncRetry):
    pass


@wrong(FallbackRight, "test_registers", r"implements no hook")
class NoHook:
    pass


@wrong(JudgeRight, "test_registers", r"there is no such hook; did you mean .asyncrouter_judge")
class Misspelt:
    @hookimpl
    async def asyncrouter_jugde(self, response):
        return None


@wrong(EstimatorRight, "test_survives_odd_situations", r"content of null: .*raised TypeError .*return None to decline")
class TakesContentForText:
    @hookimpl
    async def asyncrouter_estimate(self, request):
        length = sum(len(message.get("content", "")) for message in request.messages)
        return Estimate(complexity=min(1, length / 1e6), reason="length")


@wrong(EstimatorRight, "test_survives_odd_situations", r"a lone surrogate: .*UnicodeEncodeError")
class Encodes(RightEstimator):
    def estimate(self, request, characters):
        for message in request.messages:
            text_of(message).encode()
        return super().estimate(request, characters)


@wrong(SelectorRight, "test_survives_odd_situations", r"ten candidates never called: .*raised TypeError")
class ComparesUnknownLatencies(RightSelector):
    def select(self, candidates, state):
        return Selection(
            deployments=tuple(sorted(candidates, key=lambda one: state[one.name].latency_s)), reason="latency"
        )


@wrong(SelectorRight, "test_survives_odd_situations", r"unknown prices and windows: .*raised AttributeError")
class ComparesUnknownPrices(RightSelector):
    def select(self, candidates, state):
        return Selection(deployments=tuple(sorted(candidates, key=lambda one: one.price.input)), reason="price")


@wrong(RetryRight, "test_survives_odd_situations", r"after 5000 waits: .*OverflowError")
class MultipliesBeforeItCaps(RightRetry):
    @hookimpl
    def asyncrouter_retry(self, attempt, trace, random):
        return Retry(min(30.0, 1.0 * 2.0**trace.waits))


@wrong(FallbackRight, "test_survives_odd_situations", r"no deployment ready, .*AttributeError")
class NeedsAnError(RightFallback):
    @hookimpl
    def asyncrouter_fallback(self, attempt, trace, remaining):
        return None if attempt.error.disposition is Disposition.RAISE else self.next(trace, remaining)


@wrong(JudgeRight, "test_survives_odd_situations", r"no choices: .*IndexError")
class ReadsTheFirstChoice(RightJudge):
    def verdict(self, response):
        response.raw["choices"][0]
        return super().verdict(response)


@wrong(JudgeRight, "test_survives_odd_situations", r"a plain answer: .*returned bool, expected Verdict or None")
class ReturnsABool(RightJudge):
    def verdict(self, response):
        return True


@wrong(EstimatorRight, "test_mutates_nothing", r"content of null: it changed its arguments; build new objects")
class StripsThePrompt(RightEstimator):
    def estimate(self, request, characters):
        for message in request.messages:
            message["content"] = text_of(message).strip()
        return super().estimate(request, characters)


@wrong(SelectorRight, "test_mutates_nothing", r"it changed its arguments")
class WritesParams(RightSelector):
    def select(self, candidates, state):
        candidates[0].params["seen"] = True
        return super().select(candidates, state)


@wrong(SelectorRight, "test_survives_odd_situations", r"FrozenInstanceError")
class WritesTheState(RightSelector):
    def select(self, candidates, state):
        state.random = None
        return super().select(candidates, state)


@wrong(RetryRight, "test_mutates_nothing", r"it changed its arguments")
class WritesTheTrace(RightRetry):
    def delay(self, attempt, trace, random):
        trace.notes.append("retrying")
        return super().delay(attempt, trace, random)


@wrong(RetryRight, "test_mutates_nothing", r"it changed its arguments")
class WritesTheError(RightRetry):
    def delay(self, attempt, trace, random):
        attempt.error.retry_after_s = 1.0
        return super().delay(attempt, trace, random)


@wrong(FallbackRight, "test_mutates_nothing", r"it changed its arguments")
class EntersTheGroup(RightFallback):
    def next(self, trace, remaining):
        trace.entered("other")


@wrong(JudgeRight, "test_mutates_nothing", r"it changed its arguments")
class WritesTheAnswer(RightJudge):
    def verdict(self, response):
        response.raw["judged"] = True
        return super().verdict(response)


def drawing(plugin, method):
    """Return *plugin* with a *method* that draws from the module random first."""

    def draw(self, *arguments):
        random.shuffle([1, 2, 3])
        return getattr(plugin, method)(self, *arguments)

    return type(f"{plugin.__name__}Drawing", (plugin,), {method: draw})


METHODS = [
    (EstimatorRight, RightEstimator, "estimate"),
    (SelectorRight, RightSelector, "select"),
    (RetryRight, RightRetry, "delay"),
    (FallbackRight, RightFallback, "next"),
    (JudgeRight, RightJudge, "verdict"),
]
for contract, plugin, method in METHODS:
    wrong(contract, "test_leaves_the_global_random_numbers_alone", "it drew from the module random")(
        drawing(plugin, method)
    )


@wrong(EstimatorRight, "test_same_input_same_answer", r"use no clock")
class HarderAtNight(RightEstimator):
    def estimate(self, request, characters):
        return Estimate(complexity=(time.time() % 7200) / 7200, reason="the hour")


@wrong(SelectorRight, "test_same_input_same_answer", r"use no clock")
class OwnRandomNumbers(RightSelector):
    def __init__(self):
        self.random = random.SystemRandom()

    def select(self, candidates, state):
        return Selection(deployments=tuple(self.random.sample(candidates, len(candidates))), reason="own chance")


@wrong(RetryRight, "test_same_input_same_answer", r"use no clock")
class RetriesUntilNoon(RightRetry):
    def __init__(self):
        self.began = time.monotonic()

    def delay(self, attempt, trace, random):
        return time.monotonic() + (attempt.error.retry_after_s or 0)


@wrong(FallbackRight, "test_same_input_same_answer", r"use no clock")
class TakesTurnsByIdentity(RightFallback):
    count = itertools.count()

    def next(self, trace, remaining):
        return Fallback(deployment=remaining[next(self.count) % len(remaining)]) if remaining else None


@wrong(JudgeRight, "test_same_input_same_answer", r"use no clock")
class JudgesByTheClock(RightJudge):
    def verdict(self, response):
        return Verdict(accept=True, score=(time.perf_counter() % 7200) / 7200)


def counting(plugin, hook):
    """Return *plugin* declining every call after the first round of situations."""

    class Counting(plugin):
        def __init__(self):
            self.seen = 0

    def counted(self, *arguments):
        self.seen += 1
        return None if self.seen > self.limit else getattr(plugin, hook)(self, *arguments)

    setattr(Counting, hook, counted)
    Counting.__name__ = f"{plugin.__name__}Counting"
    Counting.limit = 3
    return Counting


for contract, plugin, method in METHODS:
    if contract is not SelectorRight and contract is not RetryRight:
        wrong(contract, "test_repeats_itself", "keep no state between calls, or set stateless = False")(
            counting(plugin, method)
        )


@wrong(RetryRight, "test_repeats_itself", "keep no state between calls")
class CountsItself(RightRetry):
    def __init__(self):
        self.retries = 0

    def delay(self, attempt, trace, random):
        self.retries += 1
        return max(attempt.error.retry_after_s or 0, self.retries)


@wrong(type("Stateless", (SelectorRight,), {"stateless": True}), "test_repeats_itself", "keep no state between calls")
class TakesTurns(RightSelector):
    def __init__(self):
        self.turn = 0

    def select(self, candidates, state):
        self.turn += 1
        first = self.turn % len(candidates)
        return Selection(deployments=candidates[first:] + candidates[:first], reason="in turns")


@wrong(EstimatorRight, "test_reasons_hold_no_prompt", r"reason quotes the text; name features and numbers")
class QuotesThePrompt(RightEstimator):
    def estimate(self, request, characters):
        return Estimate(complexity=0.5, reason=text_of(request.messages[0])[:40])


@wrong(EstimatorRight, "test_reasons_hold_no_prompt", r"source quotes the text")
class QuotesThePromptAsSource(RightEstimator):
    def estimate(self, request, characters):
        return Estimate(complexity=0.5, reason="x", source=text_of(request.messages[0]))


def quoting(hook, make):
    class Quoting:
        pass

    setattr(Quoting, f"asyncrouter_{hook}", hookimpl(make))
    Quoting.__name__ = f"Quoting_{hook}"
    return Quoting


for contract, hook, make in [
    (
        SelectorRight,
        "select",
        lambda self, request, candidates: Selection(deployments=candidates, reason=text_of(request.messages[0])),
    ),
    (RetryRight, "retry", lambda self, request: Retry(1e9, text_of(request.messages[0]))),
    (FallbackRight, "fallback", lambda self, request: GiveUp(text_of(request.messages[0]))),
    (JudgeRight, "judge", lambda self, response: Verdict(accept=False, reason=f"bad: {response.text}")),
]:
    wrong(contract, "test_reasons_hold_no_prompt", "reason quotes the text")(quoting(hook, make))


# ---- cancellation


@wrong(EstimatorRight, "test_cancellation_passes", r"cancelled, it ended otherwise; never catch BaseException")
class SwallowsCancellation:
    @hookimpl
    async def asyncrouter_estimate(self):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return


@wrong(SelectorRight, "test_cancellation_passes", r"cancelled, it ended otherwise")
class TranslatesCancellation:
    @hookimpl
    async def asyncrouter_select(self, candidates):
        try:
            await asyncio.sleep(0.5)
            await asyncio.sleep(60)
        except BaseException as error:
            raise ValueError("no answer") from error


@wrong(JudgeRight, "test_cancellation_passes", r"cancelled, it still ran 60 s later")
class LingersAfterCancellation:
    @hookimpl
    async def asyncrouter_judge(self):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3600)
