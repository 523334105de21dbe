"""What a scenario says besides the configuration: the traffic, and how each simulated upstream behaves.

Times are in virtual seconds from the beginning of the simulation, rates in requests or tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from attrs.validators import optional

from asyncrouter.config.schema import RouterConfig
from asyncrouter.hooks import options
from asyncrouter.hooks.options import fault
from asyncrouter.lab.simulation.arrivals import Arrivals, Closed, Poisson
from asyncrouter.lab.simulation.draws import Draw, LogNormal, Uniform
from asyncrouter.lab.simulation.tables import made

DOWN = ("refuse", "429", "500", "503", "hang")
"""How an upstream that is down answers: by no connection, by one of these statuses, or never."""


def _after_from(instance: Any, attribute: Any, value: Any) -> None:
    options.positive(None, attribute, value)
    if instance is not None and value <= instance.from_s:
        raise fault(attribute.name, f"{value!r} is not after from_s, {instance.from_s!r}")


@attrs.frozen(kw_only=True)
class Phase:
    """What is different from ``from_s`` to ``to_s``, and again every ``every_s`` seconds where that is given.

    ``down``: every call fails in that way; ``slow``: times are multiplied by it; ``failure_rate``: this share of the
    calls fails, instead of the upstream's own.  A call meets the phase in which it begins.
    """

    from_s: float = attrs.field(default=0.0, validator=options.not_negative)
    to_s: float = attrs.field(validator=_after_from)
    every_s: float | None = attrs.field(default=None, validator=optional(options.positive))
    down: Literal["refuse", "429", "500", "503", "hang"] | None = attrs.field(
        default=None, validator=optional(options.one_of(*DOWN))
    )
    slow: float = attrs.field(default=1.0, validator=options.positive)
    failure_rate: float | None = attrs.field(default=None, validator=optional(options.share))

    def covers(self, now: float) -> bool:
        """Whether the phase is on at *now*."""
        if self.every_s is not None and now > self.from_s:
            now = self.from_s + (now - self.from_s) % self.every_s
        return self.from_s <= now < self.to_s


@attrs.frozen(kw_only=True)
class UpstreamSettings:
    """One simulated upstream.

    ``latency_s`` is the time to the first token; the others follow at ``tokens_per_s``, or all at once without it.
    ``failure_rate`` of the calls fail with status 500, ``failure_s`` after they began; ``cut_rate`` of the streams
    break off midway.  ``concurrency``: calls it serves at once; beyond, ``when_full`` says whether it refuses with
    status 503 or slows down in proportion.  ``rpm`` and ``tpm``: beyond them it refuses with status 429, and a
    Retry-After in whole seconds unless ``retry_after`` is false; ``tells_limits``: each of its answers tells what is
    left of them.
    """

    latency_s: Draw = attrs.field(default=LogNormal(median=0.6, sigma=0.4), validator=made)
    tokens_per_s: float | None = attrs.field(default=None, validator=optional(options.positive))
    failure_rate: float = attrs.field(default=0.0, validator=options.share)
    failure_s: float = attrs.field(default=0.05, validator=options.not_negative)
    cut_rate: float = attrs.field(default=0.0, validator=options.share)
    concurrency: int | None = attrs.field(default=None, validator=optional(options.whole(1)))
    when_full: Literal["refuse", "slow"] = attrs.field(default="refuse", validator=options.one_of("refuse", "slow"))
    rpm: float | None = attrs.field(default=None, validator=optional(options.positive))
    tpm: float | None = attrs.field(default=None, validator=optional(options.positive))
    retry_after: bool = attrs.field(default=True, validator=options.flag)
    tells_limits: bool = attrs.field(default=False, validator=options.flag)
    phases: tuple[Phase, ...] = attrs.field(default=(), validator=made)

    def phase_at(self, now: float) -> Phase:
        """Return the phase that is on at *now*: the first one written that covers it."""
        return next((phase for phase in self.phases if phase.covers(now)), ORDINARY)


ORDINARY = Phase(to_s=float("1e300"))
"""When nothing is different."""


@attrs.frozen(kw_only=True)
class PromptSettings:
    """What is asked: ``complexity`` (0 to 1, given to the router with each request), lengths in tokens.

    ``stream`` is the share of streamed requests; ``model`` the group or deployment asked for, by default the router's.
    """

    complexity: Draw = attrs.field(default=Uniform(low=0.0, high=1.0), validator=made)
    input_tokens: Draw = attrs.field(default=LogNormal(median=400.0, sigma=0.8), validator=made)
    output_tokens: Draw = attrs.field(default=LogNormal(median=150.0, sigma=0.6), validator=made)
    stream: float = attrs.field(default=0.0, validator=options.share)
    model: str | None = attrs.field(default=None, validator=optional(options.text))


@attrs.frozen(kw_only=True)
class SimulationSettings:
    """The table ``simulate``.

    Requests come for ``duration_s`` seconds, or until there were ``requests`` of them, whichever is first; those under
    way are then awaited.  ``layers``: so many routers of this configuration before one another, each the upstream of
    the one before it, the last before the simulated fleet.  The time line counts in steps of ``interval_s``.
    """

    config: str | None = attrs.field(default=None, validator=optional(options.text))
    seed: int = attrs.field(default=0, validator=options.whole())
    duration_s: float = attrs.field(default=300.0, validator=options.positive)
    requests: int | None = attrs.field(default=None, validator=optional(options.whole(1)))
    interval_s: float = attrs.field(default=1.0, validator=options.positive)
    layers: int = attrs.field(default=1, validator=options.whole(1))
    arrivals: Arrivals | Closed = attrs.field(default=Poisson(), validator=made)
    prompts: PromptSettings = attrs.field(default=PromptSettings(), validator=made)
    upstreams: Mapping[str, UpstreamSettings] = attrs.field(factory=dict, validator=made)


@attrs.frozen(kw_only=True)
class Scenario:
    """A configuration and what it is tried with; ``name`` tells one scenario of a comparison from the others."""

    name: str
    config: RouterConfig = attrs.field(repr=False)
    settings: SimulationSettings
