"""The selector that this library is for: weak deployments for easy requests, strong ones for hard requests."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.decisions import Estimate, Selection, new_selection
from asyncrouter.types.deployments import Deployment

DEFAULT_THRESHOLD = 0.7
ROUNDING = 0.006
"""No complexity is told with more of an error."""
MORE_DIGITS = range(3, 17)
"""With the fewest that tell it from the cut a complexity is told where two would be on the wrong side."""


def _tiers(value: Any) -> tuple[tuple[str, ...], ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise options.wrong("tiers", "a list of lists of names, weakest tier first", value)
    tiers = tuple(options.names(tier, f"tiers[{place}]") for place, tier in enumerate(value))
    options.names([name for tier in tiers for name in tier], "tiers")
    for place, tier in enumerate(tiers):
        if not tier:
            raise options.wrong(f"tiers[{place}]", "at least one name", list(tier))
    return tiers


@attrs.frozen(kw_only=True, eq=False)
class ComplexitySelector:
    """Tiers from weak to strong, chosen by complexity: a request at or over a cut point goes to the next tier.

    ``threshold``: the one cut point between two tiers, from 0 to 1; 0.7 by default.  ``cuts``: instead of it, ascending
    cut points for one tier more than there are cuts.  ``tiers``: a list of deployment names for each tier.

    Without ``tiers`` the place among the candidates decides: the first is the first tier, and so on; the last tier is
    all that is left.  Places move up when a deployment is filtered away; named tiers do not.  Candidates that no tier
    names are last resorts.

    After the chosen tier come the stronger ones, nearest first, then the weaker ones, strongest first.  So whatever the
    complexity, every candidate is in the selection: what is left is used when a tier is cooling down.
    """

    threshold: float | None = attrs.field(default=None, validator=attrs.validators.optional(options.number(0, 1)))
    cuts: Sequence[float] | None = attrs.field(default=None)
    tiers: tuple[tuple[str, ...], ...] | None = attrs.field(default=None, converter=_tiers)
    _points: tuple[float, ...] = attrs.field(init=False, repr=False)
    _cut_texts: tuple[str, ...] = attrs.field(init=False, repr=False)
    _clear: tuple[tuple[float, float], ...] = attrs.field(init=False, repr=False)
    _tier_of: dict[str, int] = attrs.field(init=False, repr=False)
    _orders: OncePerCandidates[dict[int, Candidates]] = attrs.field(
        init=False, repr=False, factory=lambda: OncePerCandidates(lambda _candidates: {})
    )

    @cuts.validator
    def _ascending(self, _attribute: object, value: Any) -> None:
        if value is None:
            return
        if self.threshold is not None:
            raise ValueError(f"cuts: give a threshold or cuts, not both threshold={self.threshold!r} and {value!r}")
        wanted = "ascending numbers from 0 to 1"
        if not isinstance(value, (list, tuple)) or not value or not all(map(options.is_number, value)):
            raise options.wrong("cuts", wanted, value)
        if not 0 <= value[0] <= value[-1] <= 1 or any(a >= b for a, b in itertools.pairwise(value)):
            raise options.wrong("cuts", wanted, value)

    def __attrs_post_init__(self) -> None:
        if self.cuts is not None:
            points = tuple(self.cuts)
        else:
            points = (DEFAULT_THRESHOLD if self.threshold is None else self.threshold,)
        tiers = self.tiers or ()
        if self.tiers is not None and len(tiers) != len(points) + 1:
            raise options.wrong("tiers", f"{len(points) + 1} tiers for {len(points)} cut points", self.tiers)
        object.__setattr__(self, "_points", points)
        object.__setattr__(self, "_cut_texts", tuple(map(_cut_text, points)))
        between = itertools.pairwise((-1.0, *points, 2.0))
        object.__setattr__(self, "_clear", tuple((low + ROUNDING, high - ROUNDING) for low, high in between))
        object.__setattr__(self, "_tier_of", {name: place for place, tier in enumerate(tiers) for name in tier})

    @hookimpl(trylast=True)
    def asyncrouter_select(self, estimate: Estimate, candidates: tuple[Deployment, ...]) -> Selection:
        """Return *candidates* from the tier that the estimate's complexity asks for."""
        complexity = estimate.complexity
        tier = bisect.bisect_right(self._points, complexity)
        orders = self._orders.of(candidates)
        ordered = orders.get(tier)
        if ordered is None:
            ordered = orders[tier] = self._by_name(candidates, tier) if self._tier_of else _from_place(candidates, tier)
        return new_selection(deployments=ordered, reason=self._reason(complexity, tier))

    def _by_name(self, candidates: tuple[Deployment, ...], tier: int) -> tuple[Deployment, ...]:
        tier_of, last = self._tier_of, len(self._points)

        def rank(deployment: Deployment) -> int:
            own = tier_of.get(deployment.name)
            if own is None:
                return last + 1
            return own - tier if own >= tier else last - own

        return tuple(sorted(candidates, key=rank))

    def _reason(self, complexity: float, tier: int) -> str:
        text, cuts = f"{complexity:.2f}", self._cut_texts
        low, high = self._clear[tier]
        if not low < complexity < high and bisect.bisect_right(self._points, float(text)) != tier:
            text = self._told_apart(complexity, tier)  # it was rounded to the wrong side of a cut
        if tier == 0:
            return f"complexity {text} < {cuts[0]}"
        if tier == len(cuts):
            return f"complexity {text} >= {cuts[-1]}"
        return f"{cuts[tier - 1]} <= complexity {text} < {cuts[tier]}"

    def _told_apart(self, complexity: float, tier: int) -> str:
        texts = (f"{complexity:.{digits}f}" for digits in MORE_DIGITS)
        return next((one for one in texts if bisect.bisect_right(self._points, float(one)) == tier), repr(complexity))


def _from_place(candidates: tuple[Deployment, ...], place: int) -> tuple[Deployment, ...]:
    start = min(place, len(candidates) - 1)
    return candidates[start:] + candidates[:start][::-1]


def _cut_text(point: float) -> str:
    text = f"{point:.2f}"
    return text if float(text) == point else repr(point)
