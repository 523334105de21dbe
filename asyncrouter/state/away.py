"""Which deployments may not be called now, known without a look at each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

NOBODY: frozenset[str] = frozenset()


def nobody() -> None:
    """Take note of nothing."""


class Ready(Protocol):
    """A deployment's state, as far as it matters here."""

    @property
    def ready_at(self) -> float:
        """When it may be called again; in the past when it may be called now."""
        ...

    def is_at_rest(self, now: float) -> bool:
        """Whether it is ready, and stays so until its name is noted."""
        ...


class Away:
    """Looks at those whose names were noted, and again when one of them is ready or another name is noted.

    A name has to be noted whenever the moment at which its deployment is ready may have changed.
    """

    __slots__ = ("_away", "_noted", "_until")

    def __init__(self) -> None:
        self._noted: set[str] = set()
        self._away = NOBODY
        self._until = math.inf

    def note(self, name: str) -> None:
        """Have the deployment of that *name* looked at."""
        self._noted.add(name)
        self._until = -math.inf

    def forget(self, name: str) -> None:
        """Look at the deployment of that *name* no more."""
        self._noted.discard(name)
        self._until = -math.inf

    def names(self, states: Mapping[str, Ready], clock: Callable[[], float]) -> frozenset[str]:
        """Return the names of those that are not ready; the same set while they are the same."""
        if self._until != math.inf and (now := clock()) >= self._until:
            self._look(states, now)
        return self._away

    def _look(self, states: Mapping[str, Ready], now: float) -> None:
        self._noted.difference_update([name for name in self._noted if states[name].is_at_rest(now)])
        ready_at = {name: at for name in self._noted if (at := states[name].ready_at) > now}
        self._until = min(ready_at.values(), default=math.inf)
        if self._away != ready_at.keys():
            self._away = frozenset(ready_at) if ready_at else NOBODY
