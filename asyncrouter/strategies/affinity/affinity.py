"""Affinity around whatever selects: where a conversation is sent, and what a switch would cost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.affinity.caches import PromptCaches
from asyncrouter.strategies.affinity.prefixes import Prefix, digest_of, opaque_parts, prefixes_of
from asyncrouter.strategies.affinity.sessions import Session
from asyncrouter.types.decisions import Estimate, Selection
from asyncrouter.types.deployments import AffinitySettings, Deployment, FleetView
from asyncrouter.types.events import Event, RequestFinished
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt, AttemptKind, Outcome, RouteTrace

PREFIXES_PER_SESSION = 8
"""Beginnings remembered for each conversation that is."""
OUTPUT_TOKENS = 256
"""What is assumed of an answer's length when nobody forecasts it and none has been seen."""
READ = (Outcome.OK, Outcome.REJECTED)
"""How attempts end that have read the prompt for sure."""

Select = Callable[[Request, Estimate, tuple[Deployment, ...], FleetView], Any]


@attrs.frozen(kw_only=True)
class SessionSelection(Selection):
    """A selection that remembers what it was made of, for when the call has ended: ``session`` is what it will be."""

    key: bytes = attrs.field(repr=False)
    session: Session = attrs.field(repr=False)
    prefixes: tuple[Prefix, ...] = attrs.field(repr=False, eq=False)
    held: float = attrs.field(default=0.0, repr=False)
    """Tokens that the cache of the first should hold."""


