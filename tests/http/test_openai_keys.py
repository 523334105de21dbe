"""Several keys: what goes over the wire, and what the provider's errors say of the keys that are left."""

from __future__ import annotations

import pytest

from asyncrouter.providers.keys import REFUSED_S
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.testing.server import Json, ScriptedServer, completion
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AuthenticationFailed,
    Disposition,
    InvalidRequest,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
from asyncrouter.types.request import Request

MINI = Deployment(name="mini", provider="acme", model="m-1")
MAXI = Deployment(name="maxi", provider="acme", model="m-2")
REQUEST = Request(messages=[{"role": "user", "content": "Hi"}])
KEYS = ["key-one", "key-two", "key-three"]


def refusing(**refusals):
    """Answer each key as *refusals* say ("one", "two", "three"), and well where they say nothing."""

    def answer(request):
        return refusals.get(request.headers["authorization"].removeprefix("Bearer key-"), completion("Hi"))

    return answer


def said(status, code=None, **headers):
    error = {"message": "no", **({"code": code} if code else {})}
    return Json({"error": error}, status, headers={name.replace("_", "-"): text for name, text in headers.items()})


@pytest.fixture(params=["environment", "callables"])
def options(request, monkeypatch):
    if request.param == "callables":
        return {"api_key": [lambda key=key: key for key in KEYS]}
    for key in KEYS:
        monkeypatch.setenv(key.upper().replace("-", "_"), key)
    return {"api_key_env": [key.upper().replace("-", "_") for key in KEYS]}


async def fails(provider, kind, deployment=MINI):
    with pytest.raises(ProviderError) as raised:
        await provider.complete(REQUEST, deployment, Timeouts())
    assert type(raised.value) is kind
    assert not any(key in f"{raised.value}{vars(raised.value)}" for key in KEYS)
    return raised.value


def sent(server):
    return [request.headers["authorization"].removeprefix("Bearer key-") for request in server.requests]


async def test_the_first_key_serves(call, options):
    async with ScriptedServer(completion("Hi")) as server:
        provider = call.provider(server, **options)
        for _ in range(3):
            await provider.complete(REQUEST, MINI, Timeouts())
    assert sent(server) == ["one"] * 3
    assert server.connections == 1


async def test_keys_are_told_apart_by_the_presets_header(call, options):
    async with ScriptedServer(completion("Hi")) as server:
        provider = OpenAICompatible(name="acme", preset=PRESETS["azure"], base_url=server.url, **options)
        call.made.append(provider)
        await provider.complete(REQUEST, MINI, Timeouts())
    assert server.requests[0].headers["api-key"] == "key-one"
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (said(401), AuthenticationFailed),
        (said(403), AuthenticationFailed),
        (said(400, "invalid_api_key"), AuthenticationFailed),
        (said(402), QuotaExhausted),
        (said(429, "insufficient_quota"), QuotaExhausted),
        (said(429), RateLimited),
        (said(429, retry_after="7"), RateLimited),
        (said(200, "insufficient_quota"), QuotaExhausted),
    ],
)
async def test_after_a_refusal_the_next_key_serves(call, options, refusal, kind):
    async with ScriptedServer(refusing(one=refusal)) as server:
        provider = call.provider(server, **options)
        error = await fails(provider, kind)
        assert (error.other_keys, error.disposition, error.retry_after_s) == (2, Disposition.RETRY, None)
        place = options["api_key_env"][0] if "api_key_env" in options else "api_key[0]"
        assert str(error).endswith(f" no; it was the key of {place}")
        for _ in range(2):
            assert (await provider.complete(REQUEST, MINI, Timeouts())).text == "Hi"
    assert sent(server) == ["one", "two", "two"]


@pytest.mark.parametrize(
    ("refusal", "everywhere"),
    [
        (said(401), True),
        (said(402), True),
        (said(429, "insufficient_quota"), True),
        (said(403), False),
        (said(429), False),
    ],
)
async def test_what_is_refused_for_one_model_is_tried_for_another(call, options, refusal, everywhere):
    async with ScriptedServer(lambda request: refusal if request.json["model"] == "m-1" else completion()) as server:
        provider = call.provider(server, **options)
        await fails(provider, type_of(refusal))
        await provider.complete(REQUEST, MAXI, Timeouts())
    assert sent(server) == ["one", "two" if everywhere else "one"]


def type_of(refusal):
    if "code" in refusal.value["error"] or refusal.status == 402:
        return QuotaExhausted
    return RateLimited if refusal.status == 429 else AuthenticationFailed


