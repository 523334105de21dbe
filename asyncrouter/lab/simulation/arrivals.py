"""When requests come: at a steady beat, by chance, in bursts, or from callers who wait for their answer first.

Each arrival process yields the seconds to wait before each next request.  The closed loop is the one whose pace depends
on the answers: it has a fixed number of callers instead.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Protocol

import attrs

from asyncrouter.hooks import options
from asyncrouter.lab.simulation.draws import Constant, Draw
from asyncrouter.lab.simulation.tables import made


class Arrivals(Protocol):
    """An open arrival process: requests come whatever becomes of those before."""

    def gaps_s(self, random: random.Random) -> Iterator[float]:
        """Yield for each request the seconds since the one before it, without end."""
        ...


@attrs.frozen(kw_only=True)
class Steady:
    """``per_s`` requests a second, evenly spaced."""

    per_s: float = attrs.field(default=10.0, validator=options.positive)

    def gaps_s(self, random: random.Random) -> Iterator[float]:  # noqa: ARG002 - nothing is random
        """Yield the same gap for ever."""
        while True:
            yield 1.0 / self.per_s


@attrs.frozen(kw_only=True)
class Poisson:
    """``per_s`` requests a second on average, each independent of the others: the gaps are exponential."""

    per_s: float = attrs.field(default=10.0, validator=options.positive)

    def gaps_s(self, random: random.Random) -> Iterator[float]:
        """Yield exponential gaps."""
        while True:
            yield random.expovariate(self.per_s)


@attrs.frozen(kw_only=True)
class Bursts:
    """``size`` requests at the same moment, every ``every_s`` seconds, the first burst at once."""

    size: int = attrs.field(validator=options.whole(1))
    every_s: float = attrs.field(validator=options.positive)

    def gaps_s(self, random: random.Random) -> Iterator[float]:  # noqa: ARG002 - nothing is random
        """Yield 0 within a burst, and the time between two."""
        yield 0.0
        while True:
            for _ in range(self.size - 1):
                yield 0.0
            yield self.every_s


@attrs.frozen(kw_only=True)
class Closed:
    """``callers`` who each send a request, wait for its end, think for ``think_s`` and send the next."""

    callers: int = attrs.field(validator=options.whole(1))
    think_s: Draw = attrs.field(default=Constant(value=0.0), validator=made)


KINDS: Mapping[str, type] = {"steady": Steady, "poisson": Poisson, "bursts": Bursts, "closed": Closed}
"""The arrival processes by their names in a scenario."""
