"""The contract of ``asyncrouter_select``."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from asyncrouter.testing.contracts.base import Answer, Arguments, AsyncHookContract
from asyncrouter.testing.contracts.corpus import deployments, request
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment

DRAWS = 400
"""Selections by fresh instances for the test of frequencies."""
SIGMAS = 5.0
"""Deviation allowed between stated and seen frequencies: a true statement fails once in two million."""


class SelectorContract(AsyncHookContract):
    """What every selector must keep.  Give ``make``.

    ``stateless`` is ``False`` here: a selector may take turns.  ``may_decline = True`` allows it to return ``None``
    for ordinary candidates.
    """

    hook = "select"
    stateless = False
    may_decline = False

    def test_selects(self) -> None:
        """It puts ordinary candidates in an order; ``may_decline = True`` lifts this clause."""
        for answer in self._answers(self.make(), self._situations()):
            assert answer.result is not None or self.may_decline, (
                f"{answer.situation}: it declined; return Selection(deployments=…), or set may_decline = True"
            )

    def test_selects_given_candidates_only(self) -> None:
        """Every deployment selected is one of the candidates: the very object, not a copy.

        The compiled hook refuses any other; here that is seen before a call is lost.
        """
        self._selections()

    def test_selects_each_once(self) -> None:
        """No deployment stands twice in a selection."""
        for answer in self._selections():
            twice = [
                name for name, count in Counter(one.name for one in answer.result.deployments).items() if count > 1
            ]
            assert not twice, f"{answer.situation}: {twice} stand twice; list every deployment once"

    def test_one_candidate_is_certain(self) -> None:
        """A single candidate is selected with propensity 1."""
        situation = _situation("one candidate", deployments(1))
        for answer in self._selected(self._answers(self.make(), [situation])):
            assert answer.result.propensity == 1.0, (
                f"one candidate was selected with propensity {answer.result.propensity!r}; there was no choice: say 1"
            )

    def test_survives_changing_candidates(self) -> None:
        """One instance copes with candidates that come and go between calls, as cooldowns make them."""
        everything = deployments(6)
        subsets = [everything, everything[:1], everything[3:], everything[:2], everything[5:], everything]
        situations = [_situation(f"{len(subset)} of 6 candidates", subset) for subset in subsets]
        self._answers(self.make(), situations)

    def test_looks_at_candidates_only(self) -> None:
        """It asks the state about the candidates and about nothing else."""
        for answer in self._answers(self.make(), self._situations()):
            strange = answer.arguments[3].asked - {one.name for one in answer.arguments[2]}
            assert not strange, f"{answer.situation}: it looked up {sorted(strange)}, which are no candidates"

    def test_propensity_is_the_frequency(self) -> None:
        """What it states as propensity is how often it selects that deployment first, in fresh instances.

        Off-policy evaluation divides by this number.  1 is right for a rule without chance.
        """
        stated: defaultdict[str, list[float]] = defaultdict(list)
        candidates = deployments(4)
        draws = [_situation("the test of frequencies", candidates, seed=seed) for seed in range(DRAWS)]
        for answer in self._selected(self._fresh_answers(draws)):
            stated[answer.result.deployments[0].name].append(answer.result.propensity)
        for name, propensities in stated.items():
            weight = sum(1 / propensity for propensity in propensities) / DRAWS  # 1 when all are right
            mean = len(propensities) / sum(1 / propensity for propensity in propensities)
            allowed = SIGMAS * math.sqrt((1 - mean) / (mean * DRAWS)) + 1e-9
            assert abs(weight - 1) <= allowed, (
                f"{name} came first {len(propensities)} times in {DRAWS}, with a stated propensity of {mean:.3g}; "
                "state the probability with which the first is chosen"
            )

    def test_gives_a_reason(self) -> None:
        """Every selection says why: people read it in traces and in ``explain``."""
        for answer in self._selections():
            assert answer.result.reason, f"{answer.situation}: the reason is empty; name the rule and what decided"

    def _selections(self) -> list[Answer]:
        return self._selected(self._answers(self.make(), self._situations()))

    @staticmethod
    def _selected(answers: list[Answer]) -> list[Answer]:
        return [answer for answer in answers if answer.result is not None]

    def _situations(self) -> list[tuple[str, Arguments]]:
        used = {
            "d0": FakeView(in_flight=4, latency_s=0.8, output_tokens=120.0, ready_at=-1.0),
            "d1": FakeView(in_flight=0, latency_s=0.0, output_tokens=0.0),
            "d2": FakeView(in_flight=1_000, latency_s=60.0, output_tokens=4_000.0),
        }
        return [
            _situation("three candidates", deployments(3), used),
            _situation("one candidate", deployments(1)),
            _situation("ten candidates never called", deployments(10)),
            _situation("unknown prices and windows", deployments(3, bare=True), used),
            _situation("1,000 candidates", deployments(1_000), used),
            _situation("complexity 0", deployments(3), used, complexity=0.0),
            _situation("complexity 1", deployments(3), used, complexity=1.0),
        ]


def _situation(
    name: str,
    candidates: tuple[Deployment, ...],
    views: dict[str, FakeView] | None = None,
    *,
    complexity: float = 0.5,
    seed: int = 1,
) -> tuple[str, Arguments]:
    estimate = Estimate(complexity=complexity, input_tokens=100, reason="given", source="contract")
    return name, (request(), estimate, candidates, FakeFleet(views or {}, seed=seed, now=100.0))
