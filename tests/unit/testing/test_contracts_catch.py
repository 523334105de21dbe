"""Every clause of every hook's contract is failed by a plugin that is wrong in just that, and passed by right ones."""

from __future__ import annotations

import anyio
import pytest
import wrong_in_any_hook
import wrong_in_one_hook
from contract_cases import RIGHT, EstimatorRight, RightEstimator
from wrong_in_any_hook import counting

WRONG = [*wrong_in_any_hook.WRONG, *wrong_in_one_hook.WRONG]


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
