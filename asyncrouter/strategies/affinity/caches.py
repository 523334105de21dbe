"""What the deployments' prompt caches likely hold: bounded, and corrected by what their answers say of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from asyncrouter.strategies.affinity.prefixes import Prefix, kept

SMOOTHING = 0.2
"""The weight of the latest answer in a deployment's share of hits: a change is believed after about five."""

NOBODY: Mapping[str, float] = {}


class PromptCaches:
    """For the beginnings of requests who has read them lately.

    A cache holds what was read within *ttl_s* seconds, from *min_tokens* tokens on.  At most *entries* beginnings are
    remembered; those not met for the longest time are forgotten.
    """

    def __init__(self, *, ttl_s: float, min_tokens: float, entries: int) -> None:
        self._ttl_s = ttl_s
        self._min_tokens = min_tokens
        self._entries = entries
        self._readers: OrderedDict[bytes, dict[str, float]] = OrderedDict()
        self._hits: dict[str, float] = {}

    def __len__(self) -> int:
        """Return how many beginnings are remembered."""
        return len(self._readers)

    def read(self, prefixes: tuple[Prefix, ...], deployment: str, at: float) -> None:
        """Note that *deployment* has read the request with these *prefixes*."""
        for prefix in kept(prefixes):
            self._readers.setdefault(prefix.digest, {})[deployment] = at
            self._readers.move_to_end(prefix.digest)
        while len(self._readers) > self._entries:
            self._readers.popitem(last=False)

    def held(self, prefixes: tuple[Prefix, ...], deployments: Iterable[str], now: float) -> Mapping[str, float]:
        """Return the tokens of the longest beginning that each deployment's cache should hold; 0 where it has none."""
        held = dict.fromkeys(deployments, 0.0)
        unknown = set(held)
        for prefix in reversed(prefixes):
            if prefix.tokens < self._min_tokens or not unknown:
                break
            for deployment, at in self._readers.get(prefix.digest, NOBODY).items():
                if deployment in unknown and now - at <= self._ttl_s:
                    held[deployment] = prefix.tokens
                    unknown.discard(deployment)
        return held

    def told(self, deployment: str, held: float, cached_tokens: float) -> None:
        """Take to heart that of *held* tokens an answer says *cached_tokens* were in the cache."""
        if held > 0:
            share = min(1.0, cached_tokens / held)
            self._hits[deployment] = (1 - SMOOTHING) * self.share(deployment) + SMOOTHING * share

    def share(self, deployment: str) -> float:
        """Return the share of what its cache should hold that it does hold; 1 until something is known."""
        return self._hits.get(deployment, 1.0)

    def expected(self, deployment: str, tokens: float) -> float:
        """Return how many of *tokens*, all read lately, the cache of *deployment* will serve."""
        return self.share(deployment) * tokens if tokens >= self._min_tokens else 0.0
