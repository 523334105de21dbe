"""The plugin keeps the contracts of plugins and of providers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import ClassVar
from unittest import mock

import pytest
from asyncrouter_local.provider import LocalProvider
from openai_wire import script_of

from asyncrouter.testing import PluginContract, ProviderContract, Upstream
from asyncrouter.testing.server import ScriptedServer
from asyncrouter.types.deployments import Deployment


class TestPlugin(PluginContract):
    distribution = "asyncrouter-local"
    options: ClassVar = {}

    @pytest.fixture(autouse=True)
    def model(self, tiny_model, monkeypatch):
        monkeypatch.setattr(type(self), "options", {("provider", "local"): {"model_path": str(tiny_model)}})


class ScriptedProcess:
    """In place of the server's process: a scripted server that stands already."""

    accepts = True
    alive = True
    pid = 0

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self) -> str:
        return self._url

    def kill(self) -> None:
        """Leave the server to its own context."""


class TestProvider(ProviderContract):
    @pytest.fixture(autouse=True)
    def model(self, tiny_model):
        self.model_path = tiny_model

    @asynccontextmanager
    async def upstream(self, step):
        async with ScriptedServer(script_of(step)) as server:
            provider = LocalProvider(name="local", model_path=self.model_path)
            process = ScriptedProcess(server.url)
            with mock.patch("asyncrouter_local.provider.ServerProcess", return_value=process):
                yield Upstream(
                    provider=provider,
                    deployment=Deployment(name="tiny", provider="local", model="tiny"),
                    in_flight=lambda: server.open_connections,
                )
            await provider.aclose()
            self.headers = [request.headers for request in server.requests]

    def test_the_key_is_shown_nowhere(self):
        """There is no key: a local server gets none, whatever the environment holds for others."""
        with mock.patch.dict("os.environ", {"OPENAI_API_KEY": self.key}):
            self.test_answers()
        assert self.headers
        assert not any(self.key in value for headers in self.headers for value in headers.values())
