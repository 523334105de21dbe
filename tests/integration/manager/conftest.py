"""The facade's provider; without a key, and no thread is left by any test."""

from __future__ import annotations

import pytest
from sync_routers import loop_threads as threads

from asyncrouter.testing import FakeProvider, Reply


@pytest.fixture
def provider():
    return FakeProvider(lambda request, deployment, number: Reply(deployment.name))


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def no_thread_left():
    before = threads()
    yield
    assert threads() == before
