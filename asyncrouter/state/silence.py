"""How long calls have been waiting for a deployment without a word from it."""

from __future__ import annotations


class Silence:
    """Calls that are awaited while nobody gets an answer.

    A mean of latencies knows answers only: one that hangs would keep its good mean until its calls are given up.  What
    breaks the silence is any answer, a stream's first output or a failure, so that one long call says nothing while
    others are answered.  Of calls that were given up, what they had waited stands until then: ``lasted_s``.
    """

    __slots__ = ("_awaited", "_since", "lasted_s")

    def __init__(self) -> None:
        self._awaited = 0
        self.lasted_s = 0.0
        self._since = 0.0

    def began(self, now: float) -> None:
        """Note that one more call is awaited."""
        if not self._awaited:
            self._since = now
        self._awaited += 1

    def broken(self, now: float) -> None:
        """Note that one of them has its answer."""
        self._awaited -= 1
        self.lasted_s = 0.0
        self._since = now

    def given_up(self, now: float) -> None:
        """Note that one of them has ended without a word: cut off by a bound, or left by its caller."""
        self.lasted_s = max(self.lasted_s, now - self._since)
        self._awaited -= 1

    def forget(self, now: float) -> None:
        """Begin anew with those that wait: another upstream stands there now."""
        self.lasted_s = 0.0
        self._since = now

    def lasts_s(self, now: float) -> float:
        """Return for how many seconds there has been none; 0 when nobody has waited since the last word."""
        return max(self.lasted_s, now - self._since) if self._awaited else self.lasted_s
