"""The one seam where an upstream's errors become ours: a table from status, headers and body, and nothing else.

======================================  ==============================================================
status                                  class
======================================  ==============================================================
3xx                                     ModelNotFound: this address does not serve; not followed
400, 413, 422 and other 4xx             InvalidRequest
401, 403, 407                           AuthenticationFailed
402                                     QuotaExhausted
404, 405, 410                           ModelNotFound
408, 409, 425                           ServerError
429                                     RateLimited
503, 529                                Overloaded
other 5xx                               ServerError
any other (an error inside a 200)       by the status or the code in the body, else ServerError
======================================  ==============================================================

The body comes before the table where it says more: a code always, well-known words where the status is a 4xx or the
error stands inside a 200.  They tell of a context window that is too small, a content policy, an account without
credit, a refused key, an unknown model.  ``x-should-retry: false`` takes RETRY off the disposition; ``true`` gives
nothing, since a wrong request or key stays wrong.  A request that is larger than the rate limit itself is RateLimited
without RETRY: another deployment may have a higher limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from asyncrouter.providers.allowances import parse_allowances
from asyncrouter.providers.complaint import MAX_TEXT, Complaint, complaint_of
from asyncrouter.providers.hiding import NOTHING, Hidden
from asyncrouter.providers.retry_after import parse_retry_after
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

E = TypeVar("E", bound=ProviderError)
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray")
"""Where upstreams put their own id of a request, best first."""

TOO_MANY_REQUESTS = 429
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    404: ModelNotFound,
    405: ModelNotFound,
    407: AuthenticationFailed,
    408: ServerError,
    409: ServerError,
    410: ModelNotFound,
    425: ServerError,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
_BY_CODE: dict[str, type[ProviderError]] = {
    "insufficient_quota": QuotaExhausted,  # OpenAI, with a 429
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "insufficient_balance": QuotaExhausted,
    "insufficient_credits": QuotaExhausted,
    "context_length_exceeded": ContextWindowExceeded,  # OpenAI, Groq, Cerebras
    "exceed_context_size_error": ContextWindowExceeded,  # llama.cpp
    "context_window_exceeded": ContextWindowExceeded,
    "content_filter": ContentFiltered,  # Azure
    "content_policy_violation": ContentFiltered,  # OpenAI
    "responsibleaipolicyviolation": ContentFiltered,  # Azure, innererror
    "invalid_api_key": AuthenticationFailed,
    "model_not_found": ModelNotFound,
    "invalid_model": ModelNotFound,  # Mistral, with a 400
    "deploymentnotfound": ModelNotFound,  # Azure
    "model_decommissioned": ModelNotFound,  # Groq, with a 400
}
_BY_WORDS: tuple[tuple[type[ProviderError], tuple[str, ...]], ...] = (
    (
        ContextWindowExceeded,
        (
            "maximum context length",  # OpenAI, vLLM, DeepSeek, OpenRouter, Mistral
            "maximum prompt length",  # xAI
            "maximum model length",  # vLLM
            "available context size",  # llama.cpp
            "exceeds the context window",  # OpenAI
            "exceeds the context length",  # Ollama
            "greater than the context length",  # LM Studio
            "loaded with context length of only",  # LM Studio
            "exceed context limit",  # Anthropic
            "prompt is too long",  # Anthropic, Fireworks
            "reduce the length of the messages",  # Groq, Cerebras
            "context length exceeded",
            "exceeds the maximum number of tokens allowed",  # Gemini
            "`inputs` tokens + `max_new_tokens` must be",  # Text Generation Inference, Together
        ),
    ),
    (
        ContentFiltered,
        (
            "content management policy",  # Azure
            "violating our usage policy",  # OpenAI
            "violates usage guidelines",  # xAI, with a 403
            "content exists risk",  # DeepSeek
        ),
    ),
    (
        QuotaExhausted,
        (
            "credit balance is too low",  # Anthropic, with a 400
            "used all available credits",  # xAI, with a 429
            "insufficient balance",  # DeepSeek
            "insufficient credits",  # OpenRouter
        ),
    ),
    (AuthenticationFailed, ("api key not valid", "incorrect api key")),  # Gemini and xAI, with a 400
)
_BY_KIND: dict[str, type[ProviderError]] = {  # names that say what a status would; read where there is none
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "resource_exhausted": RateLimited,
    "overloaded_error": Overloaded,
    "unavailable": Overloaded,
    "service_unavailable": Overloaded,
    "authentication_error": AuthenticationFailed,
    "permission_error": AuthenticationFailed,
    "not_found_error": ModelNotFound,
    "invalid_request_error": InvalidRequest,
    "invalid_argument": InvalidRequest,
}
_CALLERS_FAULT = range(400, 500)
_REDIRECTS = range(300, 400)
_ERRORS = range(400, 600)
_WITHOUT_WORDS = "the upstream gave no reason"


def error_from(
    status: int,
    headers: Mapping[str, str],
    body: object,
    *,
    deployment: Deployment,
    hidden: Hidden,
    wall_now: float,
) -> ProviderError:
    """Return the error that an upstream's answer means.  A pure function.

    *body* is undecoded bytes or a value decoded from JSON; *headers* have lower-case names or are a multidict;
    what is *hidden* is struck out of the message; *wall_now*, seconds since 1970, is for a ``retry-after`` date.
    """
    complaint = complaint_of(body)
    if status not in _ERRORS and status not in _REDIRECTS:
        status = complaint.status or status
    if status in _REDIRECTS:
        kind: type[ProviderError] = ModelNotFound
        text = "redirects elsewhere, and redirects are not followed"
        cure = "set base_url to the final address"
    else:
        kind = _class_of(status, complaint)
        text = complaint.text or _WITHOUT_WORDS
        cure = f"check model = {deployment.model!r} and the base_url" if kind is ModelNotFound else ""
    error = kind(
        told(deployment, f"{status} {text}", hidden),
        deployment=deployment.name,
        status=status,
        request_id=request_id_of(headers, hidden),
        retry_after_s=parse_retry_after(headers, wall_now),
        disposition=_disposition(kind, status, headers, complaint),
    )
    error.allowances = parse_allowances(headers, wall_now)
    return with_cure(error, cure) if cure else error


def with_cure(error: E, cure: str) -> E:
    """Return *error*, a fault of the configuration, with what mends it."""
    error.cure = cure
    error.args = (f"{error}; {cure}",)
    return error


def bare(error: E) -> E:
    """Return *error* without the frames and errors behind it.

    These hold what the upstream sent, which may echo the key, and aiohttp's errors, which hold the request's headers;
    reporters that show local variables would show it all.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def told(deployment: Deployment, text: str, hidden: Hidden = NOTHING) -> str:
    """Return *text* as every message of a provider stands: who it is about, and one safe line."""
    return f"{deployment.name} ({deployment.provider}): {one_line(text, hidden)}"


