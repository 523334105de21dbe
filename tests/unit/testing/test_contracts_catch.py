"""Every clause of every hook's contract is failed by a plugin that is wrong in just that, and passed by right ones."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time

import anyio
import attrs
import pytest

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.testing import (
    EstimatorContract,
    FallbackContract,
    JudgeContract,
    RetryContract,
    SelectorContract,
)
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import Disposition, InvalidRequest
from asyncrouter.types.request import text_of

# ---------------------------------------------------------------------------------------------- right ones


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

# ---------------------------------------------------------------------------------------------- wrong ones

WRONG = []
"""(contract with the wrong plugin, clause, words of the message)"""


def wrong(contract, clause, message):
    """Register the decorated plugin as one that fails *clause* of *contract* with *message*."""

    def register(plugin):
        case = type(f"{plugin.__name__}Case", (contract,), {"plugin": plugin})
        WRONG.append(pytest.param(case, clause, message, id=f"{plugin.__name__}-{clause}"))
        return plugin

    return register


def estimating(**fields):
    """Return a wrong estimator: the right one with other fields."""

    class Other(RightEstimator):
        def estimate(self, request, characters):
            given = {name: value(characters) if callable(value) else value for name, value in fields.items()}
            return attrs.evolve(super().estimate(request, characters), **given)

    Other.__name__ = f"Estimator_{'_'.join(fields)}"
    return Other


class Unchecked:
    """Looks like an estimate to those who do not look closely."""


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


# ---- estimators


@wrong(EstimatorRight, "test_answers_a_plain_question", r"it declined a plain question; return Estimate")
class DeclinesEverything:
    @hookimpl
    async def asyncrouter_estimate(self):
        return None


wrong(EstimatorRight, "test_complexity_is_in_range", r"100 kB of words: .*expected a number from 0 to 1")(
    estimating(complexity=lambda characters: characters / 1000)
)
wrong(EstimatorRight, "test_complexity_is_in_range", r"not nan")(estimating(complexity=math.nan))
wrong(EstimatorRight, "test_complexity_is_in_range", r"complexity is a bool; return a float")(
    estimating(complexity=True)
)
wrong(EstimatorRight, "test_forecasts_whole_tokens", r"input_tokens is .*; return an int")(
    estimating(input_tokens=lambda characters: characters / 4)
)
wrong(EstimatorRight, "test_forecasts_whole_tokens", r"output_tokens is -1; count from 0")(estimating(output_tokens=-1))
wrong(EstimatorRight, "test_gives_a_reason", r"the reason is empty; name what decided")(estimating(reason=""))


@wrong(EstimatorRight, "test_work_grows_linearly", r"words: 4 times the prompt took 1\d\.\d times the work")
class ComparesEveryPair(RightEstimator):
    def estimate(self, request, characters):
        text = text_of(request.messages[0])
        pairs = 0
        for one in text:
            for other in text:
                pairs += one == other
        return super().estimate(request, characters)


@wrong(EstimatorRight, "test_work_grows_linearly", r"messages: 4 times the prompt took \d+\.\d times the work")
class ComparesEveryMessage(RightEstimator):
    def estimate(self, request, characters):
        same = 0
        for one in request.messages:
            for other in request.messages:
                same += one == other
        return super().estimate(request, characters)


# ---- selectors


def selecting(name, select):
    return type(name, (RightSelector,), {"select": lambda self, candidates, state: select(candidates, state)})


class Keeps(RightSelector):
    """Remembers the order that it made first."""

    def __init__(self):
        self.order = None

    def select(self, candidates, state):
        self.order = self.order or candidates
        return Selection(deployments=self.order, reason="as before")


class RemembersAPosition(RightSelector):
    def __init__(self):
        self.last = 0

    def select(self, candidates, state):
        first = candidates[self.last]
        self.last = len(candidates) - 1
        return Selection(deployments=(first,), reason="the last one")


STRANGER = Deployment(name="stranger", provider="p", model="m")
for clause, message, plugin in [
    ("test_selects", "it declined; return Selection", selecting("Declines", lambda _c, _s: None)),
    (
        "test_selects_given_candidates_only",
        "three candidates: .*expected a Selection of the candidates",
        selecting("AddsAStranger", lambda c, _s: Selection(deployments=(*c, STRANGER), reason="x")),
    ),
    (
        "test_selects_given_candidates_only",
        "three candidates: .*expected a Selection of the candidates",
        selecting(
            "Copies", lambda c, _s: Selection(deployments=tuple(attrs.evolve(one, weight=1.0) for one in c), reason="x")
        ),
    ),
    (
        "test_selects_each_once",
        r"\['d0'\] stand twice",
        selecting("TwiceTheFirst", lambda c, _s: Selection(deployments=(c[0], *c), reason="x")),
    ),
    (
        "test_one_candidate_is_certain",
        "there was no choice: say 1",
        selecting("NeverCertain", lambda c, _s: Selection(deployments=c, propensity=0.9, reason="x")),
    ),
    ("test_survives_changing_candidates", "expected a Selection of the candidates that it was given", Keeps),
    ("test_survives_changing_candidates", "1 of 6 candidates: .*IndexError", RemembersAPosition),
    (
        "test_looks_at_candidates_only",
        r"it looked up \['a-favourite'\], which are no candidates",
        selecting("LooksElsewhere", lambda c, s: Selection(deployments=c, reason=str(s["a-favourite"].in_flight))),
    ),
    (
        "test_propensity_is_the_frequency",
        r"came first \d+ times in 400, with a stated propensity of 1;",
        selecting(
            "ClaimsCertainty",
            lambda c, s: Selection(deployments=tuple(s.random.sample(c, len(c))), propensity=1.0, reason="x"),
        ),
    ),
    (
        "test_propensity_is_the_frequency",
        r"d0 came first 400 times in 400, with a stated propensity of 0\.25",
        selecting("ClaimsChance", lambda c, _s: Selection(deployments=c, propensity=1 / len(c), reason="x")),
    ),
    (
        "test_gives_a_reason",
        "the reason is empty",
        selecting("GivesNoReason", lambda c, _s: Selection(deployments=c)),
    ),
]:
    wrong(SelectorRight, clause, message)(plugin)


# ---- retries


@wrong(RetryRight, "test_obeys_final_errors", r"ContentFiltered after 0 waits: it retries an error that is final")
class RetriesEverything(RightRetry):
    @hookimpl
    def asyncrouter_retry(self, attempt, trace, random):
        return Retry(self.delay(attempt, trace, random)) if trace.waits < 5 else None


@wrong(RetryRight, "test_delays_are_finite", r"delay_s is inf; cap it")
class WaitsForEver(RightRetry):
    def delay(self, attempt, trace, random):
        return math.inf


@wrong(RetryRight, "test_delays_are_finite", r"expected 0 or more seconds, not -1")
class WaitsBackwards(RightRetry):
    def delay(self, attempt, trace, random):
        return -1.0


@wrong(RetryRight, "test_waits_as_long_as_asked", r"waits 1\.0 s where the upstream asked for 7\.0")
class KnowsBetter(RightRetry):
    def delay(self, attempt, trace, random):
        return 1.0


@wrong(RetryRight, "test_ends", r"RateLimited|still retries after 1000 waits; count trace.waits")
class NeverEnds(RightRetry):
    @hookimpl
    def asyncrouter_retry(self, attempt, trace, random):
        return Retry(self.delay(attempt, trace, random))

    def delay(self, attempt, trace, random):
        return attempt.error.retry_after_s or 1.0


# ---- fallbacks


@wrong(
    FallbackRight, "test_names_remaining_deployments_only", "expected a Fallback to one of the remaining deployments"
)
class NamesAStranger(RightFallback):
    def next(self, trace, remaining):
        return Fallback(deployment=STRANGER)


@wrong(FallbackRight, "test_visits_no_group_again", r"group 'other' was visited already; skip those in trace.groups")
class VisitsAgain(RightFallback):
    def next(self, trace, remaining):
        return Fallback(group="other")


@wrong(FallbackRight, "test_ends", r"still falls back after 1000 fallbacks")
class VisitsForEver(VisitsAgain):
    pass


@wrong(FallbackRight, "test_a_wrong_request_stays_wrong", r"it falls back from InvalidRequest; return None")
class SendsWrongRequestsAround(RightFallback):
    @hookimpl
    def asyncrouter_fallback(self, trace, remaining):
        return self.next(trace, remaining)


# ---- judges


def judging(name, **fields):
    return type(name, (RightJudge,), {"verdict": lambda self, response: Verdict(**{"accept": True, **fields})})


for clause, message, plugin in [
    ("test_accept_is_a_decision", r"accept is 0\.7; return Verdict", judging("AcceptsByDegrees", accept=0.7)),
    ("test_scores_are_in_range", r"score is 8; scale it", judging("ScoresOutOfTen", score=8)),
    ("test_scores_are_in_range", r"score is nan", judging("ScoresNaN", score=math.nan)),
    ("test_scores_are_in_range", r"score is 'good'", judging("ScoresInWords", score="good")),
    ("test_rejections_have_a_reason", "rejected without a reason", judging("RejectsInSilence", accept=False)),
]:
    wrong(JudgeRight, clause, message)(plugin)


# ---------------------------------------------------------------------------------------------- the tests


def clauses(contract):
    return sorted(name for name in dir(contract) if name.startswith("test_"))


@pytest.mark.parametrize(
    ("contract", "clause"),
    [pytest.param(c, clause, id=f"{c.__name__}-{clause}") for c in RIGHT for clause in clauses(c)],
)
def test_the_right_plugin_passes(contract, clause):
    getattr(contract(), clause)()


@pytest.mark.parametrize(("contract", "clause", "message"), WRONG)
def test_the_wrong_plugin_fails(contract, clause, message):
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        getattr(contract(), clause)()


@pytest.mark.parametrize("contract", RIGHT, ids=lambda contract: contract.__name__)
def test_every_clause_has_a_wrong_plugin(contract):
    caught = {case.values[1] for case in WRONG if issubclass(case.values[0], contract)}
    assert clauses(contract) == sorted(caught)


@pytest.mark.parametrize("contract", RIGHT, ids=lambda contract: contract.__name__)
def test_every_clause_says_what_it_demands(contract):
    assert all(getattr(contract, clause).__doc__ for clause in clauses(contract))


@pytest.mark.parametrize("contract", RIGHT, ids=lambda contract: contract.__name__)
def test_an_author_who_forgot_make_is_told_so(contract):
    (base,) = contract.__bases__
    with pytest.raises(NotImplementedError, match=r"make: return a fresh instance of your plugin"):
        base().test_registers()


def test_a_learning_plugin_may_change_its_mind():
    case = type("Learning", (EstimatorRight,), {"plugin": counting(RightEstimator, "estimate"), "stateless": False})
    case().test_repeats_itself()


def test_a_plugin_with_real_waits_runs_on_the_real_loop():
    ran = []

    class Real(EstimatorRight):
        def run(self, function, *arguments):
            ran.append(function)
            return anyio.run(function, *arguments)

    Real().test_answers_a_plain_question()
    Real().test_cancellation_passes()
    assert ran
