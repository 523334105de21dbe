"""What an upstream says of its rate limits, read from the headers of an answer or an error.

=========================================  =========================================================================
headers                                    sent by; the time until the limit is whole again
=========================================  =========================================================================
``x-ratelimit-remaining-requests`` etc.    OpenAI, Azure, Groq, Mistral and others; a duration: ``6m0s``, ``120ms``
``anthropic-ratelimit-requests-…``         Anthropic; a date of RFC 3339
``ratelimit-remaining``, ``-reset``        IETF draft httpapi-ratelimit-headers up to 06; seconds
``ratelimit: "name";r=0;t=30``             the same draft from 08 on; seconds
=========================================  =========================================================================

The limits of the first two fill up evenly: their reset is the time until they are in their initial state (OpenAI) or
fully replenished (Anthropic), and a single request is possible long before.  Those of the draft count requests in a
window, at whose end they come back at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from asyncrouter.providers.retry_after import duration_s, number, only, timestamp
from asyncrouter.types.allowances import Allowance, Allowances

LONGEST_S = 86_400.0
"""A limit that is told to reset later than this is taken to reset then: nobody waits that long, and a day passes."""
MOST = 1e12
"""More requests or tokens than this are no number that a limit has."""
_PARAMETER = re.compile(r";\s*([rt])=(\d{1,18})(?=\s*(?:;|$))")


def parse_allowances(headers: Mapping[str, str], wall_now: float) -> Allowances | None:
    """Return what *headers* tell of requests and tokens, ``None`` when nothing that can be read.

    *headers* have lower-case names or are a multidict; *wall_now*, seconds since 1970, is what a date is held against
    where the answer has no ``date`` of its own.  Whatever is negative, contradictory or unreadable counts as absent.
    """

    def until(text: str) -> float | None:
        moment = _moment(text)
        sent_at = timestamp(only(headers, "date"))
        return None if moment is None else moment - (wall_now if sent_at is None else sent_at)

    def evenly(what: str) -> Allowance | None:
        if found := _evenly(headers, f"x-ratelimit-{{}}-{what}", duration_s):
            return found
        return _evenly(headers, f"anthropic-ratelimit-{what}-{{}}", until)

    requests, tokens = evenly("requests") or _window(headers), evenly("tokens")
    return Allowances(requests=requests, tokens=tokens) if requests or tokens else None


def _evenly(headers: Mapping[str, str], name: str, time: Callable[[str], float | None]) -> Allowance | None:
    remaining = _count(only(headers, name.format("remaining")))
    if remaining is None:
        return None
    limit = _count(only(headers, name.format("limit")))
    return Allowance(remaining, _bounded(time(only(headers, name.format("reset")))), limit)


def _window(headers: Mapping[str, str]) -> Allowance | None:
    remaining, reset_s = _count(only(headers, "ratelimit-remaining")), number(only(headers, "ratelimit-reset"))
    if remaining is None:
        told = [dict(_PARAMETER.findall(item)) for item in only(headers, "ratelimit").split(",")]
        tightest = min((one for one in told if "r" in one), key=lambda one: float(one["r"]), default={})
        remaining, reset_s = _count(tightest.get("r", "")), number(tightest.get("t", ""))
    return None if remaining is None else Allowance(remaining, _bounded(reset_s))


def _count(text: str) -> float | None:
    value = number(text)
    return value if value is not None and value <= MOST else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else min(max(0.0, seconds), LONGEST_S)


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None
