"""Requests and tokens per minute: a bucket that a reservation empties and time refills.

A call is let in while a bucket is not below zero, whatever its own size: who comes after it pays for it, as in Guava's
RateLimiter.  Large calls are not starved by small ones that way, and the rate is kept all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncrouter.state.away import nobody
from asyncrouter.state.line import Line, Turn
from asyncrouter.types.allowances import Allowances
from asyncrouter.types.deployments import Limits

COOLDOWN_CAP_S = 300.0
"""The longest time for which an upstream's words set a deployment aside (Envoy's max_interval for rate limits)."""
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

    def lower(self, level: float, now: float) -> None:
        """Bring the level down to *level*; never up."""
        self._refill(now)
        self._level = min(self._level, level)

    def ready_at(self, amount: float, now: float) -> float:
        """Return when *amount* may be taken: *now* or later; more than fits counts as a full bucket."""
        self._refill(now)
        missing = min(amount, self._size) - self._level
        return now if missing <= self._size * ROUNDING else now + missing / self._per_s

    def turn_at(self, ahead: int, now: float) -> float:
        """Return when one may be taken after *ahead* others: *now* or later."""
        self._refill(now)
        return now + max(0.0, 1 + ahead - self._level) / self._per_s

    def _refill(self, now: float) -> None:
        passed_s = max(0.0, now - self._updated)  # made outside of the event loop, it has seen another clock
        self._level = min(self._size, self._level + passed_s * self._per_s)
        self._updated = now


class RateLimits:
    """Both buckets of one deployment, and what its upstream says; a limit that is not set costs nothing.

    ``line``: the requests that wait for their turn.  *moved* is called whenever the next may have to wait longer or
    less long.
    """

    __slots__ = ("_moved", "_none_left_until", "_requests", "_tokens", "line")

    def __init__(self, limits: Limits, now: float, moved: Callable[[], None] = nobody) -> None:
        self._moved = moved
        self._requests = Bucket(limits.rpm, now) if limits.rpm else None
        self._tokens = Bucket(limits.tpm, now) if limits.tpm else None
        self._none_left_until = now
        self.line = Line()

    def reserve(self, tokens: float, now: float) -> None:
        """Count one request of about so many tokens."""
        self._moved()
        if self._requests:
            self._requests.take(1, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def settle(self, reserved: float, used: float, now: float) -> None:
        """Correct a reservation of *reserved* tokens to the *used* ones."""
        if self._tokens and used != reserved:
            self._tokens.take(used - reserved, now)
            self._moved()
            self.call_first()

    def hand_back(self, now: float) -> None:
        """Give back the request itself: the upstream never had it."""
        if self._requests:
            self._requests.take(-1, now)
            self._moved()
            self.call_first()

    def heed(self, told: Allowances, now: float) -> None:
        """Lower the buckets to what the upstream says is left; they are never raised by it."""
        self._moved()
        if self._requests and told.requests:
            self._requests.lower(told.requests.remaining, now)
        if self._tokens and told.tokens:
            self._tokens.lower(told.tokens.remaining, now)

    def close_until(self, moment: float) -> None:
        """Let no request in before *moment*: the upstream has none left for it."""
        self._moved()
        self._none_left_until = max(self._none_left_until, moment)

    def ready_at(self, tokens: float, now: float) -> float:
        """Return when one more request of so many tokens fits."""
        at = max(now, self._none_left_until)
        if self._requests:
            at = max(at, self._requests.ready_at(1, now))
        if self._tokens:
            at = max(at, self._tokens.ready_at(tokens, now))
        return at

    def turn_at(self, now: float) -> float:
        """Return when whoever comes to the line now may have his turn, as far as requests per minute tell."""
        at = self.ready_at(0, now)
        return max(at, self._requests.turn_at(len(self.line), now)) if self._requests else at

    def leave(self, turn: Turn) -> None:
        """Let *turn* leave the line; who is first now is called."""
        self.line.leave(turn)
        self.call_first()

    def call_first(self) -> None:
        """Let the first in line look anew at when its turn is."""
        if self.line.first is not None:
            self.line.first.wake()


def wait_s(told: Allowances, tokens: float) -> float:
    """Return how long an upstream has nothing left for one more request of about so many tokens, in seconds."""
    requests_s = told.requests.wait_s(1) if told.requests else 0.0
    tokens_s = told.tokens.wait_s(max(1.0, tokens)) if told.tokens else 0.0
    return min(COOLDOWN_CAP_S, max(requests_s, tokens_s))
