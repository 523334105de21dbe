"""The OpenAI-compatible provider keeps the provider's contract, over real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from openai_wire import script_of

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing import ProviderContract, ScriptedServer, Upstream
from asyncrouter.types.deployments import Deployment


class TestOpenAICompatible(ProviderContract):
    @pytest.fixture(autouse=True)
    def key_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("CONTRACT_KEY", self.key)

    @asynccontextmanager
    async def upstream(self, step):
        async with ScriptedServer(script_of(step)) as upstream:
            provider = OpenAICompatible(name="openai", base_url=f"{upstream.url}/v1", api_key_env="CONTRACT_KEY")
            try:
                yield Upstream(
                    provider=provider,
                    deployment=Deployment(name="d", provider="openai", model="model-d"),
                    in_flight=lambda: sum(not one.disconnected.is_set() for one in upstream.requests),
                )
            finally:
                await provider.aclose()
