"""What an upstream says of its rate limits over a real socket."""

from __future__ import annotations

import attrs
import pytest
from routed import PROMPT

from asyncrouter import RateLimited, Router
from asyncrouter.testing import ScriptedServer
from asyncrouter.testing.http_script import Json, Sse, chunks, completion
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.errors import ServerError

LEFT = {
    "X-RateLimit-Limit-Requests": "60",
    "X-RateLimit-Remaining-Requests": "0",
    "X-RateLimit-Reset-Requests": "6m0s",
    "X-RateLimit-Remaining-Tokens": "149984",
}
ALLOWANCES = Allowances(requests=Allowance(0.0, 360.0, 60.0), tokens=Allowance(149984.0))
NONE_LEFT = {"RateLimit": '"default";r=0;t=60'}


async def test_a_response_has_them(call):
    async with ScriptedServer(attrs.evolve(completion(), headers=LEFT)) as server:
        response = await call.complete(server)
    assert response.allowances == ALLOWANCES
    assert response.headers["x-ratelimit-remaining-requests"] == "0"


async def test_the_first_chunk_of_a_stream_has_them(call):
    async with ScriptedServer(Sse(chunks("one two"), headers=LEFT)) as server:
        first, *others = await call.stream(server)
    assert first.allowances == ALLOWANCES
    assert {chunk.allowances for chunk in others} == {None}


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, ServerError)])
async def test_an_error_has_them(either_call, status, kind):
    async with ScriptedServer(Json({"error": {"message": "no"}}, status, headers=LEFT)) as server:
        with pytest.raises(kind) as caught:
            await either_call(server)
    assert caught.value.allowances == ALLOWANCES
    assert caught.value.sent


async def test_those_of_one_key_of_several_are_not_the_deployments(call, monkeypatch):
    for number in (1, 2):
        monkeypatch.setenv(f"ACME_KEY_{number}", f"sk-{number}")
    options = {"api_key_env": ["ACME_KEY_1", "ACME_KEY_2"]}
    async with ScriptedServer(attrs.evolve(completion(), headers=LEFT)) as server:
        assert (await call.complete(server, options=options)).allowances is None


async def test_without_such_headers_there_are_none(call):
    async with ScriptedServer(completion()) as server:
        assert (await call.complete(server)).allowances is None
    async with ScriptedServer(Sse(chunks("one two"))) as server:
        assert {chunk.allowances for chunk in await call.stream(server)} == {None}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("answers", [True, False])
async def test_the_next_call_goes_where_something_is_left(streamed, answers):
    def answer(request):
        model, stream = request.json["model"], request.json.get("stream")
        headers = NONE_LEFT if model == "a" else {}
        if model == "a" and not answers:
            return Json({"error": {"message": "slow down"}}, 429, headers=headers)
        if stream:
            return Sse(chunks("one two"), headers=headers)
        return attrs.evolve(completion(), headers=headers)

    async with ScriptedServer(answer) as server:
        config = {
            "providers": {"s": {"kind": "openai", "base_url": f"{server.url}/v1", "api_key": lambda: "sk-1"}},
            "deployments": {name: {"provider": "s", "model": name} for name in "ab"},
            "groups": {"chat": {"deployments": ["a", "b"]}},
        }  # fmt: skip
        async with Router.from_config(config) as router:
            for _ in range(3):
                if streamed:
                    async with router.stream(PROMPT) as stream:
                        async for _chunk in stream:
                            pass
                else:
                    await router.generate(PROMPT)
            asked = [request.json["model"] for request in server.requests]
            assert asked == (["a", "b", "b"] if answers else ["a", "b", "b", "b"])
            assert 50.0 < router.fleet["a"].ready_at - router.fleet.now() <= 60.0
