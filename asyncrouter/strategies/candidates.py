"""What is known of a tuple of candidates, found once: while all are well, every request of a group has the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from asyncrouter.types.deployments import Deployment

T = TypeVar("T")
Candidates = tuple[Deployment, ...]
KEPT = 4
"""Tuples of candidates of which it is kept: requests with pictures and without may take turns, and some may be away."""


class OncePerCandidates(Generic[T]):
    """Calls *compute* when other candidates come than the last few times, and else tells its result again.

    A method tells it, for to call an object costs 120 ns more than to call its method, and a decision asks three times.
    """

    __slots__ = ("_compute", "_known", "_last")

    def __init__(self, compute: Callable[[Candidates], T]) -> None:
        self._compute = compute
        self._known: dict[int, tuple[Candidates, T]] = {}  # by id: the tuple is kept, and its id is its own so long
        self._last: tuple[Any, Any] = (None, None)

    def of(self, candidates: Candidates) -> T:
        """Return what *compute* says of *candidates*."""
        given, result = self._last
        if given is not candidates:
            self._last = given, result = self._found(candidates)
        return result  # type: ignore[no-any-return]

    def _found(self, candidates: Candidates) -> tuple[Candidates, T]:
        found = self._known.get(id(candidates))
        if found is None:
            if len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            found = self._known[id(candidates)] = (candidates, self._compute(candidates))
        return found
