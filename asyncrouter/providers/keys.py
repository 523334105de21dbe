"""Which of a provider's keys is sent: the first that no upstream has refused lately.

Keys are a list with spares, not a pool: prompt caches, credit and limits belong to the account behind a key, so the
first one is used for as long as it serves.  (To spread calls over accounts, make a deployment of each.)

A refused key is set aside, and the next one asked at once.  What a refusal says of the other models decides how far:

=====================================  =====================  ===================================================
refusal                                set aside for          time
=====================================  =====================  ===================================================
401, a code that tells of a bad key    every model            :data:`REFUSED_S`
402, no credit or quota left           every model            the upstream's Retry-After, else :data:`REFUSED_S`
403                                    this model             :data:`REFUSED_S`: a key may lack one permission only
429                                    this model             the upstream's Retry-After, else :data:`LIMITED_S`
=====================================  =====================  ===================================================

A key set aside is no dead key: when none is ready, the one whose time is over first is sent all the same, and whether
the deployment itself has to wait is the engine's to decide.
"""

from __future__ import annotations

import attrs

from asyncrouter.types.errors import AuthenticationFailed, Disposition, ProviderError, QuotaExhausted, RateLimited

REFUSED_S = 300.0
"""Seconds until a refused key is tried again: credit is bought and keys are enabled by people, not within seconds, and
a try costs the request that makes it one call more.  It is also the longest cooldown of a deployment."""
LIMITED_S = 60.0
"""Seconds that a 429 without a Retry-After sets a key aside while others serve: limits are told per minute."""
_FORBIDDEN = 403
_PROXY_AUTHENTICATION_REQUIRED = 407
_EVERY_MODEL = ""


@attrs.frozen
class Refusal:
    """What an upstream's error says of the key: to set it aside for ``wait_s`` seconds, for ``model`` or for all."""

    wait_s: float
    model: str


def refusal_of(error: ProviderError, model: str) -> Refusal | None:
    """Return what *error*, the answer to a call of *model*, says of the key; ``None`` when that is nothing.

    A rate limit that another try would not cure (a request larger than the limit itself) is nothing of the key's.
    """
    asked_s = min(error.retry_after_s or 0.0, REFUSED_S)
    if isinstance(error, QuotaExhausted):
        return Refusal(asked_s or REFUSED_S, _EVERY_MODEL)
    if isinstance(error, AuthenticationFailed) and error.status != _PROXY_AUTHENTICATION_REQUIRED:
        return Refusal(REFUSED_S, model if error.status == _FORBIDDEN else _EVERY_MODEL)
    if isinstance(error, RateLimited) and error.disposition is Disposition.RETRY:
        return Refusal(asked_s or LIMITED_S, model)
    return None


class KeyRing:
    """The keys of one provider by their numbers, 0 being the first, and until when each is set aside.

    Times are seconds of any one clock.  A ring of one key, or none, has nothing to choose.
    """

    __slots__ = ("_aside", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._aside: dict[tuple[int, str], float] = {}

    def choose(self, model: str, now: float) -> int:
        """Return the first key that is ready for *model*, or the one that will be ready first."""
        if not self._aside:
            return 0
        return min(range(self.size), key=lambda key: (max(self.ready_at(key, model), now), key))

    def ready_at(self, key: int, model: str) -> float:
        """Return when *key* may be sent for *model* again; in the past when it may be now."""
        never = float("-inf")
        return max(self._aside.get((key, _EVERY_MODEL), never), self._aside.get((key, model), never))

    def set_aside(self, key: int, refusal: Refusal, now: float) -> None:
        """Set *key* aside; a longer time that runs already stays."""
        place = (key, refusal.model)
        self._aside[place] = max(self._aside.get(place, now), now + refusal.wait_s)

    def ready(self, model: str, now: float) -> int:
        """Return how many keys are ready for *model*."""
        return sum(self.ready_at(key, model) <= now for key in range(self.size))

    def first_ready_at(self, model: str) -> float:
        """Return when the first key is ready for *model*."""
        return min(self.ready_at(key, model) for key in range(self.size))