@pytest.mark.parametrize(("refusal", "kind"), [(said(401), AuthenticationFailed), (said(402), QuotaExhausted)])
async def test_when_all_are_refused_the_error_names_them_all_by_their_place(call, options, refusal, kind):
    async with ScriptedServer(refusal) as server:
        provider = call.provider(server, **options)
        assert [(await fails(provider, kind)).other_keys for _ in KEYS[1:]] == [2, 1]
        error = await fails(provider, kind)
    places = options.get("api_key_env") or [f"api_key[{index}]" for index in range(3)]
    assert str(error).endswith(f"no; every key of provider 'acme' was refused: {', '.join(places)}")
    assert (error.other_keys, error.disposition) == (0, Disposition.FALLBACK)
    assert sent(server) == ["one", "two", "three"]
    if kind is AuthenticationFailed:
        assert error.retry_after_s is None, "whether it may be called on is the breaker's to decide"
    else:
        assert REFUSED_S - 10 < error.retry_after_s <= REFUSED_S


async def test_a_single_key_that_is_refused_is_named_too(call, monkeypatch):
    monkeypatch.setenv("MY_KEY", "key-one")
    async with ScriptedServer(said(401)) as server:
        provider = call.provider(server, api_key_env="MY_KEY")
        for _ in range(2):
            error = await fails(provider, AuthenticationFailed)
            assert str(error) == "mini (acme): 401 no; every key of provider 'acme' was refused: MY_KEY"
        error = await fails(call.provider(server), AuthenticationFailed)
        assert str(error) == "mini (acme): 401 no; no key was sent: set api_key_env"


async def test_the_deployment_waits_for_the_first_key_that_will_be_ready(call, options):
    refusals = {
        "one": said(429, retry_after="30"),
        "two": said(429, retry_after="20"),
        "three": said(429, retry_after="9"),
    }
    async with ScriptedServer(refusing(**refusals)) as server:
        provider = call.provider(server, **options)
        waits = [(await fails(provider, RateLimited)).retry_after_s for _ in range(3)]
        assert waits[:2] == [None, None]
        assert 8 < waits[2] <= 9
        refusals["three"] = completion("Hi")
        server.scripts = refusing(**refusals)
        await provider.complete(REQUEST, MINI, Timeouts())
    assert sent(server)[-1] == "three"


async def test_a_limit_without_a_time_stays_one_when_all_keys_have_met_it(call, options):
    async with ScriptedServer(said(429)) as server:
        provider = call.provider(server, **options)
        errors = [await fails(provider, RateLimited) for _ in range(4)]
    assert [error.other_keys for error in errors] == [2, 1, 0, 0]
    assert errors[-1].retry_after_s is None
    assert sent(server) == ["one", "two", "three", "one"]


@pytest.mark.parametrize(
    "fault",
    [
        said(400),
        said(407),
        said(429, x_should_retry="false"),
        Json({"error": {"message": "Request too large for m-1", "code": "rate_limit_exceeded"}}, 429),
    ],
)
async def test_what_another_key_would_not_cure_leaves_the_key_in_use(call, options, fault):
    async with ScriptedServer(fault) as server:
        provider = call.provider(server, **options)
        for _ in range(2):
            kind = {400: InvalidRequest, 407: AuthenticationFailed, 429: RateLimited}[fault.status]
            assert (await fails(provider, kind)).other_keys == 0
    assert sent(server) == ["one", "one"]


async def test_what_is_left_of_one_keys_limits_says_nothing_of_the_deployments(call, options):
    limited = said(429, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="20s")
    async with ScriptedServer(limited) as server:
        provider = call.provider(server, **options)
        assert [(await fails(provider, RateLimited)).allowances for _ in KEYS] == [None] * 3
        (key, *_) = KEYS
        provider = call.provider(server, api_key=lambda: key)
        assert (await fails(provider, RateLimited)).allowances is not None


async def test_a_callable_that_fails_is_a_key_that_is_refused(call):
    def broken():
        raise RuntimeError("key-three")

    async with ScriptedServer(completion("Hi")) as server:
        provider = call.provider(server, api_key=[broken, lambda: "key-two"])
        error = await fails(provider, AuthenticationFailed)
        text = "mini (acme): the callable given as api_key[0] raised RuntimeError; it was the key of api_key[0]"
        assert str(error) == text
        assert error.other_keys == 1
        await provider.complete(REQUEST, MINI, Timeouts())
        assert sent(server) == ["two"]
        provider = call.provider(server, api_key=[broken, lambda: ""])
        await fails(provider, AuthenticationFailed)
        error = await fails(provider, AuthenticationFailed)
    assert str(error).endswith("every key of provider 'acme' was refused: api_key[0], api_key[1]")


async def test_each_key_is_struck_out_of_what_the_upstream_repeats(call, options):
    async with ScriptedServer(Json({"error": {"message": f"refused: {' '.join(KEYS)}"}}, 401)) as server:
        provider = call.provider(server, **options)
        for _ in KEYS[1:]:
            with pytest.raises(AuthenticationFailed):
                await provider.complete(REQUEST, MINI, Timeouts())
        error = await fails(provider, AuthenticationFailed)
    assert "refused: [redacted] [redacted] [redacted]" in str(error)
