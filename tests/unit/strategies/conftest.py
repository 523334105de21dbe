"""Makers of what strategies are given, each a plain function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import ProviderError
from asyncrouter.types.request import Request
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, TraceBuilder


def _deploy(*names: str, **settings: Any) -> tuple[Deployment, ...]:
    return tuple(Deployment(name=name, provider="p", model=f"model-{name}", **settings) for name in names)


def _ask(prompt: Any, *, stream: bool = False, **params: Any) -> Request:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return Request(messages=messages, params=params, stream=stream)


def _fleet(now: float = 0.0, seed: int = 0, **views: dict[str, Any]) -> FakeFleet:
    return FakeFleet({name: FakeView(**view) for name, view in views.items()}, now=now, seed=seed)


def _failed(error: ProviderError | None, deployment: str = "a") -> Attempt:
    outcome = Outcome.FAILED if error else Outcome.REJECTED
    return Attempt(number=1, deployment=deployment, group="chat", kind=AttemptKind.FIRST, outcome=outcome, error=error)


def _course(*, waits: int = 0, groups: Sequence[str] = ("chat",), selected: Sequence[Deployment] = ()) -> TraceBuilder:
    trace = TraceBuilder("r1", None, groups[0], 0.0)
    trace.groups += tuple(groups[1:])
    trace.waits = waits
    trace.estimate = Estimate(complexity=0.5)
    if selected:
        trace.selected(Selection(deployments=tuple(selected)))
    return trace


@pytest.fixture
def deploy() -> Callable[..., tuple[Deployment, ...]]:
    """Make deployments of the given names, all with the same settings."""
    return _deploy


@pytest.fixture
def ask() -> Callable[..., Request]:
    """Make a request of a text or messages, and parameters."""
    return _ask


@pytest.fixture
def fleet() -> Callable[..., FakeFleet]:
    """Make a fleet's state: a table of view fields for each deployment."""
    return _fleet


@pytest.fixture
def failed() -> Callable[..., Attempt]:
    """Make an attempt that failed with an error; with ``None``, one whose answer was rejected."""
    return _failed


@pytest.fixture
def course() -> Callable[..., TraceBuilder]:
    """Make the course of a request so far."""
    return _course
