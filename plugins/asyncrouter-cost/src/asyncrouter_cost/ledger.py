"""All accounts of a selector, by budget and by whose money it is, and the money set aside for calls under way."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import attrs

from asyncrouter.types.request import Request
from asyncrouter_cost.account import Account
from asyncrouter_cost.options import BY_METADATA, Budget

MOST_ACCOUNTS = 10_000
"""Accounts kept; beyond them idle ones make room, and where none is idle, newcomers share one account a budget."""

OTHERS = object()
"""The key of the account that newcomers share."""


@attrs.define(eq=False)
class Hold:
    """Money set aside in every account that a call is charged to."""

    accounts: tuple[Account, ...]
    usd: float


class Ledger:
    """What was spent and set aside.  Nothing here awaits, so looking for room and taking it are one step.

    ``now`` returns the present moment in seconds.
    """

    def __init__(self, budgets: tuple[Budget, ...], now: Callable[[], float]) -> None:
        self.now = now
        self._budgets = budgets
        self._accounts: dict[tuple[int, Hashable], Account] = {}

    def urgency(self, request: Request) -> float:
        """Return the highest urgency of the accounts of *request*; see :meth:`Account.urgency`."""
        now = self.now()
        return max((account.urgency(now) for account in self._of(request)), default=0.0)

    def has_room(self, request: Request, usd: float) -> bool:
        """Whether every account of *request* has *usd* left."""
        return self.shortage(request, usd) is None

    def shortage(self, request: Request, usd: float) -> tuple[Budget, float] | None:
        """Return the first budget that has no room for *usd*, with what it has left; ``None`` when all have room."""
        now = self.now()
        for place, budget in enumerate(self._budgets):
            account = self._account(place, budget, request)
            if account is not None and usd > (left := account.left_usd(now)):
                return budget, max(left, 0.0)
        return None

    def reserve(self, request: Request, usd: float) -> Hold:
        """Set *usd* aside in every account of *request*, whether there is room or not."""
        hold = Hold(tuple(self._of(request)), usd)
        for account in hold.accounts:
            account.reserve(usd)
        return hold

    def settle(self, hold: Hold, usd: float) -> None:
        """Give back what was set aside, and count *usd* as spent."""
        now = self.now()
        for account in hold.accounts:
            account.release(hold.usd)
            account.spend(usd, now)

    def _of(self, request: Request) -> list[Account]:
        found = (self._account(place, budget, request) for place, budget in enumerate(self._budgets))
        return [account for account in found if account is not None]

    def _account(self, place: int, budget: Budget, request: Request) -> Account | None:
        whose = _whose(budget, request)
        if budget.only is not None and whose != budget.only:
            return None
        account = self._accounts.get((place, whose))
        if account is None:
            if len(self._accounts) >= MOST_ACCOUNTS:
                self._make_room()
            key: tuple[int, Hashable] = (place, whose if len(self._accounts) < MOST_ACCOUNTS else OTHERS)
            account = self._accounts.setdefault(key, Account(budget.usd, budget.period_s))
        return account

    def _make_room(self) -> None:
        now = self.now()
        self._accounts = {key: one for key, one in self._accounts.items() if not one.is_idle(now)}


def _whose(budget: Budget, request: Request) -> str | None:
    """Return whose account it is; ``None`` for calls that do not say, which share one."""
    if not budget.by:
        return ""
    if budget.by == "agent":
        return request.agent
    value = request.metadata.get(budget.by.removeprefix(BY_METADATA))
    return None if value is None else str(value)
