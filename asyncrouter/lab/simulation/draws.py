"""Where the simulated numbers come from: distributions that a scenario names, drawn with a seeded generator."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from asyncrouter.config.checks import join
from asyncrouter.hooks import options
from asyncrouter.hooks.options import unexpected
from asyncrouter.lab.simulation.tables import made, one, variant
from asyncrouter.types.errors import ConfigFault


class Draw(Protocol):
    """A distribution of numbers of 0 or more."""

    def sample(self, random: random.Random) -> float:
        """Return one number."""
        ...


@attrs.frozen(kw_only=True)
class Constant:
    """Always ``value``."""

    value: float = attrs.field(validator=options.not_negative)

    def sample(self, random: random.Random) -> float:  # noqa: ARG002 - nothing is random
        """Return the value."""
        return self.value


@attrs.frozen(kw_only=True)
class Uniform:
    """Anything from ``low`` to ``high``, equally likely."""

    low: float = attrs.field(default=0.0, validator=options.not_negative)
    high: float = attrs.field(validator=options.positive)

    def sample(self, random: random.Random) -> float:
        """Return one number."""
        return random.uniform(self.low, self.high)


@attrs.frozen(kw_only=True)
class Exponential:
    """``least`` and, on top, an exponentially distributed number, so that the whole has the mean ``mean``."""

    mean: float = attrs.field(validator=options.positive)
    least: float = attrs.field(default=0.0, validator=options.not_negative)

    def sample(self, random: random.Random) -> float:
        """Return one number."""
        above = self.mean - self.least
        return self.least + random.expovariate(1.0 / above) if above > 0 else self.least


@attrs.frozen(kw_only=True)
class LogNormal:
    """``median * exp(sigma * z)`` with a standard normal z: half of the numbers are over the median.

    ``sigma`` 0.5 puts the 95th percentile at 2.3 medians, 1.0 at 5.2 (``exp(1.645 * sigma)``).
    """

    median: float = attrs.field(validator=options.positive)
    sigma: float = attrs.field(default=0.5, validator=options.not_negative)

    def sample(self, random: random.Random) -> float:
        """Return one number."""
        return self.median * math.exp(self.sigma * random.gauss(0.0, 1.0))


@attrs.frozen
class Mixture:
    """One of ``draws``, chosen by ``weights``, which need not add up to 1."""

    draws: tuple[Draw, ...]
    weights: tuple[float, ...]
    _bounds: tuple[float, ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: tuple(itertools.accumulate(self.weights)), takes_self=True)
    )

    def sample(self, random: random.Random) -> float:
        """Return one number of the chosen part."""
        at = random.random() * self._bounds[-1]
        return self.draws[min(bisect(self._bounds, at), len(self.draws) - 1)].sample(random)


@attrs.frozen(kw_only=True)
class _Part:
    share: float = attrs.field(validator=options.positive)
    of: Any = attrs.field(validator=made)


@attrs.frozen(kw_only=True)
class _Parts:
    parts: Any = attrs.field(validator=made, metadata={"cure": "list its parts"})


KINDS: Mapping[str, type] = {
    "constant": Constant,
    "uniform": Uniform,
    "exponential": Exponential,
    "lognormal": LogNormal,
    "mixture": _Parts,
}
"""The distributions by their names in a scenario."""
EXAMPLE = 'such as 0.8, or { kind = "lognormal", median = 0.8, sigma = 0.5 }'


def draw(value: Any, path: str, faults: list[ConfigFault]) -> Draw | None:
    """Return the distribution that *value* writes: a number, or a table with ``kind``; what is wrong goes to *faults*.

    The result is ``None`` where there are faults.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found: list[ConfigFault] = []
        constant = one({"value": value}, Constant, path, found)
        faults += [attrs.evolve(fault, path=path) for fault in found]
        return constant
    if not isinstance(value, Mapping):
        faults.append(unexpected(path, "a number or a distribution", value, EXAMPLE))
        return None
    drawn: Draw | _Parts | None = variant(value, KINDS, path, faults)
    return _mixture(drawn, path, faults) if isinstance(drawn, _Parts) else drawn


def _mixture(written: _Parts, path: str, faults: list[ConfigFault]) -> Mixture | None:
    path = join(path, "parts")
    if not isinstance(written.parts, list) or not written.parts:
        cure = "such as parts = [{ share = 0.99, of = 0.05 }, { share = 0.01, of = 2.0 }]"
        faults.append(unexpected(path, "a list of parts", written.parts, cure))
        return None
    parts: list[tuple[float, Draw]] = []
    for index, item in enumerate(written.parts):
        here = f"{path}[{index}]"
        part = one(item, _Part, here, faults)
        of = draw(part.of, join(here, "of"), faults) if part is not None else None
        if part is not None and of is not None:
            parts.append((part.share, of))
    if len(parts) < len(written.parts):
        return None
    weights, draws = zip(*parts, strict=True)
    return Mixture(draws, weights)
