"""Six strategies, an observer and a trainer.

Options are attrs fields or keyword arguments, so an unknown or a wrong one is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge, gt, instance_of

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment, FleetView
from asyncrouter.types.errors import Disposition
from asyncrouter.types.events import AttemptFinished, Event
from asyncrouter.types.model_file import ModelFile
from asyncrouter.types.request import Request, text_of
from asyncrouter.types.response import Response
from asyncrouter.types.tokens import estimate_tokens
from asyncrouter.types.trace import Attempt, TraceView

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes


@attrs.frozen(kw_only=True, eq=False)
class DemoEstimator:
    """Complexity by the number of words: 1 from ``hard_words`` on."""

    hard_words: int = attrs.field(default=300, validator=[instance_of(int), gt(0)])

    @hookimpl
    async def asyncrouter_estimate(self, request: Request) -> Estimate:
        words = sum(len(text_of(message).split()) for message in request.messages)
        return Estimate(
            complexity=min(1.0, words / self.hard_words),
            input_tokens=estimate_tokens(request.messages),
            reason=f"{words} words of {self.hard_words}",
            source="demo",
        )


def make_estimator(*, hard_words: int = 300, model: str | None = None) -> DemoEstimator:
    """Complexity by the number of words, 1 from ``hard_words`` on, or from the number in the file ``model`` on."""
    return DemoEstimator(hard_words=hard_words if model is None else int(ModelFile.read(model).content))


@attrs.frozen(kw_only=True, eq=False)
class DemoTrainer:
    """Learns from which number of words on the stronger model was worth its price: twice the mean of such prompts."""

    def train(self, outcomes: Outcomes, *, seed: int, progress: Callable[[float], None]) -> bytes:
        pairs = zip(outcomes.prompts, outcomes.gain, strict=True)
        words = [len(prompt.split()) for prompt, gain in pairs if gain > 0] or [1]
        progress(1.0)
        return bytes(ModelFile("demo", str(2 * sum(words) // len(words)).encode()))


@attrs.frozen(kw_only=True, eq=False)
class DemoSelector:
    """Keeps every session on one deployment; requests without a session take the configured order.

    Rendezvous hashing: when a deployment goes, only its own sessions move.
    """

    @hookimpl
    def asyncrouter_select(
        self, request: Request, candidates: tuple[Deployment, ...], state: FleetView
    ) -> Selection | None:
        session = request.session
        if session is None:
            return Selection(deployments=candidates, reason="no session: configured order")
        ordered = sorted(candidates, key=lambda one: _score(session, one.name))
        busy = state[ordered[0].name].in_flight
        return Selection(deployments=tuple(ordered), reason=f"the session's own deployment, {busy} calls under way")


def _score(session: str, deployment: str) -> bytes:
    return blake2b(f"{session}\n{deployment}".encode(errors="replace"), digest_size=8).digest()


@attrs.frozen(kw_only=True, eq=False)
class DemoRetry:
    """Waits ``delay_s`` seconds, or as long as the upstream asks for, up to ``times`` times."""

    delay_s: float = attrs.field(default=1.0, validator=ge(0))
    times: int = attrs.field(default=3, validator=[instance_of(int), ge(0)])

    @hookimpl
    def asyncrouter_retry(self, attempt: Attempt, trace: TraceView) -> Retry | GiveUp:
        error = attempt.error
        if error is None or error.disposition is not Disposition.RETRY:
            return GiveUp("asking again is no use")
        if trace.waits >= self.times:
            return GiveUp(f"waited {self.times} times")
        return Retry(max(self.delay_s, error.retry_after_s or 0.0), f"wait {trace.waits + 1} of {self.times}")


@attrs.frozen(kw_only=True, eq=False)
class DemoFallback:
    """Goes on with the cheapest of what remains."""

    @hookimpl
    def asyncrouter_fallback(self, attempt: Attempt, remaining: tuple[Deployment, ...]) -> Fallback | None:
        if not remaining or (attempt.error and attempt.error.disposition is Disposition.RAISE):
            return None
        cheapest = min(remaining, key=lambda one: one.price.output if one.price else float("inf"))
        return Fallback(cheapest, reason="the cheapest that remains")


@attrs.frozen(kw_only=True, eq=False)
class DemoFilter:
    """Leaves out the deployments tagged ``avoid_tag``, unless all are."""

    avoid_tag: str = attrs.field(default="batch", validator=instance_of(str))

    @hookimpl
    def asyncrouter_filter(self, candidates: tuple[Deployment, ...]) -> tuple[Deployment, ...] | None:
        return tuple(one for one in candidates if self.avoid_tag not in one.tags) or None


@attrs.frozen(kw_only=True, eq=False)
class DemoJudge:
    """Rejects answers of fewer than ``min_chars`` characters that call no tool."""

    min_chars: int = attrs.field(default=1, validator=[instance_of(int), ge(0)])

    @hookimpl
    async def asyncrouter_judge(self, response: Response) -> Verdict:
        length = len(response.text.strip())
        if response.tool_calls or length >= self.min_chars:
            return Verdict(accept=True, score=1.0)
        return Verdict(accept=False, score=length / self.min_chars, reason=f"{length} characters")


@attrs.frozen(kw_only=True, eq=False)
class DemoCounter:
    """Counts the attempts of every deployment in ``attempts``."""

    attempts: Counter[str] = attrs.field(factory=Counter, init=False)

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        if isinstance(event, AttemptFinished):
            self.attempts[event.attempt.deployment] += 1
