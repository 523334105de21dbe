"""A value that must never be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

SHORTEST_REDACTED = 4
"""Characters: replacing anything shorter would only garble the text."""


class Secret:
    """A key, or a callable that returns one; :meth:`reveal` is the only way to it.

    ``repr``, ``str``, ``format`` and ``vars`` show nothing, and it cannot be pickled.
    """

    __slots__ = ("_get",)

    def __init__(self, value: str | Callable[[], str]) -> None:
        self._get: Callable[[], str] = value if callable(value) else lambda: value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._get()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


def redact(text: str, *secrets: str) -> str:
    """Return *text* with every occurrence of each of *secrets* replaced by ``[redacted]``.

    Secrets shorter than :data:`SHORTEST_REDACTED` are left alone.  Longer ones go first: of two keys that begin alike,
    replacing the shorter one would leave the end of the other.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_REDACTED:
            text = text.replace(secret, "[redacted]")
    return text
