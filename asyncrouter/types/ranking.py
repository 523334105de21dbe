"""An order of candidates of which only the first is known yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import PluginContractError


class Ranking:
    """All of *candidates*, the one at *place* in front; the rest is made when somebody reads it.

    Most requests are answered by the first, and among many the order of the others costs more than finding it.  *order*
    returns the candidates in order, best first, wherever the first stands there.  It may be called long after the
    decision and in another thread: it tells how they stand then, should not change anything, and holds what it needs.
    """

    __slots__ = ("_made", "_order", "candidates", "first")

    def __init__(
        self, candidates: tuple[Deployment, ...], place: int, order: Callable[[], Iterable[Deployment]]
    ) -> None:
        self.first = candidates[place]
        self.candidates = candidates
        self._order = order
        self._made: tuple[Deployment, ...] | None = None

    def __len__(self) -> int:
        """Return how many there are, without making the rest."""
        return len(self.candidates)

    def made(self) -> tuple[Deployment, ...]:
        """Return all in order; the same whenever it is asked.

        Raises :class:`~asyncrouter.types.errors.PluginContractError` when *order* does not return each candidate once.
        """
        if self._made is None:
            first = self.first
            made = (first, *[one for one in self._order() if one is not first])
            if len(made) != len(self.candidates) or set(map(id, made)) != set(map(id, self.candidates)):
                raise PluginContractError(
                    "asyncrouter_select: the order of a Ranking has to be that of all its candidates, each once",
                    plugin=getattr(self._order, "__module__", ""),
                    hook="asyncrouter_select",
                )
            self._made = made
        return self._made

    def __reduce__(self) -> tuple[type[tuple[Deployment, ...]], tuple[tuple[Deployment, ...]]]:
        """Return how to copy it, or to pickle it: as a plain tuple."""
        return tuple, (self.made(),)


Order = tuple[Deployment, ...] | Ranking
"""Deployments, best first."""


def first_of(order: Order) -> Deployment:
    """Return the first of *order*, without making the rest."""
    return order.first if isinstance(order, Ranking) else order[0]


def made(order: Order) -> tuple[Deployment, ...]:
    """Return all of *order*."""
    return order.made() if isinstance(order, Ranking) else order
