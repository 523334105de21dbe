"""When a provider is asked by reads: where its `reads` belong to its `stream`."""

from __future__ import annotations

import pytest

from asyncrouter.providers.base import reads_of
from asyncrouter.providers.openai_compatible import OpenAICompatible


class Plain:
    async def stream(self, request, deployment, timeouts):
        yield "chunk"


class ByReads(Plain):
    async def reads(self, request, deployment, timeouts):
        yield ["chunk"]

    async def stream(self, request, deployment, timeouts):
        yield "chunk"


class Inheriting(ByReads):
    pass


class WithOwnStream(ByReads):
    async def stream(self, request, deployment, timeouts):
        yield "other"


class WithOwnReads(ByReads):
    async def reads(self, request, deployment, timeouts):
        yield ["other"]


class Delegating:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.mark.parametrize("kind", [ByReads, Inheriting])
def test_reads_that_stand_beside_the_stream_are_taken(kind):
    provider = kind()
    assert reads_of(provider) == provider.reads


def test_the_provider_that_ships_has_them():
    provider = OpenAICompatible(name="acme", base_url="http://127.0.0.1:1/v1")
    assert reads_of(provider) == provider.reads


def test_a_stream_of_another_is_not_passed_by():
    changed = ByReads()
    changed.stream = Plain().stream
    for provider in (Plain(), WithOwnStream(), WithOwnReads(), Delegating(ByReads()), changed):
        assert reads_of(provider) is None
