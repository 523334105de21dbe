"""A scripted server, a configuration of two deployments on it, and an environment of its own for each test."""

from __future__ import annotations

import os

import pytest
from command_line import SENTINEL_KEY, configure
from distributions import installing_in

from asyncrouter.testing.server import ScriptedServer, completion


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in os.environ:
        if name.startswith("ASYNCROUTER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCRIPTED_KEY", SENTINEL_KEY)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    with ScriptedServer.in_thread(completion("Four.")) as server:
        yield server


@pytest.fixture
def config(server, tmp_path):
    return configure(tmp_path, server.url)


@pytest.fixture
def install(tmp_path):
    with installing_in(tmp_path) as install:
        yield install