class SessionAffinity:
    """Keeps the conversations of one group where their prompt caches are.

    *deployments*: those of the group, weakest first; *settings* as in the configuration.  A conversation is the
    caller's ``session``, or else what begins with the messages of an earlier request.  Only digests are kept, of
    ``settings.sessions`` conversations at most.
    """

    name = "affinity"

    def __init__(self, deployments: Sequence[Deployment], settings: AffinitySettings) -> None:
        self.deployments = {one.name: one for one in deployments}
        self.settings = settings
        self._tiers = _tiers(deployments, settings)
        self._caches = PromptCaches(
            ttl_s=settings.ttl_s, min_tokens=settings.min_tokens, entries=settings.sessions * PREFIXES_PER_SESSION
        )
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._conversations: OrderedDict[bytes, bytes] = OrderedDict()
        self._writers: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def around(self, select: Select) -> Select:
        """Return *select*, whatever it asks, with affinity laid over its answer."""

        def with_affinity(
            request: Request, estimate: Estimate, candidates: tuple[Deployment, ...], state: FleetView
        ) -> Any:
            answer = select(request, estimate, candidates, state)
            if hasattr(answer, "__await__"):
                return self._awaited(answer, request, estimate, candidates, state)
            return self._over(answer, request, estimate, candidates, state)

        return with_affinity

    async def _awaited(
        self, answer: Awaitable[Selection | None], request: Request, estimate: Estimate, *rest: Any
    ) -> Selection:
        return self._over(await answer, request, estimate, *rest)

    # ------------------------------------------------------------------ the decision

    def _over(
        self,
        inner: Selection | None,
        request: Request,
        estimate: Estimate,
        candidates: tuple[Deployment, ...],
        state: FleetView,
    ) -> Selection:
        inner = inner or Selection(deployments=candidates, reason="configured order")
        prefixes = prefixes_of(request)
        key = self._key(request, prefixes)
        wanted = self._tiers[inner.deployments[0].name]
        known = self._sessions.get(key)
        session = self._asking(known, wanted, candidates)
        held = self._caches.held(prefixes, [one.name for one in candidates], state.now())
        ordered, reason = inner.deployments, inner.reason
        if known is not None:
            costs = _Costs(self, estimate, state, held, prefixes[-1].tokens)
            ordered, reason = self._ordered(inner, session, wanted, costs)
        first_kept = ordered[0] is inner.deployments[0]
        return SessionSelection(
            deployments=ordered,
            reason=reason,
            propensity=inner.propensity if first_kept else 1.0,
            parallel=inner.parallel if first_kept else 1,
            take=inner.take,
            key=key,
            session=session,
            prefixes=prefixes,
            held=held[ordered[0].name],
        )

    def _asking(self, known: Session | None, wanted: int, candidates: tuple[Deployment, ...]) -> Session:
        """Return the session after a request for which the tier *wanted* was chosen of the *candidates*.

        Where the weaker ones are away, the weakest that is left says nothing of what the request needs.
        """
        if wanted and wanted == min(self._tiers[one.name] for one in candidates):
            return known or Session()
        return Session(floor=wanted) if known is None else known.asking(wanted, self.settings.ease)

    def _key(self, request: Request, prefixes: tuple[Prefix, ...]) -> bytes:
        """Return the key of the conversation that *request* goes on with, or that it begins."""
        if request.session is not None:
            return digest_of(f"session {request.session}")
        known = (self._conversations.get(prefix.digest) for prefix in reversed(prefixes))
        return next(filter(None, known), prefixes[-1].digest)

    def _ordered(
        self, inner: Selection, session: Session, wanted: int, costs: _Costs
    ) -> tuple[tuple[Deployment, ...], str]:
        """Return the order for a known *session*, and why: escalate at once, otherwise stay unless a switch pays."""
        ordered, floor, why = inner.deployments, session.floor, inner.reason
        if floor > wanted:
            ordered = tuple(sorted(ordered, key=lambda one: self._below(one, floor)))
            why = f"easy {session.easy} of {self.settings.ease} times in a row, stays up; {why}"
        home = next((one for one in ordered if one.name == session.home), None)
        if home is None:
            return ordered, f"affinity to {session.home} is broken, it is not among the candidates; {why}"
        if home is ordered[0]:
            return ordered, f"session stays with {home.name}; {why}"
        if self._tiers[home.name] < floor:
            return ordered, f"session goes up from {home.name} to {ordered[0].name}; {why}"
        stay, switch = costs.of(home), costs.of(ordered[0])
        if stay is not None and switch is not None and switch < stay:
            return ordered, f"session goes from {home.name} ({stay:.3g} USD) to {ordered[0].name} ({switch:.3g}); {why}"
        paid = "" if stay is None or switch is None else f" ({stay:.3g} USD, {ordered[0].name} {switch:.3g})"
        rest = tuple(one for one in ordered if one is not home)
        return (home, *rest), f"session stays with {home.name}{paid}; {why}"

    def _below(self, deployment: Deployment, floor: int) -> int:
        """Return the place of *deployment* when *floor* is wanted: that tier, the stronger ones, then the weaker."""
        tier = self._tiers[deployment.name]
        return tier - floor if tier >= floor else len(self._tiers) + floor - tier

    def cost_usd(self, deployment: Deployment, tokens: float, output: float, held: float) -> float | None:
        """Return what the present call and those ahead cost there, the cache holding *held* of *tokens* now."""
        if deployment.price is None:
            return None
        now = deployment.price.cost_usd(tokens, output, self._caches.share(deployment.name) * held)
        later = deployment.price.cost_usd(tokens, output, self._caches.expected(deployment.name, tokens))
        return now + self.settings.ahead * later

    # ------------------------------------------------------------------ what only one can read

    @hookimpl
    def asyncrouter_filter(self, request: Request, candidates: tuple[Deployment, ...]) -> tuple[Deployment, ...] | None:
        """Keep those that can read the latest opaque part, where it is known who wrote it; ``None``: everybody can."""
        if not self._writers:
            return None
        writers = (self._writers.get(part) for message in request.messages for part in opaque_parts(message))
        latest = next(iter([one for one in writers if one is not None][::-1]), None)
        if latest is None:
            return None
        return tuple(one for one in candidates if _target(one) == latest)

    # ------------------------------------------------------------------ what came of it

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Remember who has read and who answered the conversation."""
        if not isinstance(event, RequestFinished) or event.response is None:
            return
        selection = event.trace.selection
        if isinstance(selection, SessionSelection):
            self._finished(selection, event.trace, event.response)

    def _finished(self, selection: SessionSelection, trace: RouteTrace, response: Response) -> None:
        readers = [one for one in trace.attempts if one.outcome in READ and one.deployment in self.deployments]
        for attempt in readers:
            self._caches.read(selection.prefixes, attempt.deployment, attempt.started_at + attempt.duration_s)
        if response.deployment not in self.deployments:  # a fallback group's: the conversation's home is where it was
            return
        usage = response.usage
        if response.deployment == selection.deployments[0].name and not usage.estimated:
            self._caches.told(response.deployment, selection.held, usage.cached_input_tokens)
        session = attrs.evolve(selection.session, home=response.deployment)
        tier = self._tiers[response.deployment]
        if tier > session.floor and _was_escalated(readers, response.deployment):
            session = session.at(tier)
        _keep(self._sessions, selection.key, session, self.settings.sessions)
        _keep(self._conversations, selection.prefixes[-1].digest, selection.key, self.settings.sessions)
        writer = _target(self.deployments[response.deployment])
        for part in opaque_parts(response.message):
            _keep(self._writers, part, writer, self.settings.sessions)


@attrs.frozen
class _Costs:
    """What a request costs at each candidate, as far as it matters to its conversation."""

    affinity: SessionAffinity
    estimate: Estimate
    state: FleetView
    held: Any
    tokens: float

    def of(self, deployment: Deployment) -> float | None:
        """Return the cost in US dollars at *deployment*, ``None`` when its price is not known."""
        forecasts = (self.estimate.output_tokens, self.state[deployment.name].output_tokens)
        output = min((one for one in forecasts if one is not None), default=OUTPUT_TOKENS)
        return self.affinity.cost_usd(deployment, self.tokens, output, self.held[deployment.name])


def _tiers(deployments: Iterable[Deployment], settings: AffinitySettings) -> dict[str, int]:
    """Return the tier of each deployment: as the settings say, else by its place; those of one model share theirs."""
    by_name = {name: tier for tier, names in enumerate(settings.tiers or ()) for name in names}
    by_model: dict[str, int] = {}
    tiers = {}
    for one in deployments:
        place = by_model.setdefault(one.model, len(by_model))
        tiers[one.name] = by_name.get(one.name, len(settings.tiers)) if settings.tiers else place
    return tiers


def _target(deployment: Deployment) -> tuple[str, str]:
    """Return what may read what it wrote: the model at that provider."""
    return deployment.provider, deployment.model


def _was_escalated(attempts: Sequence[Attempt], deployment: str) -> bool:
    return any(one.deployment == deployment and one.kind is AttemptKind.CASCADE for one in attempts)


def _keep(table: OrderedDict[bytes, Any], key: bytes, value: Any, most: int) -> None:
    """Put *value* in as the latest, and forget the oldest when there are more than *most*."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)
