"""The accounts of one selector, or of several that keep them in the same file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from asyncrouter_cost.account import Account

if TYPE_CHECKING:
    from asyncrouter_cost.journal import Journal

MOST_ACCOUNTS = 10_000
"""Accounts kept; beyond them idle ones make room, and where none is idle, newcomers share one account a budget."""

OTHERS = "*"
"""Whose account newcomers share; named ones begin with an equals sign."""


class Key(NamedTuple):
    """An account: the budget's period and its other traits but the limit, and whose money it is."""

    per: str
    budget: str
    whose: str


class Spent(NamedTuple):
    """So many US dollars, spent so many seconds ago."""

    age_s: float
    usd: float


class KeptAccount(Account):
    """An account whose changes are noted in a journal."""

    __slots__ = ("_journal", "_key")

    def __init__(self, limit_usd: float, period_s: float, key: Key, journal: Journal) -> None:
        super().__init__(limit_usd, period_s)
        self._key = key
        self._journal = journal

    def take_up(self, spent: Iterable[Spent], now: float) -> None:
        """Count what was *spent* before, oldest first, as if it had been spent here."""
        for one in spent:
            super().spend(one.usd, now - one.age_s)

    def reserve(self, usd: float) -> None:
        """Set *usd* aside for a call."""
        super().reserve(usd)
        self._journal.hold(self._key, usd)

    def release(self, usd: float) -> None:
        """Give back what was set aside."""
        super().release(usd)
        self._journal.hold(self._key, -usd)

    def spend(self, usd: float, now: float) -> None:
        """Count *usd* as spent."""
        super().spend(usd, now)
        self._journal.spend(self._key, usd)


class Books:
    """Accounts by budget and by whose money it is.  With a *journal* they outlive the router that opened them."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self._accounts: dict[Key, Account] = {}
        self._before: dict[Key, list[Spent]] = {}
        self._users = 0

    def __len__(self) -> int:
        """Return how many accounts there are."""
        return len(self._accounts)

    def open(self) -> None:
        """Take up what was spent before; once, whoever else opens the books.

        Raises :class:`~asyncrouter.types.errors.ConfigError` when the journal cannot be read, or is kept by another.
        """
        if self.journal is not None and not self._users:
            self._before = self.journal.open()
            self._accounts.clear()
        self._users += 1

    def close(self) -> None:
        """Keep what was spent, when the last that opened the books closes them.

        Raises :class:`~asyncrouter.types.errors.ConfigError` when the journal cannot be written.
        """
        self._users -= 1
        if self.journal is not None and not self._users:
            self.journal.close()

    def account(self, key: Key, limit_usd: float, period_s: float, now: float) -> Account:
        """Return the account of *key*, under the limit of whoever asks; a new one where it has none."""
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= MOST_ACCOUNTS:
                self._make_room(now)
            if len(self._accounts) >= MOST_ACCOUNTS:
                key = key._replace(whose=OTHERS)
            account = self._accounts.get(key)
            if account is None:
                account = self._accounts[key] = self._new(key, limit_usd, period_s, now)
        account.limit_usd = limit_usd
        return account

    def _new(self, key: Key, limit_usd: float, period_s: float, now: float) -> Account:
        if self.journal is None:
            return Account(limit_usd, period_s)
        account = KeptAccount(limit_usd, period_s, key, self.journal)
        account.take_up(self._before.pop(key, ()), now)
        return account

    def _make_room(self, now: float) -> None:
        self._accounts = {key: one for key, one in self._accounts.items() if not one.is_idle(now)}
