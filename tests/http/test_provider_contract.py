"""The OpenAI-compatible provider keeps the provider's contract, over real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing import Fail, Hang, ProviderContract, Reply, ScriptedServer, Upstream, server
from asyncrouter.testing.wire import chunk_fields, closing_chunks, completion, streamed
from asyncrouter.types.deployments import Deployment

MODEL = "model-d"


def as_http(step, *, stream):
    """Return what *step* is on the wire of chat completions."""
    if isinstance(step, Hang):
        return server.Hang()
    if isinstance(step, Fail):
        headers = {} if step.retry_after_s is None else {"retry-after": f"{step.retry_after_s:g}"}
        return server.Json({"error": {"message": step.message}}, step.usual_status, headers=headers)
    if not stream:
        return server.Json(completion(step, MODEL))
    flow = streamed(step) if isinstance(step, Reply) else step
    events = [chunk_fields(MODEL, {"role": "assistant"})]
    for number, piece in enumerate(flow.pieces):
        if number == flow.stall_after:
            events.append(server.Gate())
        events.append(chunk_fields(MODEL, {"content": piece}))
    events += closing_chunks(flow, MODEL)
    return server.Sse(events, cut_after=None if flow.cut_after is None else 1 + flow.cut_after)


class TestOpenAICompatible(ProviderContract):
    @pytest.fixture(autouse=True)
    def key_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("CONTRACT_KEY", self.key)

    @asynccontextmanager
    async def upstream(self, step):
        async with ScriptedServer(lambda request: as_http(step, stream=request.json.get("stream", False))) as upstream:
            provider = OpenAICompatible(name="openai", base_url=f"{upstream.url}/v1", api_key_env="CONTRACT_KEY")
            try:
                yield Upstream(
                    provider=provider,
                    deployment=Deployment(name="d", provider="openai", model=MODEL),
                    in_flight=lambda: sum(not one.disconnected.is_set() for one in upstream.requests),
                )
            finally:
                await provider.aclose()
