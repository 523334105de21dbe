"""Requests and tokens per minute: a bucket that a reservation empties and time refills."""

from __future__ import annotations

from asyncrouter.types.deployments import Limits

MINUTE_S = 60.0
ROUNDING = 1e-9
"""Share of a bucket that may be missing: at the moment that was told, a rounded last digit must not refuse again."""


class Bucket:
    """A token bucket that holds at most one minute's worth.

    It may go below zero: the true size of an answer is known only afterwards, and what it took too much is waited for.
    """

    __slots__ = ("_level", "_per_s", "_size", "_updated")

    def __init__(self, per_minute: float, now: float) -> None:
        self._size = per_minute
        self._per_s = per_minute / MINUTE_S
        self._level = per_minute
        self._updated = now

    def take(self, amount: float, now: float) -> None:
        """Take *amount* (negative: give back)."""
        self._refill(now)
        self._level -= amount  # over the brim the next refill cuts it

    def ready_at(self, amount: float, now: float) -> float:
        """Return when *amount* may be taken: *now* or later; more than fits counts as a full bucket."""
        self._refill(now)
        missing = min(amount, self._size) - self._level
        return now if missing <= self._size * ROUNDING else now + missing / self._per_s

    def _refill(self, now: float) -> None:
        self._level = min(self._size, self._level + (now - self._updated) * self._per_s)
        self._updated = now


class RateLimits:
    """Both buckets of one deployment; a limit that is not set costs nothing."""

    __slots__ = ("_requests", "_tokens")

    def __init__(self, limits: Limits, now: float) -> None:
        self._requests = Bucket(limits.rpm, now) if limits.rpm else None
        self._tokens = Bucket(limits.tpm, now) if limits.tpm else None

    def reserve(self, tokens: float, now: float) -> None:
        """Count one request of about so many tokens."""
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Correct a reservation of *reserved* tokens to the *used* ones; 0 after a failure."""
        if self._tokens and used != reserved:
            self._tokens.take(used - reserved, now)

    def ready_at(self, tokens: float, now: float) -> float:
        """Return when one more request of so many tokens fits."""
        at = now
        if self._requests:
            at = max(at, self._requests.ready_at(1, now))
        if self._tokens:
            at = max(at, self._tokens.ready_at(tokens, now))
        return at
