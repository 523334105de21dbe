"""The simulated upstreams, and the providers that stand before them: what a call meets, and how long it takes."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple, NoReturn

import anyio

from asyncrouter.lab.simulation.record import Now, UpstreamRecord
from asyncrouter.lab.simulation.schema import Phase, UpstreamSettings
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    ConnectionFailed,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage

SIZE = "simulated"
"""The request's metadata that tells the upstream how long prompt and answer are."""
PIECES = 8
"""Chunks of text that a stream comes in."""
MINUTE_S = 60.0
ERRORS: Mapping[str, tuple[type[ProviderError], int | None]] = {
    "refuse": (ConnectionFailed, None),
    "429": (RateLimited, 429),
    "500": (ServerError, 500),
    "503": (Overloaded, 503),
}
"""How a failure looks to the router: the class of its error, and its status."""


class Size(NamedTuple):
    """The tokens of one prompt and of its answer."""

    input: int
    output: int


class Rate:
    """What an upstream lets through a minute: a full minute's worth at once, then as it refills (GCRA)."""

    def __init__(self, per_minute: float) -> None:
        self._each_s = MINUTE_S / per_minute
        self._full_at = 0.0

    def missing_s(self, amount: float, now: float) -> float:
        """Return the seconds until *amount* more fits: 0 when it does now."""
        return max(0.0, max(self._full_at, now) + amount * self._each_s - now - MINUTE_S)

    def take(self, amount: float, now: float) -> None:
        """Count *amount*."""
        self._full_at = max(self._full_at, now) + amount * self._each_s

    def left(self, now: float) -> Allowance:
        """Return what is left."""
        used_s = max(0.0, self._full_at - now)
        remaining = max(0, math.floor((MINUTE_S - used_s) / self._each_s))
        return Allowance(remaining=remaining, reset_s=used_s, limit=MINUTE_S / self._each_s)


class Upstream:
    """One simulated upstream: decides what becomes of each call, waits as long as it takes, and counts it."""

    def __init__(self, settings: UpstreamSettings, random: random.Random, now: Now, record: UpstreamRecord) -> None:
        self.record = record
        self._settings = settings
        self._random = random
        self._now = now
        self._requests = Rate(settings.rpm) if settings.rpm else None
        self._tokens = Rate(settings.tpm) if settings.tpm else None

    async def begin(self, size: Size) -> float:
        """Wait for the first token; return the seconds that each further one takes.

        Every call of this is followed by one of :meth:`end`.  Raises what the router would have been told.
        """
        settings, phase = self._settings, self._settings.phase_at(self._now())
        self.record.begun(is_down=phase.down is not None)
        self._refuse_over_limits(size)
        await self._fail_if_down(phase)
        slowness = phase.slow
        if settings.concurrency is not None and settings.when_full == "slow":
            slowness *= max(1.0, self.record.in_flight / settings.concurrency)
        await anyio.sleep(slowness * settings.latency_s.sample(self._random))
        return slowness / settings.tokens_per_s if settings.tokens_per_s else 0.0

    def allowances(self) -> Allowances | None:
        """Return what is left of the limits, ``None`` when this upstream does not tell."""
        if not self._settings.tells_limits:
            return None
        requests, tokens = (None if rate is None else rate.left(self._now()) for rate in (self._requests, self._tokens))
        return Allowances(requests=requests, tokens=tokens)

    def is_cut(self) -> bool:
        """Whether this stream will break off midway."""
        return self._settings.cut_rate > 0 and self._random.random() < self._settings.cut_rate

    def end(self, error: BaseException | None) -> None:
        """Count the end of a call."""
        if error is None:
            how = "ok"
        elif isinstance(error, ProviderError):
            how = str(error.status or ("cut" if isinstance(error, StreamInterrupted) else "refuse"))
        else:
            how = "cancelled"
        self.record.ended(how)

    def _refuse_over_limits(self, size: Size) -> None:
        now, settings = self._now(), self._settings
        limits = [(rate, amount) for rate, amount in ((self._requests, 1), (self._tokens, sum(size))) if rate]
        missing_s = max((rate.missing_s(amount, now) for rate, amount in limits), default=0.0)
        if missing_s:
            _fail("429", retry_after_s=float(math.ceil(missing_s)) if settings.retry_after else None)
        room = settings.concurrency if settings.when_full == "refuse" else None
        if room is not None and self.record.in_flight > room:
            _fail("503")
        for rate, amount in limits:
            rate.take(amount, now)

    async def _fail_if_down(self, phase: Phase) -> None:
        settings, down = self._settings, phase.down
        if down is None:
            failure_rate = settings.failure_rate if phase.failure_rate is None else phase.failure_rate
            if not failure_rate or self._random.random() >= failure_rate:
                return
            down = "500"
        if down == "hang":
            await anyio.sleep_forever()
        if down != "refuse":
            await anyio.sleep(settings.failure_s)
        _fail(down)


def _fail(how: str, retry_after_s: float | None = None) -> NoReturn:
    kind, status = ERRORS[how]
    error = kind("simulated failure")
    error.status, error.retry_after_s = status, retry_after_s
    raise error


class SimulatedProvider:
    """The provider of every simulated deployment: it knows the upstream of each by the deployment's name."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:  # noqa: ARG002
        """Answer as the deployment's upstream does."""
        upstream, size = self._upstreams[deployment.name], request.metadata[SIZE]
        try:
            token_s = await upstream.begin(size)
            if token_s:
                await anyio.sleep(token_s * size.output)
        except BaseException as error:
            upstream.end(error)
            raise
        upstream.end(None)
        return Response(
            raw=ANSWER,
            deployment=deployment.name,
            model=deployment.model,
            usage=Usage(*size),
            allowances=upstream.allowances(),
        )

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:  # noqa: ARG002
        """Stream as the deployment's upstream does: :data:`PIECES` of text, the end, the usage."""
        upstream, size = self._upstreams[deployment.name], request.metadata[SIZE]
        try:
            token_s = await upstream.begin(size)
            cut_at = PIECES // 2 if upstream.is_cut() else PIECES
            for piece in range(PIECES):
                if piece == cut_at:
                    raise StreamInterrupted("simulated cut")
                if piece and token_s:
                    await anyio.sleep(token_s * size.output / PIECES)
                yield Chunk(_piece(size.output // PIECES), allowances=None if piece else upstream.allowances())
            yield Chunk(END)
            yield Chunk({"choices": [], "usage": {"prompt_tokens": size.input, "completion_tokens": size.output}})
        except BaseException as error:
            upstream.end(error)
            raise
        upstream.end(None)

    async def aclose(self) -> None:
        """Nothing is open."""


class Unreachable(SimulatedProvider):
    """Stands in a configuration for the simulated fleet until there is one."""

    def __init__(self) -> None:
        super().__init__({})


WORD = "word"
"""Four characters: one token, as :mod:`asyncrouter.types.tokens` counts."""
ANSWER: Mapping[str, Any] = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": WORD}, "finish_reason": "stop"}]
}
END: Mapping[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def _piece(tokens: int) -> Mapping[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": WORD * max(1, tokens)}, "finish_reason": None}]}