def one_line(text: str, hidden: Hidden = NOTHING, limit: int = MAX_TEXT) -> str:
    """Return *text* without what is *hidden*, with invisible characters escaped, of *limit* characters at most."""
    text = hidden.struck_out_of(text, limit)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def request_id_of(headers: Mapping[str, str], hidden: Hidden = NOTHING) -> str | None:
    """Return the upstream's own id of the request, ``None`` when it sent none."""
    found = next((value for name in REQUEST_ID_HEADERS if (value := headers.get(name))), None)
    return None if found is None else one_line(found, hidden, limit=128)


def _class_of(status: int, complaint: Complaint) -> type[ProviderError]:
    """Return the class for *status*, which is the body's own where HTTP said that all was well."""
    by_body = _class_by_code(complaint) or _class_by_words(status, complaint)
    if by_body is not None:
        return by_body
    if status not in _ERRORS:
        return next((_BY_KIND[code] for code in sorted(complaint.codes) if code in _BY_KIND), ServerError)
    if _exceeds_rate_limit(status, complaint):
        return RateLimited
    return _BY_STATUS.get(status, InvalidRequest if status in _CALLERS_FAULT else ServerError)


def _class_by_code(complaint: Complaint) -> type[ProviderError] | None:
    named = {_BY_CODE[code] for code in complaint.codes if code in _BY_CODE}
    if complaint.flagged:  # OpenRouter's moderation, with a 403
        named.add(ContentFiltered)
    precedence = (ContentFiltered, ContextWindowExceeded, QuotaExhausted, AuthenticationFailed, ModelNotFound)
    return next((kind for kind in precedence if kind in named), None)


def _class_by_words(status: int, complaint: Complaint) -> type[ProviderError] | None:
    """Read the message where the status alone could mean several things."""
    if status in _ERRORS and status not in _CALLERS_FAULT:
        return None
    text = complaint.text.lower()
    found = next((kind for kind, words in _BY_WORDS if any(word in text for word in words)), None)
    too_many = status == TOO_MANY_REQUESTS and found is not QuotaExhausted  # a 429 speaks of rates, whatever its words
    return None if too_many else found


def _exceeds_rate_limit(status: int, complaint: Complaint) -> bool:
    """Tell whether the request alone is larger than what a minute allows (OpenAI, with a 429; Groq, with a 413)."""
    limited = status == TOO_MANY_REQUESTS or "rate_limit_exceeded" in complaint.codes
    return limited and "request too large" in complaint.text.lower()


def _disposition(
    kind: type[ProviderError], status: int, headers: Mapping[str, str], complaint: Complaint
) -> Disposition | None:
    """Return FALLBACK in place of RETRY where the same deployment need not be asked again; else the class's own."""
    if kind.default_disposition is not Disposition.RETRY:
        return None
    forbidden = headers.get("x-should-retry", "").strip().lower() == "false"
    return Disposition.FALLBACK if forbidden or _exceeds_rate_limit(status, complaint) else None


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")
