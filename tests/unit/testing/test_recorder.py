"""Recorder, fleet and the switch: the small doubles."""

from __future__ import annotations

import os

import pytest

from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing import FakeFleet, FakeView, Recorder, forbid_real_calls
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import AllAttemptsFailed, ConnectionFailed, PluginContractError
from asyncrouter.types.events import AttemptFinished, BreakerChanged, FeedbackGiven, PluginFailed, RequestFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

ASK = Request(messages=[{"role": "user", "content": "hi"}])
TRACE = RouteTrace(request_id="r")
ATTEMPT = Attempt(number=1, deployment="a", group="g", kind=AttemptKind.FIRST, outcome=Outcome.OK)
ANSWER = Response(raw={}, deployment="a", model="m")


def test_the_recorder_observes_through_the_hook():
    recorder = Recorder()
    manager = HookManager()
    assert manager.register(recorder) == "recorder"
    assert manager.register(Recorder("second")) == "second"
    failed, broken = AllAttemptsFailed("x"), PluginContractError("y")
    events = [
        AttemptFinished(ASK, ATTEMPT),
        RequestFinished(ASK, TRACE, response=ANSWER),
        RequestFinished(ASK, TRACE, error=failed),
        BreakerChanged("a", "closed", "open"),
        FeedbackGiven(ANSWER, 0.5),
        PluginFailed(broken),
    ]
    observe = compile_pipeline(manager, pytest.fail).observe
    for event in events:
        observe(event)
    assert recorder.events == events
    assert recorder.attempts == [ATTEMPT]
    assert recorder.finished == events[1:3]
    assert recorder.responses == [ANSWER]
    assert recorder.errors == [failed]
    assert recorder.breaker_changes == [("a", "closed", "open")]
    assert recorder.plugin_failures == [broken]
    assert recorder.of(FeedbackGiven) == [events[4]]
    recorder.clear()
    assert recorder.events == []


def test_the_fleet_shows_what_it_was_given():
    fleet = FakeFleet({"a": FakeView(in_flight=3)}, seed=1, now=9.0)
    assert fleet["a"].in_flight == 3
    assert fleet["b"] == FakeView()
    assert fleet.now() == 9.0
    assert fleet.asked == {"a", "b"}
    assert fleet.random.random() == FakeFleet(seed=1).random.random()


def test_the_fleet_cannot_be_written():
    fleet = FakeFleet()
    with pytest.raises(AttributeError):
        fleet.random = None
    with pytest.raises(AttributeError):
        fleet["a"].in_flight = 2


@pytest.mark.parametrize("before", [None, "0"])
def test_real_calls_are_forbidden_for_a_block(monkeypatch, before):
    monkeypatch.delenv("ASYNCROUTER_LOOPBACK_ONLY", raising=False)
    if before is not None:
        monkeypatch.setenv("ASYNCROUTER_LOOPBACK_ONLY", before)
    with forbid_real_calls():
        assert os.environ["ASYNCROUTER_LOOPBACK_ONLY"] == "1"
    assert os.environ.get("ASYNCROUTER_LOOPBACK_ONLY") == before


def test_real_calls_are_forbidden_from_a_call_on(monkeypatch):
    monkeypatch.delenv("ASYNCROUTER_LOOPBACK_ONLY", raising=False)
    forbidden = forbid_real_calls()
    assert os.environ["ASYNCROUTER_LOOPBACK_ONLY"] == "1"
    forbidden.restore()
    assert "ASYNCROUTER_LOOPBACK_ONLY" not in os.environ


async def test_the_provider_obeys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    provider = OpenAICompatible(name="openai")
    with forbid_real_calls(), pytest.raises(ConnectionFailed, match=r"forbids calls to api\.openai\.com"):
        await provider.complete(ASK, Deployment(name="d", provider="openai", model="m"), Timeouts())
    await provider.aclose()
