"""The table of errors, row by row, as pure functions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.providers.complaint import Complaint, complaint_of
from asyncrouter.providers.errors import error_from, one_line, request_id_of
from asyncrouter.providers.hiding import NOTHING, Hidden
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ContentFiltered,
    ContextWindowExceeded,
    Disposition,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

MINI = Deployment(name="mini", provider="acme", model="m-1")
KEY = "sk-SENTINEL-0123456789"


def translated(status, body=b"", headers=None, secrets=(KEY,)):
    if not isinstance(body, (bytes, list)):
        body = json.dumps(body).encode()
    return error_from(status, headers or {}, body, deployment=MINI, hidden=Hidden(secrets), wall_now=1_000_000.0)


def openai(message="no", code=None, kind=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


STATUSES = {
    300: ModelNotFound,
    301: ModelNotFound,
    304: ModelNotFound,
    308: ModelNotFound,
    400: InvalidRequest,
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    404: ModelNotFound,
    405: ModelNotFound,
    406: InvalidRequest,
    407: AuthenticationFailed,
    408: ServerError,
    409: ServerError,
    410: ModelNotFound,
    413: InvalidRequest,
    415: InvalidRequest,
    418: InvalidRequest,
    422: InvalidRequest,
    425: ServerError,
    429: RateLimited,
    431: InvalidRequest,
    451: InvalidRequest,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: Overloaded,
    504: ServerError,
    529: Overloaded,
    599: ServerError,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
@pytest.mark.parametrize("body", [b"", b"plain words", b'{"error": {"message": "no"}}', b"\xff\xfe"])
def test_the_status_decides_where_the_body_says_no_more(status, kind, body):
    error = translated(status, body)
    assert type(error) is kind
    assert (error.status, error.deployment, error.disposition) == (status, "mini", kind.default_disposition)


BODIES = {
    "openai quota": (429, openai("You exceeded your current quota", "insufficient_quota"), QuotaExhausted),
    "openai rate": (429, openai("Rate limit reached", "rate_limit_exceeded", "requests"), RateLimited),
    "gemini rate, quota words": (
        429,
        [{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}],
        RateLimited,
    ),
    "xai credits": (429, {"code": "x", "error": "team has used all available credits"}, QuotaExhausted),
    "anthropic credit": (400, openai("Your credit balance is too low to access the API"), QuotaExhausted),
    "deepseek balance": (402, openai("Insufficient Balance", "invalid_request_error"), QuotaExhausted),
    "openai context": (400, openai("too long", "context_length_exceeded"), ContextWindowExceeded),
    "openai context, words": (
        400,
        openai("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens"),
        ContextWindowExceeded,
    ),
    "openai context, other words": (400, openai("Your input exceeds the context window"), ContextWindowExceeded),
    "vllm context": (
        400,
        {"object": "error", "message": "This model's maximum context length is 512 tokens.", "code": 400},
        ContextWindowExceeded,
    ),
    "vllm prompt": (
        400,
        {"message": "The decoder prompt is longer than the maximum model length of 5"},
        ContextWindowExceeded,
    ),
    "llama.cpp context": (
        400,
        {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error", "n_ctx": 512}},
        ContextWindowExceeded,
    ),
    "llama.cpp context, words": (
        500,
        {"error": {"code": 500, "message": "exceeds the available context size", "type": "exceed_context_size_error"}},
        ContextWindowExceeded,
    ),
    "mistral context": (
        400,
        {"object": "error", "message": "Prompt contains 9 tokens, too large for model with 8 maximum context length"},
        ContextWindowExceeded,
    ),
    "groq context": (413, openai("Please reduce the length of the messages or completion."), ContextWindowExceeded),
    "xai context": (400, {"error": "This model's maximum prompt length is 5 but 9"}, ContextWindowExceeded),
    "anthropic context": (400, openai("prompt is too long: 9 tokens > 8 maximum"), ContextWindowExceeded),
    "gemini context": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (9) exceeds the maximum number of tokens allowed (8)",
                }
            }
        ],
        ContextWindowExceeded,
    ),
    "together context": (
        422,
        openai("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097"),
        ContextWindowExceeded,
    ),
    "ollama context": (400, {"error": "the input length exceeds the context length"}, ContextWindowExceeded),
    "lm studio context": (
        400,
        {"error": "The number of tokens to keep is greater than the context length"},
        ContextWindowExceeded,
    ),
    "openrouter context, inside": (
        400,
        {
            "error": {
                "code": 400,
                "message": "Provider returned error",
                "metadata": {"raw": "maximum context length is 5"},
            }
        },
        ContextWindowExceeded,
    ),
    "rates, whatever the words": (429, openai("reduce the length of the messages per minute"), RateLimited),
    "azure filter": (
        400,
        {
            "error": {
                "code": "content_filter",
                "message": "The response was filtered",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        ContentFiltered,
    ),
    "azure filter, inner code only": (
        400,
        {"error": {"code": None, "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        ContentFiltered,
    ),
    "openai filter": (400, openai("no", "content_policy_violation"), ContentFiltered),
    "openai prompt": (
        400,
        openai("flagged as potentially violating our usage policy", "invalid_prompt"),
        ContentFiltered,
    ),
    "openrouter moderation": (
        403,
        {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"], "flagged_input": "…"}}},
        ContentFiltered,
    ),
    "xai guidelines": (403, {"code": "x", "error": "Content violates usage guidelines"}, ContentFiltered),
    "deepseek risk": (400, openai("Content Exists Risk"), ContentFiltered),
    "gemini key": (400, [{"error": {"code": 400, "message": "API key not valid. Please"}}], AuthenticationFailed),
    "xai key": (400, {"code": "x", "error": "Incorrect API key provided"}, AuthenticationFailed),
    "openai key": (401, openai("Incorrect API key provided: sk-…", "invalid_api_key"), AuthenticationFailed),
    "mistral model": (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model"}, ModelNotFound),
    "azure model": (404, openai("The API deployment does not exist", "DeploymentNotFound"), ModelNotFound),
    "groq model": (400, openai("has been decommissioned", "model_decommissioned"), ModelNotFound),
    "fastapi text": (404, {"detail": "Not Found"}, ModelNotFound),
    "mistral extra": (
        422,
        {"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra"}]}},
        InvalidRequest,
    ),
    "a 5xx stays a 5xx, whatever its words": (502, openai("maximum context length"), ServerError),
    # in place of an answer, with a 200
    "in band, status": (200, {"error": {"code": 429, "message": "slow"}}, RateLimited),
    "in band, status as text": (200, {"error": {"code": "503", "message": "later"}}, Overloaded),
    "in band, credit": (200, {"error": {"code": 402, "message": "Insufficient credits"}}, QuotaExhausted),
    "in band, type": (200, {"type": "error", "error": {"type": "overloaded_error", "message": "O"}}, Overloaded),
    "in band, request": (200, {"error": {"type": "invalid_request_error", "message": "bad"}}, InvalidRequest),
    "in band, rates": (200, {"error": {"code": "rate_limit_exceeded", "message": "slow"}}, RateLimited),
    "in band, unknown": (200, {"error": {"message": "boom", "code": 1}}, ServerError),
    "in band, text": (200, {"error": "boom"}, ServerError),
    "in band, context": (200, {"error": {"message": "maximum context length"}}, ContextWindowExceeded),
}


@pytest.mark.parametrize(("status", "body", "kind"), BODIES.values(), ids=BODIES)
def test_the_body_decides_where_it_says_more(status, body, kind):
    raw = json.dumps(body).encode()
    for form in (raw, json.loads(raw)):
        error = error_from(status, {}, form, deployment=MINI, hidden=NOTHING, wall_now=0.0)
        assert type(error) is kind
        assert error.disposition is kind.default_disposition


def test_an_error_inside_a_200_has_the_status_of_its_body():
    assert translated(200, {"error": {"code": 429, "message": "slow"}}).status == 429
    assert translated(200, {"error": {"message": "slow"}}).status == 200


@pytest.mark.parametrize("status", [413, 429])
def test_a_request_larger_than_the_rate_limit_goes_elsewhere(status):
    error = translated(
        status, openai("Request too large for model x on TPM: Limit 5, Requested 9", "rate_limit_exceeded")
    )
    assert (type(error), error.disposition) == (RateLimited, Disposition.FALLBACK)


@pytest.mark.parametrize("should", ["false", " FALSE "])
def test_should_not_retry_is_obeyed(should):
    headers = {"x-should-retry": should}
    assert translated(500, headers=headers).disposition is Disposition.FALLBACK
    assert translated(429, headers=headers).disposition is Disposition.FALLBACK
    assert translated(400, headers=headers).disposition is Disposition.RAISE
    assert translated(401, headers=headers).disposition is Disposition.FALLBACK


@pytest.mark.parametrize("status", [400, 401, 404])
def test_should_retry_makes_nothing_right(status):
    plain = translated(status).disposition
    assert translated(status, headers={"x-should-retry": "true"}).disposition is plain
    assert plain is not Disposition.RETRY


MESSAGES = {
    "openai": (openai("No such thing"), "No such thing"),
    "string": ({"error": "no such model"}, "no such model"),
    "xai": ({"code": "c", "error": "Wrong"}, "Wrong"),
    "fastapi": ({"detail": "Not Found"}, "Not Found"),
    "fastapi list": (
        {"detail": [{"loc": ["body", "n", 0], "msg": "wrong type", "input": "THE PROMPT"}, "x", 5, {"msg": 1}]},
        "body.n.0: wrong type; x",
    ),
    "mistral": ({"message": {"detail": [{"loc": ["body"], "msg": "Extra"}]}}, "body: Extra"),
    "azure gateway": ({"statusCode": 429, "message": "Rate limit"}, "Rate limit"),
    "openrouter": (
        {"error": {"message": "Provider returned error", "metadata": {"raw": "why"}}},
        "Provider returned error (why)",
    ),
    "nothing": ({}, "the upstream gave no reason"),
    "null": ({"error": None}, "the upstream gave no reason"),
    "number": (5, "the upstream gave no reason"),
    "text in json": ("just text", "just text"),
}


@pytest.mark.parametrize(("body", "text"), MESSAGES.values(), ids=MESSAGES)
def test_the_message_is_the_upstreams_own(body, text):
    assert str(translated(400, body)) == f"mini (acme): 400 {text}"


def test_plain_text_and_pages():
    assert str(translated(502, b" Bad Gateway\n")) == "mini (acme): 502 Bad Gateway"
    page = b"<!DOCTYPE html><html><head><title>502 Bad\nGateway</title></head><body>long</body></html>"
    assert str(translated(502, page)) == r'mini (acme): 502 an HTML page, "502 Bad\nGateway"'
    assert str(translated(502, b"<html><body>x")) == "mini (acme): 502 an HTML page"


def test_a_redirect_says_where_the_fault_is():
    error = translated(302, b"moved", {"location": "http://evil.example/"})
    assert "base_url" in str(error)
    assert "evil" not in str(error)


def test_the_message_is_one_safe_line():
    error = translated(400, openai("a\nb\r\x1b[31mred\x00\u202e\u2028é 🎉"))
    assert str(error) == r"mini (acme): 400 a\nb\r\x1b[31mred\x00\u202e\u2028é 🎉"


def test_the_message_has_a_limit():
    assert len(str(translated(400, openai("x" * 10_000)))) < 530
    assert len(str(translated(400, openai("\x00" * 10_000)))) < 530
    assert one_line("ab", limit=2) == "ab"
    assert one_line("abc", limit=2) == "a…"


def test_no_key_in_message_or_id():
    body = openai(f"key {KEY} is bad; {'x' * 440}{KEY}")
    error = translated(401, body, {"x-request-id": f"r-{KEY}"})
    assert KEY not in str(error)
    assert "SENTINEL" not in f"{error!r}{vars(error)}"
    assert "[redacted]" in str(error)
    assert error.request_id == "r-[redacted]"
    assert KEY in str(translated(401, body, secrets=()))  # the test can fail


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "apim-request-id", "cf-ray"])
def test_the_upstreams_own_id_is_kept(name):
    assert translated(500, headers={name: "abc"}).request_id == "abc"
    assert request_id_of({}) is None
    assert request_id_of({"cf-ray": "b", "x-request-id": "a"}) == "a"
    assert len(request_id_of({"x-request-id": "x" * 500})) == 128


def test_retry_after_comes_along():
    assert translated(429, headers={"retry-after": "2"}).retry_after_s == 2.0
    assert translated(503).retry_after_s is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "detail",
                    "code",
                    "type",
                    "status",
                    "metadata",
                    "raw",
                    "reasons",
                    "innererror",
                    "loc",
                    "msg",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(body=json_values | st.binary(max_size=50), status=st.integers(100, 599))
def test_no_body_breaks_the_translation(body, status):
    error = error_from(status, {}, body, deployment=MINI, hidden=NOTHING, wall_now=0.0)
    assert isinstance(error, ProviderError)
    assert str(error).startswith("mini (acme): ")
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "body",
    [b"[" * 50_000, b'{"error":' * 900 + b"1" + b"}" * 900, b'{"message":' * 900 + b'"x"' + b"}" * 900,
     b'{"detail":[{"loc":[' + b"[" * 800 + b"]" * 800 + b"]}]}"],
)  # fmt: skip
def test_depth_breaks_nothing(body):
    assert type(translated(400, body)) is InvalidRequest


def test_complaints_compare_by_value():
    assert complaint_of(b'{"error": {"message": "a", "code": "B"}}') == Complaint("a", frozenset({"b"}))
