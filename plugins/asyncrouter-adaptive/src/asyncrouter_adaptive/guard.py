"""The guard: what exploring may cost, measured against the incumbent.

Conservative bandits (Wu, Shariff, Lattimore and Szepesvari 2016): another deployment than the incumbent is chosen only
while the rewards so far, with what the choice is sure to bring, stay at (1 - regret) times what the incumbent is
expected to have brought.  Old entries of the ledger are discounted as outcomes are, so that a surplus of long ago does
not pay for a slump.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SURE = 2.0
"""Standard deviations under the expectation that a choice is sure to bring, about."""


class Guard:
    """The ledger.  *regret*: the share of the incumbent's reward that may be lost, 0 to 1; 1 or more: no guard."""

    def __init__(self, regret: float, window: float) -> None:
        self._regret = regret
        self._kept = 1.0 - 1.0 / window
        self._surplus = 0.0

    @property
    def surplus(self) -> float:
        """By how much the rewards are over what is demanded, in rewards of one call."""
        return self._surplus

    def floor(self, expected: float) -> float:
        """Return what is demanded of a call for which the incumbent is expected to bring *expected*."""
        return expected - self._regret * abs(expected)

    def permits(self, mean: float, deviation: float, expected: float) -> bool:
        """Whether a choice of this expected reward may be made where the incumbent's is *expected*."""
        if self._regret >= 1.0:
            return True
        return self._surplus + min(mean - SURE * deviation, expected) >= self.floor(expected)

    def stake(self, mean: float, deviation: float, expected: float) -> float:
        """Return what the choice adds to the ledger until its reward is known: at worst, about."""
        return min(mean - SURE * deviation, expected) - self.floor(expected)

    def enter(self, change: float) -> None:
        """Add *change* to the ledger."""
        self._surplus += change

    def tick(self) -> None:
        """Discount the ledger by one call."""
        self._surplus *= self._kept

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` takes."""
        return {"surplus": self._surplus}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what was dumped."""
        self._surplus = float(state["surplus"])
