"""What strategies decide: estimates, selections, retries, fallbacks and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import attrs

from asyncrouter.types.deployments import Deployment
from asyncrouter.types.making import maker
from asyncrouter.types.ranking import Order, Ranking, first_of, made

Contribution = tuple[float, str]
"""What one feature added to an estimate, in points of the estimator's own scale, and the feature's name."""
UNKNOWN: Mapping[str, float] = {}
"""No expectation of any deployment's quality."""
Take = Literal["first", "best", "majority"]
"""What is taken of several answers: the first that the judge accepts, the one with the best score, or one of those that
most agree with."""
TAKES: tuple[str, ...] = get_args(Take)
SHOWN_FROM = 0.005
"""Points below this do not appear in a reason."""


@attrs.frozen(kw_only=True)
class Estimate:
    """How hard a request is: ``complexity`` in [0, 1], the token forecast, and the reason.

    ``output_tokens`` is ``None`` when the estimator does not forecast it.  ``source`` names the estimator, or
    "caller" when the caller gave the complexity.  ``contributions`` are the features that made the score; without a
    ``reason`` of its own the estimate tells them, largest first.  ``qualities`` are the qualities, in [0, 1], that the
    estimator expects of the answers of deployments, by their names; it may know some of them, or none.  ``features`` is
    the vector that it looked at, where it has one, the most telling numbers first: an outcome log may keep it, to learn
    from without the prompts, and a selector may take it for the kind of the prompt.
    """

    complexity: float
    input_tokens: int = 0
    output_tokens: int | None = None
    source: str = ""
    contributions: tuple[Contribution, ...] = attrs.field(default=(), repr=False)
    qualities: Mapping[str, float] = attrs.field(default=UNKNOWN, repr=False)
    features: Sequence[float] = attrs.field(default=(), repr=False, eq=False)
    _reason: str = attrs.field(default="", repr=False)

    @property
    def reason(self) -> str:
        """Why the complexity is what it is; put into words only when it is read, for few read it."""
        if self._reason or not self.contributions:
            return self._reason
        shown = sorted((one for one in self.contributions if one[0] >= SHOWN_FROM), reverse=True)
        return ", ".join(f"{name} {points:.2f}" for points, name in shown) or "nothing that tells of difficulty"

    def __attrs_post_init__(self) -> None:
        if not 0.0 <= self.complexity <= 1.0:
            raise ValueError(f"complexity: expected a number from 0 to 1, not {self.complexity!r}")


new_estimate = maker(Estimate)


def _order(deployments: Iterable[Deployment] | Ranking) -> Order:
    return deployments if isinstance(deployments, (tuple, Ranking)) else tuple(deployments)


def _shown(order: Order) -> str:
    return repr(made(order))


@attrs.frozen(kw_only=True)
class Selection:
    """Deployments in the order in which to try them, best first, with the reason.

    They are given as ``deployments``, where making the order costs something as a
    :class:`~asyncrouter.types.ranking.Ranking`: ``first`` is known then, and the rest made when it is read.
    ``propensity`` is the probability with which the first was chosen, in (0, 1]: 1 for a deterministic rule.
    ``parallel`` = k asks the first k of them at once, and ``take`` says which of their answers is given to the caller.
    """

    order: Order = attrs.field(alias="deployments", converter=_order, eq=made, repr=_shown)
    reason: str = ""
    propensity: float = 1.0
    parallel: int = 1
    take: Take = "first"

    def __attrs_post_init__(self) -> None:
        if not self.order:
            raise ValueError("deployments: a selection names at least one deployment; return None to decline")
        if not 0.0 < self.propensity <= 1.0:
            raise ValueError(f"propensity: expected a probability in (0, 1], not {self.propensity!r}")
        if self.parallel < 1:
            raise ValueError(f"parallel: expected 1 or more, not {self.parallel!r}")
        if self.take not in TAKES:
            raise ValueError(f"take: expected one of {', '.join(TAKES)}, not {self.take!r}")

    @property
    def first(self) -> Deployment:
        """The one to try first, without making the order of the rest."""
        return first_of(self.order)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """All of them, best first."""
        return made(self.order)


new_selection = maker(Selection)


@attrs.frozen(kw_only=True)
class Parallel:
    """How many deployments a group asks at once, and which of their answers it takes."""

    k: int = 2
    take: Take = "first"


@attrs.frozen
class Retry:
    """Ask the same deployment again after ``delay_s`` seconds.

    By default the engine takes another deployment of the group first where one stands ready, and waits only before
    leaving the group or when nothing else is left; ``before_fallback`` asks for the same deployment at once instead.
    """

    delay_s: float = attrs.field()
    reason: str = ""
    before_fallback: bool = False

    @delay_s.validator
    def _not_negative(self, _attribute: object, value: float) -> None:
        if not value >= 0.0:
            raise ValueError(f"delay_s: expected 0 or more seconds, not {value!r}")


@attrs.frozen
class Fallback:
    """Go on with ``deployment`` (one of the remaining) or with another ``group``: exactly one of the two."""

    deployment: Deployment | None = None
    group: str | None = None
    reason: str = ""

    def __attrs_post_init__(self) -> None:
        if (self.deployment is None) == (self.group is None):
            raise ValueError("Fallback: give a deployment or a group, and not both")


@attrs.frozen
class GiveUp:
    """Decide that there is to be no (further) retry, or no (further) fallback."""

    reason: str = ""


@attrs.frozen
class Verdict:
    """What a judge thinks of an answer; ``score`` in [0, 1] orders rejected answers, best last resort first.

    ``cost_usd``: what judging has cost, where the judge has asked a model.
    """

    accept: bool
    score: float | None = None
    reason: str = ""
    cost_usd: float = 0.0


@attrs.frozen(kw_only=True)
class Ranked:
    """One deployment in a decision: its rank from 1 (0: filtered out), what the call would cost, and the reason."""

    rank: int
    deployment: str
    model: str
    expected_cost_usd: float | None
    ready: bool
    reason: str


@attrs.frozen(kw_only=True)
class Decision:
    """What the router would do with a request, found without an upstream call."""

    group: str
    estimate: Estimate
    selection: Selection | None
    ranking: tuple[Ranked, ...]
    fallbacks: tuple[str, ...] = ()
