"""Which accounts a call is charged to, and the money set aside for calls under way."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from asyncrouter.types.request import Request
from asyncrouter_cost.account import Account
from asyncrouter_cost.books import Books, Key
from asyncrouter_cost.options import BY_METADATA, Budget


@attrs.define(eq=False)
class Hold:
    """Money set aside in every account that a call is charged to."""

    accounts: tuple[Account, ...]
    usd: float


class Ledger:
    """What was spent and set aside.  Nothing here awaits, so looking for room and taking it are one step.

    ``now`` returns the present moment in seconds; ``books`` has the accounts.
    """

    def __init__(self, budgets: tuple[Budget, ...], now: Callable[[], float], books: Books) -> None:
        self.now = now
        self._budgets = tuple((budget, budget.name) for budget in budgets)
        self._books = books

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
        for budget, name in self._budgets:
            account = self._account(budget, name, request, now)
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
        now = self.now()
        found = (self._account(budget, name, request, now) for budget, name in self._budgets)
        return [account for account in found if account is not None]

    def _account(self, budget: Budget, name: str, request: Request, now: float) -> Account | None:
        whose = _whose(budget, request)
        if budget.only is not None and whose != f"={budget.only}":
            return None
        return self._books.account(Key(budget.per, name, whose), budget.usd, budget.period_s, now)


def _whose(budget: Budget, request: Request) -> str:
    """Return whose account it is: a name after an equals sign; nothing for calls that do not say, which share one."""
    if not budget.by:
        return ""
    value = request.agent if budget.by == "agent" else request.metadata.get(budget.by.removeprefix(BY_METADATA))
    return "" if value is None else f"={value}"
