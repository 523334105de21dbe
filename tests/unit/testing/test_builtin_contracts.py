"""The built-in strategies keep the contracts that a stranger's must keep."""

from __future__ import annotations

import pytest

from asyncrouter.hooks.registry import Registry
from asyncrouter.strategies import builtin
from asyncrouter.testing import EstimatorContract, FallbackContract, RetryContract, SelectorContract
from asyncrouter.version import VERSION

CONTRACTS = {
    "estimator": EstimatorContract,
    "selector": SelectorContract,
    "retry": RetryContract,
    "fallback": FallbackContract,
}
VARIANTS = {
    ("estimator", "constant"): [{}, {"complexity": 1.0}],
    ("selector", "complexity"): [{}, {"threshold": 0.5}, {"cuts": [0.3, 0.6]}],
    ("selector", "latency"): [{}, {"explore": 0.0}, {"explore": 1.0}],
    ("selector", "weighted"): [{}, {"weights": {"d0": 0.0, "d1": 5.0}}],
    ("retry", "exponential"): [{}, {"jitter": False, "max_retries": 50, "factor": 10.0}],
    ("fallback", "group_chain"): [{"groups": ["other", "third"]}],
    ("fallback", "larger_context"): [{}, {"groups": ["other", "third"]}],
    ("fallback", "content_filter"): [{}, {"groups": ["other", "third"]}],
}
"""The options with which each is tried; without an entry, none."""


def registered():
    registry = Registry()
    registry.register_from(builtin, "asyncrouter", VERSION)
    return registry


def cases():
    for entry in registered().entries():
        contract = CONTRACTS.get(entry.kind)
        if contract is None:
            continue
        clauses = [name for name in dir(contract) if name.startswith("test_")]
        for number, options in enumerate(VARIANTS.get((entry.kind, entry.name), [{}])):
            for clause in clauses:
                yield pytest.param(entry, options, clause, id=f"{entry.kind}-{entry.name}-{number}-{clause}")


@pytest.mark.parametrize(("entry", "options", "clause"), list(cases()))
def test_the_clause_is_kept(entry, options, clause):
    class Case(CONTRACTS[entry.kind]):
        groups = ("other", "third")

        def make(self):
            return registered().make(entry.kind, entry.name, options)

    getattr(Case(), clause)()


def test_every_built_in_of_these_kinds_is_tried():
    names = {(entry.kind, entry.name) for entry in registered().entries()}
    assert set(VARIANTS) <= names
    assert {kind for kind, _ in names} - set(CONTRACTS) == {"filter"}
