"""A provider whose calls do not end when they are cancelled."""

from __future__ import annotations

from contextlib import aclosing

import anyio

from asyncrouter.testing import FakeProvider


class Unwilling(FakeProvider):
    """Its deployment "a" does not end when it is cancelled, but *after_s* seconds later, and perhaps with *error*."""

    def __init__(self, script, after_s, error=None):
        super().__init__(script)
        self.after_s = after_s
        self.error = error

    async def hold(self, deployment):
        if deployment.name == "a":
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.after_s)
            if self.error is not None:
                raise self.error

    async def complete(self, request, deployment, timeouts):
        try:
            return await super().complete(request, deployment, timeouts)
        finally:
            await self.hold(deployment)

    async def stream(self, request, deployment, timeouts):
        try:
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            await self.hold(deployment)

    def play(self, script):
        super().play(script)
        self.after_s, self.error = 0.0, None
