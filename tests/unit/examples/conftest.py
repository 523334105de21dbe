"""The demonstration over servers that live in memory: the choreography and the reports without a model."""

from __future__ import annotations

import pytest

from asyncrouter.examples.demo.setting import STRONG, WEAK
from asyncrouter.testing import FakeProvider
from asyncrouter.types.errors import ConnectionFailed, Disposition


class SwitchedServer(FakeProvider):
    """A provider in memory that can be stopped and started."""

    def __init__(self, *arguments, may_restart=True, **options):
        super().__init__(*arguments, **options)
        self.history = []
        self._may_restart = may_restart

    async def start(self):
        if self.history and not self._may_restart:
            raise ConnectionFailed("the server does not start")
        self.history.append("start")
        return "http://127.0.0.1:1/v1"

    async def stop(self):
        self.history.append("stop")

    async def complete(self, request, deployment, timeouts):
        self._check(deployment)
        return await super().complete(request, deployment, timeouts)

    async def stream(self, request, deployment, timeouts):
        self._check(deployment)
        async for chunk in super().stream(request, deployment, timeouts):
            yield chunk

    def _check(self, deployment):
        if self.history[-1] == "stop":
            raise ConnectionFailed("refused", deployment=deployment.name, disposition=Disposition.FALLBACK)


@pytest.fixture
def servers():
    return {f"local-{name}": SwitchedServer() for name in (WEAK, STRONG)}
