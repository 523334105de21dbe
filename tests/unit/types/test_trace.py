"""The one mutable record of a request, and the trace that is frozen of it."""

from __future__ import annotations

import attrs
import pytest

from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace, TraceBuilder, TraceView

A, B = (Deployment(name=name, provider="p", model="m") for name in "ab")


@pytest.fixture
def trace():
    return TraceBuilder("r1", "recon", "chat", 100.0)


def attempt(number=1, **fields):
    fixed = {"deployment": "a", "group": "chat", "kind": AttemptKind.FIRST, "outcome": Outcome.OK}
    return Attempt(number=number, **{**fixed, **fields})


def test_a_new_trace_knows_who_asked_and_what(trace):
    assert trace.freeze(100.0) == RouteTrace(request_id="r1", agent="recon", groups=("chat",))


def test_the_first_selection_stays_and_the_latest_is_seen(trace):
    first, second = Selection(deployments=(A,)), Selection(deployments=(B,))
    trace.selected(first)
    trace.selected(second)
    assert trace.selection is second
    assert trace.freeze(0.0).selection is first


def test_groups_of_a_round_and_groups_of_the_request(trace):
    trace.entered("spare")
    trace.entered("last")
    assert trace.groups == ("chat", "spare", "last")
    trace.new_round()
    assert trace.groups == ("chat",)
    trace.entered("last")
    assert trace.groups == ("chat", "last")
    assert trace.freeze(0.0).groups == ("chat", "spare", "last")


def test_waits_add_up(trace):
    trace.waiting(1.5)
    trace.waiting(0.0)
    assert (trace.waits, trace.waited_s) == (2, 1.5)


def test_the_frozen_trace_does_not_follow(trace):
    trace.estimate = Estimate(complexity=0.5)
    trace.attempts.append(attempt())
    trace.notes.append("one")
    frozen = trace.freeze(103.0)
    trace.attempts.append(attempt(2))
    trace.notes.append("two")
    trace.waiting(1.0)
    trace.entered("spare")
    assert frozen == RouteTrace(
        request_id="r1",
        agent="recon",
        groups=("chat",),
        estimate=Estimate(complexity=0.5),
        attempts=(attempt(),),
        duration_s=3.0,
        notes=("one",),
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        frozen.waits = 5


def test_the_builder_is_what_strategies_are_promised(trace):
    promised = {name for name in vars(TraceView) if not name.startswith("_")}
    assert promised == {"attempts", "groups", "waits", "estimate", "selection"}
    assert all(hasattr(trace, name) for name in promised)


def test_outcomes_and_kinds_are_words():
    assert f"{Outcome.FAILED} {AttemptKind.HEDGE}" == "failed hedge"
