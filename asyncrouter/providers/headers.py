"""What an answer's headers tell besides its form: the upstream's own id, its rate limits, what is left of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from asyncrouter.providers.allowances import parse_allowances
from asyncrouter.providers.errors import REQUEST_ID_HEADERS
from asyncrouter.types.allowances import Allowances
from asyncrouter.types.request import EMPTY

_KEPT_HEADERS = frozenset({*REQUEST_ID_HEADERS, "retry-after", "retry-after-ms", "openai-processing-ms"})
_KEPT_PREFIXES = ("x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")


class HeaderNames:
    """The names of an upstream's last answer, and which of them matter.

    All answers of an upstream have the same names, so looking through them is done once, not for each: a quarter of the
    opcodes.
    """

    __slots__ = ("_kept", "_names", "_with_limits")

    def __init__(self) -> None:
        self._look_at(())

    def _look_at(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._with_limits = any("ratelimit" in name.lower() for name in self._names)
        lower = [(name.lower(), name) for name in self._names]
        self._kept = tuple(one for one in lower if one[0] in _KEPT_HEADERS or one[0].startswith(_KEPT_PREFIXES))

    def told(self, headers: Mapping[str, str], wall_now: float) -> tuple[Mapping[str, str], Allowances | None]:
        """Return what a response keeps of its *headers*, and what :func:`parse_allowances` reads in them at *wall_now*.

        Kept are rate limits and the upstream's own id, with names in lower case.
        """
        if tuple(headers) != self._names:
            self._look_at(headers)
        kept = {lower: headers[name] for lower, name in self._kept} if self._kept else EMPTY
        return kept, parse_allowances(headers, wall_now) if self._with_limits else None
