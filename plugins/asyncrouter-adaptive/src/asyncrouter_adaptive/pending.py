"""Decisions whose reward is not known yet, or may still be corrected, by request: a bounded table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@attrs.define(eq=False)
class Outcome:
    """What one attempt came to.  ``quality``: what it is taken for, 0 to 1, until feedback says better.

    ``cost`` is in US dollars; ``block``: when it was learned (:attr:`Model.blocks`), ``None`` before.
    """

    deployment: str
    quality: float
    cost: float
    block: int | None = None


@attrs.define(eq=False)
class Decision:
    """One decision: the features ``x``, the reward ``expected`` of the incumbent, and what is ``staked`` in the ledger.

    ``outcomes``, and ``answered``, the place of the one that the caller got, are known at the request's end;
    ``due``: until when feedback is waited for, in the clock's seconds.
    """

    x: NDArray[np.floating]
    expected: float
    staked: float
    due: float = float("inf")
    outcomes: list[Outcome] = attrs.field(factory=list)
    answered: int | None = None


class Pending:
    """The table: at most *most* decisions, the oldest of which make room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._decisions: OrderedDict[str, Decision] = OrderedDict()
        self._waiting: OrderedDict[str, Decision] = OrderedDict()

    def __len__(self) -> int:
        """Return how many decisions are held."""
        return len(self._decisions)

    def find(self, request: str) -> Decision | None:
        """Return the decision of the request with that id, if it is still held."""
        return self._decisions.get(request)

    def add(self, request: str, decision: Decision) -> Iterator[Decision]:
        """Hold *decision*; yield those that made room for it."""
        self._decisions[request] = decision
        while len(self._decisions) > self._most:
            oldest, pushed_out = self._decisions.popitem(last=False)
            self._waiting.pop(oldest, None)
            yield pushed_out

    def wait(self, request: str, decision: Decision, due: float) -> None:
        """Wait for the feedback to *decision* until *due*."""
        decision.due = due
        self._waiting[request] = decision

    def settle(self, request: str) -> None:
        """Wait no longer for the feedback of that request."""
        self._waiting.pop(request, None)

    def overdue(self, now: float, most: int) -> Iterator[Decision]:
        """Yield up to *most* decisions whose feedback has not come in time; they are held on, for it may come late."""
        for _ in range(most):
            request = next(iter(self._waiting), None)
            if request is None or self._waiting[request].due > now:
                return
            yield self._waiting.pop(request)

    def drain(self) -> Iterator[Decision]:
        """Yield every decision that still waits."""
        while self._waiting:
            yield self._waiting.popitem(last=False)[1]
