"""How long an upstream asks us to wait, read from its response headers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_N = r"[0-9]+(?:\.[0-9]+)?"
_NUMBER = re.compile(_N)
_DURATION = re.compile(rf"(?:(?P<h>{_N})h)?(?:(?P<m>{_N})m(?!s))?(?:(?P<s>{_N})s)?(?:(?P<ms>{_N})ms)?")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LIMITED = ("requests", "tokens")


def parse_retry_after(headers: Mapping[str, str], wall_now: float) -> float | None:
    """Return the wait in seconds that *headers* ask for, or ``None`` when they ask for none that can be trusted.

    The first of these that can be read counts:

    1. ``retry-after-ms``: milliseconds (OpenAI, Azure);
    2. ``retry-after``: seconds, also with a fraction, or an HTTP date (RFC 9110, 10.2.3).  A date is held against the
       response's own ``date`` where there is one, so that a wrong clock here does no harm, and else against *wall_now*,
       seconds since 1970;
    3. the longest ``x-ratelimit-reset-requests`` or ``-tokens`` whose ``x-ratelimit-remaining-…`` is 0, where it is a
       duration such as ``20ms``, ``1s`` or ``6m0s`` (OpenAI, Groq); a bare number may be seconds or a moment, and is
       not read.

    Negative numbers, NaN, past dates, anything unreadable, and two headers that contradict each other count as absent.
    *headers* have lower-case names, or are a multidict, whose names have no case.
    """
    milliseconds = number(only(headers, "retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = only(headers, "retry-after")
    wait_s = number(text)
    if wait_s is None:
        wait_s = _seconds_until(text, only(headers, "date"), wall_now)
    return _until_reset(headers) if wait_s is None else wait_s


def only(headers: Mapping[str, str], name: str) -> str:
    """Return the header's value, "" when it is missing or sent twice with different values."""
    getall = getattr(headers, "getall", None)
    if getall is None:
        return headers.get(name, "").strip()
    values = {value.strip() for value in getall(name, ())}
    return values.pop() if len(values) == 1 else ""


def number(text: str) -> float | None:
    """Return the number of 0 or more that *text* is, ``None`` when it is none."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _seconds_until(text: str, sent_at: str, wall_now: float) -> float | None:
    then = timestamp(text)
    if then is None:
        return None
    now = timestamp(sent_at)
    wait_s = then - (wall_now if now is None else now)
    return wait_s if wait_s > 0 else None


def timestamp(text: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date, ``None`` when *text* is none."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _until_reset(headers: Mapping[str, str]) -> float | None:
    waits = [
        duration_s(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in _LIMITED
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max((wait_s for wait_s in waits if wait_s is not None), default=None)


def duration_s(text: str) -> float | None:
    """Return the seconds of a duration such as ``1h2m3.5s`` or ``20ms``; ``None`` when *text* is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    total_s = sum(float(figure) * _UNIT_S[unit] for unit, figure in match.groupdict().items() if figure)
    return total_s if math.isfinite(total_s) else None
