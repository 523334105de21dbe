"""What an upstream says is left of its rate limits."""

from __future__ import annotations

import attrs


@attrs.frozen
class Allowance:
    """What is left of one limit: ``remaining`` requests or tokens, 0 or more.

    ``reset_s``: the seconds until nothing counts against it any longer, ``None`` where that was not told.  ``limit``:
    the size of a limit that fills up evenly until then; ``None`` for one that comes back all at once.
    """

    remaining: float
    reset_s: float | None = None
    limit: float | None = None

    def wait_s(self, amount: float) -> float:
        """Return the seconds until *amount* is left; 0 when it is, or when nobody can tell."""
        if self.reset_s is None:
            return 0.0
        if self.limit is None or self.limit <= self.remaining:
            return self.reset_s if self.remaining == 0 else 0.0
        missing = min(amount, self.limit) - self.remaining
        return max(0.0, self.reset_s * missing / (self.limit - self.remaining))


@attrs.frozen(kw_only=True)
class Allowances:
    """The limits of requests and of tokens; ``None`` is a limit that nothing was told of."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
