"""What is known of one conversation, and when it may come down from a stronger tier again."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Session:
    """One conversation.

    ``home``: who answered last.  ``floor``: the tier below which it is not sent, 0 being the weakest.  ``easy``: how
    many requests in a row asked for less; ``easy_tier``: the strongest of what they asked for.
    """

    home: str | None = None
    floor: int = 0
    easy: int = 0
    easy_tier: int = 0

    def asking(self, tier: int, ease: int) -> Session:
        """Return the session after a request that asks for *tier*.

        It goes up at once, and comes down when *ease* requests in a row have asked for less: to the strongest that
        they asked for.
        """
        if tier >= self.floor:
            return self.at(tier)
        easy, easy_tier = self.easy + 1, max(self.easy_tier, tier)
        if easy >= ease:
            return self.at(easy_tier)
        return attrs.evolve(self, easy=easy, easy_tier=easy_tier)

    def at(self, tier: int) -> Session:
        """Return the session with that floor, and nothing shown of its ease."""
        return Session(home=self.home, floor=tier)
