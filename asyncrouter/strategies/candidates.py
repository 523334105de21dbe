"""What is known of a tuple of candidates, found once: while all are well, every request of a group has the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from asyncrouter.types.deployments import Deployment

T = TypeVar("T")
Candidates = tuple[Deployment, ...]


class OncePerCandidates(Generic[T]):
    """Calls *compute* when other candidates come than the time before, and tells its last result again otherwise."""

    __slots__ = ("_compute", "_last")

    def __init__(self, compute: Callable[[Candidates], T]) -> None:
        self._compute = compute
        self._last: tuple[Candidates, T] | None = None

    def __call__(self, candidates: Candidates) -> T:
        """Return what *compute* says of *candidates*."""
        last = self._last
        if last is None or last[0] is not candidates:
            last = self._last = (candidates, self._compute(candidates))
        return last[1]
