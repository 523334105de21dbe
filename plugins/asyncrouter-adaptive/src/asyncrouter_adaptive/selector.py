"""The selector: asks its learner, tells it what came of it, and keeps what was learned in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import optional

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import Deployment, FleetView
from asyncrouter.types.events import Event, FeedbackGiven, RequestFinished
from asyncrouter.types.request import Request
from asyncrouter_adaptive.pending import Outcome
from asyncrouter_adaptive.rewards import answering, quality_of

if TYPE_CHECKING:
    from asyncrouter_adaptive.learner import Choice, Learner, Settings
    from asyncrouter_adaptive.store import Store
else:
    Store = object

OPTIONS_OF_LEARNERS = ("tag", "window", "explore", "epsilon", "regret", "incumbent", "price_weight",
                       "feedback_s", "pending")  # fmt: skip


@attrs.frozen(kw_only=True, eq=False)
class AdaptiveSelector:
    """Learns from outcomes which deployment serves which kind of prompt, and keeps on exploring a little.

    ``tag``: the key in a call's metadata that names its kind; others are told apart by the estimator, or by their text.
    ``price_weight``: what a US dollar is worth, in points of quality, 0 or more.
    ``window``: outcomes that count, about, 100 or more; the older ones count less.  ``explore``: outcomes after which
    exploring has become rarer, 1 or more.  ``epsilon``: the share of calls (0 to 1) that goes to any ready candidate,
    for ever.  ``regret``: the share (0 to 1) of the incumbent's reward that learning may cost; 1 is no guard.
    ``incumbent``: the deployment to measure that against; by default the one with the best outcomes so far.
    ``feedback_s``: seconds that feedback to an answer is waited for, 0 or more.  ``pending``: decisions kept for late
    feedback.  ``per_agent``: learn for each agent separately.  ``share``: a name; groups with the same learn together.
    ``state``: the file that keeps what was learned, ``save_s``: seconds between two times that it is written, 1 or
    more, ``on_corrupt``: "raise" or "fresh".

    Raises :class:`~asyncrouter.types.errors.ConfigError` naming the option that is out of its range.
    """

    tag: str = attrs.field(default="kind", validator=attrs.validators.instance_of(str))
    price_weight: float = attrs.field(default=0.0, validator=options.number(0))
    window: float = attrs.field(default=10_000.0, validator=options.number(100))
    explore: float = attrs.field(default=2_000.0, validator=options.number(1))
    epsilon: float = attrs.field(default=0.005, validator=options.number(0, 1))
    regret: float = attrs.field(default=0.2, validator=options.number(0, 1))
    incumbent: str | None = attrs.field(default=None, validator=optional(options.text))
    feedback_s: float = attrs.field(default=30.0, validator=options.number(0))
    pending: int = attrs.field(default=10_000, validator=options.whole(1, 10_000_000))
    per_agent: bool = attrs.field(default=False, validator=options.flag)
    share: str | None = attrs.field(default=None, validator=optional(options.text))
    state: str | None = attrs.field(default=None, validator=optional(options.text))
    save_s: float = attrs.field(default=60.0, validator=options.number(1))
    on_corrupt: str = attrs.field(default="raise", validator=options.one_of("raise", "fresh"))
    store: Store = attrs.field(init=False, repr=False)

    @store.default
    def _own_store(self) -> Store:
        from asyncrouter_adaptive.store import Store  # with it comes numpy

        return Store(self.settings, self.state, save_s=self.save_s, fresh_if_corrupt=self.on_corrupt == "fresh")

    @property
    def settings(self) -> Settings:
        """The options that its learners have."""
        from asyncrouter_adaptive.learner import Settings

        return Settings(**{name: getattr(self, name) for name in OPTIONS_OF_LEARNERS})

    def join(self, store: Store) -> None:
        """Learn together with the other selectors of *store*."""
        object.__setattr__(self, "store", store)

    @hookimpl
    def asyncrouter_select(
        self, request: Request, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView
    ) -> Selection:
        """Return the drawn candidate first, then the others by what is expected of them."""
        names, now = [one.name for one in candidates], state.now()
        ready = [place for place, name in enumerate(names) if state[name].ready_at <= now] or range(len(names))
        with self.store.lock:
            learner = self._learner(request)
            x = learner.features.of(request, estimate)
            choice = learner.choose(request.id, x, names, ready, now=now, random=state.random)
        return Selection(
            deployments=tuple(candidates[place] for place in choice.order),
            reason=_told(choice, len(names)),
            propensity=choice.propensity,
        )

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Learn from how a request ended, and from feedback."""
        if isinstance(event, RequestFinished):
            with self.store.lock:
                self._ended(event)
        elif isinstance(event, FeedbackGiven):
            with self.store.lock:
                for learner in self.store.learners():
                    learner.feedback(event.response.trace.request_id, event.score)

    @hookimpl
    async def asyncrouter_startup(self) -> None:
        """Take up what was learned before."""
        self.store.open()

    @hookimpl
    async def asyncrouter_shutdown(self) -> None:
        """Keep what was learned."""
        self.store.close()

    def _learner(self, request: Request) -> Learner:
        return self.store.learner((request.agent or "") if self.per_agent else "")

    def _ended(self, event: RequestFinished) -> None:
        attempts, response = event.trace.attempts, event.response
        place = answering(attempts, response)
        outcomes: list[Outcome] = []
        answered: int | None = None
        for index, attempt in enumerate(attempts):
            quality = quality_of(attempt, response if index == place else None)
            if quality is None:
                continue
            if index == place:
                answered = len(outcomes)
            outcomes.append(Outcome(attempt.deployment, quality, attempt.cost_usd or 0.0))
        learner = self._learner(event.request)
        learner.ended(event.request.id, outcomes, answered)
        learner.features.teach(event.request)


def _told(choice: Choice, count: int) -> str:
    return f"{choice.how} of {count}: expected {choice.mean:.2f} give or take {choice.deviation:.2f}"
