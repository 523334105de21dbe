"""Plugins that fail one of the clauses that only their hook's contract has."""

from __future__ import annotations

import math

import attrs
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
from asyncrouter.types.decisions import Fallback, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import text_of

WRONG = []
wrong = registering_in(WRONG)


def estimating(**fields):
    """Return a wrong estimator: the right one with other fields."""

    class Other(RightEstimator):
        def estimate(self, request, characters):
            given = {name: value(characters) if callable(value) else value for name, value in fields.items()}
            return attrs.evolve(super().estimate(request, characters), **given)

    Other.__name__ = f"Estimator_{'_'.join(fields)}"
    return Other


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
