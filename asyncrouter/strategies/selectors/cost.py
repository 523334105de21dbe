"""The selector ``cost``: the cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.strategies.hull import Hull
from asyncrouter.strategies.standings import FEW, in_order
from asyncrouter.types.decisions import Estimate, Selection, new_selection
from asyncrouter.types.deployments import Deployment, DeploymentView, FleetView, Price
from asyncrouter.types.ranking import Ranking

LOOK_S = 0.001
"""Among many, the lengths of answers are looked at again after so many seconds for each deployment: a look takes about
1 µs for each, so that is a thousandth of the time, and a thousand have lengths that are at most a second old."""


@attrs.frozen(kw_only=True, eq=False)
class CostSelector:
    """The cheapest first, by price and expected tokens; those of unknown price last, ties in the configured order.

    The expected output is the smaller of the estimate's forecast (often a mere bound, the caller's ``max_tokens``) and
    of what the deployment's answers take on average, where known; otherwise ``output_tokens`` (a whole number of 0 or
    more), by default 256.  Among many candidates the averages that find the first are those of :data:`LOOK_S` ago.
    """

    output_tokens: int = attrs.field(default=256, validator=options.whole(0))
    _offers: OncePerCandidates[_Offers] = attrs.field(init=False, repr=False)

    @_offers.default
    def _by_prices(self) -> OncePerCandidates[_Offers]:
        return OncePerCandidates(lambda candidates: _Offers(candidates, self.output_tokens))

    @hookimpl(trylast=True)
    def asyncrouter_select(self, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        """Return *candidates* by expected cost."""
        if len(candidates) <= FEW or not estimate.input_tokens or estimate.output_tokens == 0:
            costs = [_cost(one, state[one.name], estimate, self.output_tokens) for one in candidates]
            cost = min(costs)
            order = Ranking(candidates, costs.index(cost), partial(in_order, candidates, costs))
        else:
            offers = self._offers.of(candidates)
            place = offers.cheapest(estimate, state)
            order = Ranking(candidates, place, partial(offers.order, estimate))
            cost = _cost(order.first, offers.views[place], estimate, self.output_tokens)
        reason = f"expected cost {cost:.3g} USD" if cost < math.inf else "no price known: configured order"
        return new_selection(deployments=order, reason=reason)


def _cost(deployment: Deployment, view: DeploymentView, estimate: Estimate, default: int) -> float:
    price = deployment.price
    if price is None:
        return math.inf
    expected: float | None = estimate.output_tokens
    usual = view.output_tokens
    if usual is not None and (expected is None or usual < expected):
        expected = usual
    return price.cost_usd(estimate.input_tokens, default if expected is None else expected)


class _Offers:
    """What *candidates* charge, for the cheapest of them to be found without a look at each.

    The output is as long as the forecast or as the answers there usually are, whichever is less: so the cheapest of all
    is the cheapest by the forecast or the cheapest by the usual lengths.
    """

    __slots__ = (
        "_by_forecast",
        "_by_usual",
        "_candidates",
        "_default",
        "_fresh_until",
        "_state",
        "_unforeseen",
        "views",
    )

    def __init__(self, candidates: Candidates, default: int) -> None:
        self._candidates = candidates
        self._default = default
        self._by_forecast = Hull((price.input, price.output, place) for place, price in self._prices())
        self._state: FleetView | None = None

    def cheapest(self, estimate: Estimate, state: FleetView) -> int:
        """Return the place of the cheapest; 0 when no price is known."""
        if self._state is not state or state.now() >= self._fresh_until:
            self._look(state)
        tokens, forecast = estimate.input_tokens, estimate.output_tokens
        if forecast is None:
            _cost, place = self._unforeseen.least(tokens, 1)
        else:
            _cost, place = min(self._by_forecast.least(tokens, forecast), self._by_usual.least(tokens, 1))
        return max(place, 0)

    def order(self, estimate: Estimate) -> Candidates:
        """Return them all, the cheapest first, by what their answers take now."""
        pairs = zip(self._candidates, self.views, strict=True)
        return in_order(self._candidates, [_cost(one, view, estimate, self._default) for one, view in pairs])

    def _look(self, state: FleetView) -> None:
        self._state = state
        self.views = views = [state[one.name] for one in self._candidates]
        self._fresh_until = state.now() + LOOK_S * len(views)
        lengths = [view.output_tokens for view in views]
        usual, unforeseen = [], []
        for place, price in self._prices():
            length = lengths[place]
            if length is None:
                unforeseen.append((price.input, self._default * price.output, place))
            else:
                usual.append((price.input, length * price.output, place))
        self._by_usual, self._unforeseen = Hull(usual), Hull(usual + unforeseen)

    def _prices(self) -> Iterator[tuple[int, Price]]:
        return ((place, one.price) for place, one in enumerate(self._candidates) if one.price is not None)
